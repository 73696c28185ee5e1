"""The server goes away and comes back: ports stay, clients wait, and nobody has to do anything."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.e2e.bed import socks, traffic
from tests.e2e.bed.clients import End, Talk, talk
from tests.e2e.bed.ports import LOOPBACK, free_port, in_use
from tests.e2e.bed.product import NOT_AS_ASKED, OK, Tunnels
from tests.e2e.bed.servers import Server, serving
from tests.e2e.bed.site import Site
from tests.e2e.bed.traffic import Visitors, dialing
from tests.e2e.bed.wait import Background, eventually, for_seconds

pytestmark = pytest.mark.long

OUTAGE = 8.0
"""Seconds that the server is away."""

BACK_WITHIN = 2.0
"""Seconds that may pass from the server's return until the port carries data (section 5 of the contract)."""


@pytest.fixture
def port(tunnels: Tunnels, site: Site) -> int:
    """Have a tunnel that is up, with one local forward to an echo service."""
    port = free_port()
    tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.echo}"]})
    tunnels.up("work")
    return port


@contextlib.contextmanager
def frozen(site: Site) -> Iterator[None]:
    """Let the server hang for a while."""
    site.pause()
    try:
        yield
    finally:
        site.resume()


def test_a_client_that_comes_while_the_server_is_away_for_8_seconds_waits_and_is_served(
    port: int, site: Site, tunnels: Tunnels
) -> None:
    """One client every 100 ms, before, during and after the outage."""

    def still_bound() -> None:
        assert in_use(port), "the port was let go"

    visitors = Visitors(port)
    with visitors.coming():
        eventually(lambda: visitors.visits, within=10, what="a first visitor served")
        site.stop()
        gone = time.monotonic()
        for_seconds(OUTAGE, meanwhile=still_bound)
        site.start()
        back = time.monotonic()
        eventually(
            lambda: [visit for visit in visitors.visits if visit.came > back],
            within=20,
            what="a visitor after it",
        )
    meanwhile = [visit for visit in visitors.visits if gone <= visit.came <= back]
    assert len(meanwhile) >= 70
    assert [visit.outcome for visit in meanwhile] == ["served"] * len(meanwhile)
    after = [visit for visit in visitors.visits if visit.came > back]
    assert [visit.outcome for visit in after] == ["served"] * len(after)
    first = min(visit.served for visit in meanwhile)
    assert first - back <= BACK_WITHIN
    tunnel = tunnels.tunnel("work")
    assert (tunnel["state"], tunnel["reconnects"]) == ("up", 1)


def test_a_client_whose_connection_is_cut_gets_a_reset_and_no_clean_end(port: int, site: Site) -> None:
    with dialing(port)() as client:
        client.sendall(b"half of it")
        assert client.recv(100) == b"half of it"
        site.stop()
        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_a_download_that_is_cut_ends_with_a_reset(tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    proxy = free_port()
    ticker = site.far.ticker
    tunnels.write(work={**site.login(), "local": [f"{port}:{ticker}"], "dynamic": [str(proxy)]})
    tunnels.up("work")
    with dialing(port)() as local, socks.socks5(proxy, ticker.host, ticker.port) as dynamic:
        assert local.recv(10)
        assert dynamic.recv(10)
        site.stop()
        for client in (local, dynamic):
            with pytest.raises(ConnectionResetError):
                drain(client)


def drain(client: socket.socket) -> None:
    while client.recv(65536):
        pass


def test_an_upload_through_a_remote_forward_that_is_cut_does_not_look_complete(
    tunnels: Tunnels, site: Site
) -> None:
    """The service on our side must not take half an upload for a whole one."""
    ends: list[str] = []

    def receive(client: socket.socket) -> None:
        client.sendall(b"welcome\n")
        try:
            drain(client)
        except ConnectionResetError:
            ends.append("reset")
        else:
            ends.append("clean end")

    class Upload(Server):
        handler = serving(receive)

    with Upload() as service:
        port = site.remote_port()
        tunnels.write(home={**site.login(), "remote": [f"127.0.0.1:{port}:{service.host}:{service.port}"]})
        tunnels.up("home")
        Background(lambda: site.talk(port, b"half an upload", half_close=False))
        eventually(lambda: service.accepted, within=10, what="a client through the remote forward")
        tunnels.wait_tunnel("home", lambda it: it["forwards"][0]["bytes_in"] > 0, what="the welcome sent")
        site.stop()
        assert eventually(lambda: ends, within=10, what="an end at the service") == ["reset"]


def test_a_remote_forward_comes_back_by_itself(tunnels: Tunnels, site: Site) -> None:
    port = site.remote_port()
    tunnels.write(home={**site.login(), "remote": [f"127.0.0.1:{port}:{site.near.echo}"]})
    tunnels.up("home")
    assert site.talk(port, b"before").data == b"before"
    site.stop()
    site.start()

    def answers() -> bool:
        return site.talk(port, b"after") == Talk(b"after", End.EOF)

    eventually(answers, within=20, what="a remote port that answers again")


def test_a_dynamic_forward_holds_its_clients_too(tunnels: Tunnels, site: Site) -> None:
    proxy = free_port()
    tunnels.write(cafe={**site.login(), "dynamic": [str(proxy)]})
    tunnels.up("cafe")
    site.stop()
    tunnels.wait_state("cafe", "backoff", "connecting")
    far = site.far.echo
    client = Background(lambda: traffic.check_echo(lambda: socks.socks5(proxy, far.host, far.port), 1000))
    tunnels.wait_tunnel("cafe", lambda it: it["forwards"][0]["held"] == 1, what="a client held")
    site.start()
    client.result(within=20)


def test_a_server_that_freezes_is_noticed_and_used_again_when_it_thaws(
    port: int, site: Site, tunnels: Tunnels
) -> None:
    with frozen(site):
        tunnel = tunnels.wait_state("work", "backoff", "connecting", within=20)
        assert tunnel["error"]["code"] == "connection-lost"
        assert in_use(port)
    tunnels.wait_state("work", "up", within=20)
    traffic.check_echo(dialing(port), 1000)


def test_a_short_freeze_breaks_nothing(port: int, site: Site, tunnels: Tunnels) -> None:
    with dialing(port)() as client:
        with frozen(site):
            client.sendall(b"are you there?")
        assert client.recv(100) == b"are you there?"
    assert tunnels.tunnel("work")["reconnects"] == 0


def test_status_says_what_happened_during_an_outage_and_after_it(
    port: int, site: Site, tunnels: Tunnels
) -> None:
    before = tunnels.tunnel("work")
    assert (before["state"], before["error"], before["attempt"], before["retry_at"]) == ("up", None, 0, None)
    site.stop()
    during = tunnels.wait_tunnel(
        "work", lambda it: it["state"] == "backoff" and it["attempt"] >= 2, what="a second attempt", within=30
    )
    assert during["retry_at"] is not None
    assert during["error"]["code"]
    assert during["error"]["message"]
    assert during["forwards"][0]["state"] == "listening"
    assert tunnels.run("status", "work").code == 3
    site.start()
    traffic.check_echo(dialing(port), 1000)
    after = tunnels.wait_state("work", "up")
    assert (after["reconnects"], after["retry_at"]) == (1, None)
    assert after["since"] > before["since"]


def test_status_counts_the_clients_that_are_held(port: int, site: Site, tunnels: Tunnels) -> None:
    site.stop()
    tunnels.wait_state("work", "backoff", "connecting")
    with dialing(port)() as one, dialing(port)() as two:
        tunnels.wait_tunnel("work", lambda it: it["forwards"][0]["held"] == 2, what="two clients held")
        one.sendall(b"patience")
        site.start()
        assert one.recv(100) == b"patience"
        two.sendall(b"more patience")
        assert two.recv(100) == b"more patience"
    assert tunnels.forward("work")["held"] == 0


def test_what_a_held_client_has_sent_arrives_whole(tunnels: Tunnels, site: Site) -> None:
    """More than the 64 KiB that are kept for a waiting client: the rest waits in the client."""
    port = free_port()
    tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.digest}"]})
    tunnels.up("work")
    site.stop()
    tunnels.wait_state("work", "backoff", "connecting")
    data = bytes(range(256)) * 4096
    client = Background(lambda: talk(LOOPBACK, port, data, timeout=40))
    tunnels.wait_tunnel("work", lambda it: it["forwards"][0]["held"] == 1, what="a client held")
    site.start()
    digest = hashlib.sha256(data).hexdigest()
    assert client.result(within=40) == Talk(f"{len(data)} {digest}\n".encode(), End.EOF)


def test_a_client_waits_no_longer_than_hold_says(tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    tunnels.write(work={**site.login(), "hold": "1s", "local": [f"{port}:{site.far.echo}"]})
    tunnels.up("work")
    site.stop()
    tunnels.wait_state("work", "backoff", "connecting")
    answer = talk(LOOPBACK, port, b"hello", timeout=15)
    assert answer.data == b""
    assert answer.end in {End.EOF, End.RESET}


def test_a_tunnel_that_does_not_come_up_in_time_is_said_so_and_comes_up_later(
    tunnels: Tunnels, site: Site
) -> None:
    port = free_port()
    tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.echo}"]})
    site.stop()
    result = tunnels.run("up", "--timeout", "2s", "work", expect=NOT_AS_ASKED)
    assert "work" in result.text
    assert in_use(port)
    site.start()
    traffic.check_echo(dialing(port), 1000)
    tunnels.wait_state("work", "up")


def test_up_without_waiting_returns_at_once_and_the_tunnel_comes_up_by_itself(
    tunnels: Tunnels, site: Site
) -> None:
    port = free_port()
    tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.echo}"]})
    with frozen(site):
        tunnels.run("up", "--no-wait", "work", expect=OK, timeout=10)
        assert tunnels.tunnel("work")["state"] in {"connecting", "backoff"}
    tunnels.wait_state("work", "up", within=20)
    traffic.check_echo(dialing(port), 1000)


def test_down_works_while_the_server_is_away(port: int, site: Site, tunnels: Tunnels) -> None:
    site.stop()
    tunnels.wait_state("work", "backoff", "connecting")
    with dialing(port)() as waiting:
        tunnels.down("work")
        assert not in_use(port)
        with contextlib.suppress(ConnectionResetError):
            assert waiting.recv(1) == b""


@pytest.mark.parametrize("state", ["up", "backoff"])
def test_the_daemon_stops_whatever_its_tunnels_are_doing(
    port: int, site: Site, tunnels: Tunnels, state: str
) -> None:
    if state == "backoff":
        site.stop()
        tunnels.wait_state("work", "backoff", "connecting")
    tunnels.run("daemon", "stop", expect=OK)
    assert tunnels.processes() == []
    assert not in_use(port)


def test_each_session_that_is_cut_is_one_reconnect(port: int, site: Site, tunnels: Tunnels) -> None:
    for round_trip in (1, 2, 3):
        site.stop()
        tunnels.wait_tunnel("work", lambda it: it["state"] != "up", what="the loss noticed")
        site.start()
        traffic.check_echo(dialing(port), 1000)
        assert tunnels.wait_state("work", "up")["reconnects"] == round_trip
