"""The network goes and comes: links, addresses, routes, names. Nobody has to do anything.

Every test has a network of its own, in namespaces. With a keepalive of 15 s a dead connection is found after
a minute, so whatever is quicker was noticed by looking at the network.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from tests.e2e.bed import netns, servers
from tests.e2e.bed.clients import End, Talk, talk, talk_over
from tests.e2e.bed.crowd import Crowd
from tests.e2e.bed.faults import CAREFUL, ECHO, Laptop
from tests.e2e.bed.netns import SERVER_6
from tests.e2e.bed.ports import LOOPBACK
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.traffic import Visit, dialing
from tests.e2e.bed.wait import Background, eventually, for_seconds
from tunnels.ssh import dial

pytestmark = pytest.mark.long

PORT = 5000
"""In a namespace every port is free."""

BACK_WITHIN = 2.0
"""Seconds that may pass from the return of the network until the port carries data (the contract, section 5)."""

MINUTE = 60.0
"""Seconds that keepalives alone need to find a dead link, with what `up` asks for: 15 s x (3 + 1)."""


def crowd(laptop: Laptop, **how: float) -> Crowd:
    return Crowd(laptop.client.inside, PORT, **how)  # type: ignore[arg-type]


def up(laptop: Laptop, tunnels: Tunnels, *, host: str | None = None, **keys: object) -> None:
    """Have a tunnel that is up, with a forward to the echo service, and keepalives every 15 s."""
    way = laptop.login(host=host) if host else laptop.login()
    tunnels.write(work={**way, "local": [f"{PORT}:{ECHO}"], **keys})
    tunnels.up("work")


def echo_works(laptop: Laptop, *, within: float = 20) -> None:
    """Be one client who says something and wants it back."""
    answer = laptop.client.call(lambda: talk(LOOPBACK, PORT, b"hello", timeout=within), within=within + 5)
    assert answer == Talk(b"hello", End.EOF)


def one_came_after(clients: Crowd, moment: float) -> None:
    """Wait until a client has come and gone after a moment: those that were held are of an earlier one."""
    eventually(lambda: clients.since(moment), within=25, what="a client who came afterwards")


def outcomes(visits: list[Visit]) -> set[str]:
    return {visit.outcome for visit in visits}


def upload(laptop: Laptop, enough: threading.Event) -> Background[bool]:
    """Send as much as goes, and let come back what may; whether that has gone well until it was enough."""

    def send() -> bool:
        with socket.create_connection((LOOPBACK, PORT)) as sock:
            sock.settimeout(0.2)
            while not enough.is_set():
                for step in (lambda: sock.send(bytes(65_536)), lambda: sock.recv(1 << 20)):
                    try:
                        step()
                    except TimeoutError:
                        continue
                    except OSError:
                        return False
            return True

    return laptop.client.start(send)


# --- addresses and interfaces ---------------------------------------------------------------------


def test_a_port_carries_data_again_within_two_seconds_of_a_new_address(
    laptop: Laptop, travelling: Tunnels
) -> None:
    up(laptop, travelling)
    clients = crowd(laptop)
    with clients.coming():
        with laptop.new_address():
            pass
        changed = time.monotonic()
        assert clients.served_after(changed, within=MINUTE / 2) <= BACK_WITHIN
        one_came_after(clients, changed)
    assert outcomes(clients.since(changed)) == {"served"}
    assert travelling.tunnel("work")["reconnects"] == 1


def test_over_ipv6_a_new_address_is_noticed_as_well(laptop: Laptop, travelling: Tunnels) -> None:
    up(laptop, travelling, host=SERVER_6)
    clients = crowd(laptop)
    with clients.coming():
        with laptop.new_address():
            pass
        changed = time.monotonic()
        assert clients.served_after(changed, within=MINUTE / 2) <= BACK_WITHIN
        one_came_after(clients, changed)
    assert outcomes(clients.since(changed)) == {"served"}


def test_another_interface_takes_over_when_the_first_one_goes(laptop: Laptop, travelling: Tunnels) -> None:
    up(laptop, travelling)
    clients = crowd(laptop)
    with clients.coming():
        with laptop.second_interface():
            out = time.monotonic()
            assert clients.served_after(out, within=MINUTE / 2) <= 2 * BACK_WITHIN
            one_came_after(clients, out)
            leaving = time.monotonic()
        home = time.monotonic()
        assert clients.served_after(home, within=MINUTE / 2) <= 2 * BACK_WITHIN
        one_came_after(clients, home)
    # Who is being served in the very moment of the change is cut, and hears of it.
    assert outcomes(clients.since(out, leaving - 0.5)) <= {"served"}
    assert outcomes(clients.since(home)) == {"served"}


def test_a_reverse_tunnel_gets_its_port_back_after_an_address_change(
    laptop_of: Callable[..., Laptop],
) -> None:
    """The server keeps our old listener until it finds out by itself; that takes it 2 to 4 seconds."""
    laptop = laptop_of(*CAREFUL)
    with Tunnels(laptop.client.inside) as tunnels:
        tunnels.write(home={**laptop.login(), "remote": [f"8080:{ECHO}"]})
        tunnels.up("home")

        def reached() -> bool:
            answer = laptop.server.call(lambda: talk(LOOPBACK, 8080, b"hello", timeout=5))
            return answer == Talk(b"hello", End.EOF)

        assert reached()
        with laptop.new_address():
            pass
        tunnels.wait_tunnel("home", lambda it: it["reconnects"] == 1, within=20, what="a new connection")
        tunnels.wait_tunnel(
            "home", lambda it: it["forwards"][0]["state"] == "listening", within=30, what="the port back"
        )
        eventually(reached, within=15, what="a client through the reverse tunnel")


def test_after_a_black_hole_even_a_server_without_keepalives_gives_the_port_back(
    laptop: Laptop, travelling: Tunnels
) -> None:
    """Our kernel goes on telling it that the old connection has ended, until it hears of it."""
    travelling.write(home={**laptop.login(keepalive="1s"), "remote": [f"8080:{ECHO}"]})
    travelling.up("home")
    with laptop.black_hole():
        travelling.wait_state("home", "backoff", "connecting", within=15)
    travelling.wait_tunnel(
        "home",
        lambda it: it["reconnects"] == 1 and it["forwards"][0]["state"] == "listening",
        within=30,
        what="the port back",
    )
    answer = laptop.server.call(lambda: talk(LOOPBACK, 8080, b"hello", timeout=5))
    assert answer == Talk(b"hello", End.EOF)


# --- no network -----------------------------------------------------------------------------------


def test_no_waiting_client_fails_while_the_link_is_down_for_5_seconds(
    laptop: Laptop, travelling: Tunnels
) -> None:
    up(laptop, travelling)
    clients = crowd(laptop)
    with clients.coming():
        down = time.monotonic()
        with laptop.link_down():
            for_seconds(5)
        back = time.monotonic()
        assert clients.served_after(back, within=MINUTE / 2) <= BACK_WITHIN
        one_came_after(clients, back)
    meanwhile = clients.since(down, back)
    assert len(meanwhile) >= 40
    assert outcomes(meanwhile) == {"served"}
    assert outcomes(clients.since(back)) == {"served"}


@pytest.mark.parametrize("fault", ["link_down", "carrier_lost", "route_withdrawn"])
def test_a_short_interruption_cuts_nobody(laptop: Laptop, travelling: Tunnels, fault: str) -> None:
    """A client that is connected all the time only waits for its answers a little longer."""
    up(laptop, travelling)
    client = crowd(laptop, staying=True)
    with client.coming():
        with getattr(laptop, fault)():
            for_seconds(1.5)
        client.served_after(time.monotonic(), within=20)
    assert outcomes(client.visits) == {"served"}
    assert travelling.tunnel("work")["reconnects"] == 0


def test_an_interruption_on_the_way_that_nobody_sees_cuts_nobody(laptop: Laptop, travelling: Tunnels) -> None:
    up(laptop, travelling)
    client = crowd(laptop, staying=True)
    with client.coming():
        with laptop.black_hole():
            for_seconds(1.5)
        client.served_after(time.monotonic(), within=20)
    assert outcomes(client.visits) == {"served"}
    assert travelling.tunnel("work")["reconnects"] == 0


def can_limit_repetitions() -> bool:
    """Whether the kernel lets us say how long to wait between two repetitions (Linux 6.15)."""
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, dial._TCP_RTO_MAX_MS, 1000)
        except OSError:
            return False
    return True


@pytest.mark.skipif(
    not can_limit_repetitions(), reason="TCP decides alone when it repeats itself: Linux 6.15"
)
def test_clients_that_came_in_a_black_hole_are_served_soon_after_it(
    laptop: Laptop, travelling: Tunnels
) -> None:
    """Left alone, TCP would sleep about as long again as the black hole lasted (RFC 6298).

    The server's TCP does sleep, if something of its own was lost, and nobody here can wake it; so what it has on
    the way arrives before the hole swallows both directions.
    """
    up(laptop, travelling)
    clients = crowd(laptop)
    with clients.coming():
        began = time.monotonic()
        with laptop.black_hole("there"):
            for_seconds(1)
            with laptop.black_hole():
                for_seconds(7)
        assert clients.served_after(time.monotonic(), within=MINUTE / 2) <= BACK_WITHIN
        one_came_after(clients, began)
    assert outcomes(clients.since(began)) == {"served"}
    assert travelling.tunnel("work")["reconnects"] == 0


def test_status_says_offline_while_there_is_no_route_and_attempts_wait(
    laptop: Laptop, travelling: Tunnels
) -> None:
    up(laptop, travelling)
    with laptop.route_withdrawn():
        travelling.wait_tunnel("work", lambda it: it["offline"], what="offline")
        laptop.sshd.drop_sessions()
        shown = travelling.run("status", "work")
        assert "offline" in shown.words
        attempt = travelling.tunnel("work")["attempt"]
        for_seconds(2.5)
        later = travelling.tunnel("work")
        assert (later["offline"], later["attempt"]) == (True, attempt)
    travelling.wait_tunnel(
        "work", lambda it: not it["offline"] and it["state"] == "up", what="up and not offline"
    )
    echo_works(laptop)


def test_nothing_gives_up_when_there_is_no_network_and_no_dns_at_start(
    laptop: Laptop, travelling: Tunnels
) -> None:
    """A laptop is opened: first there is no network, then one without names, then everything."""
    travelling.write(work={**laptop.login(host="server.test"), "local": [f"{PORT}:{ECHO}"]})
    with laptop.link_down():
        travelling.run("up", "--no-wait", "work")
        travelling.wait_state("work", "connecting", "backoff")
        waiting = Background(lambda: echo_works(laptop))
        for_seconds(1)
        assert travelling.tunnel("work")["state"] in {"connecting", "backoff"}
    for_seconds(1)
    assert travelling.tunnel("work")["state"] in {"connecting", "backoff"}
    laptop.client.know({"server.test": laptop.sshd.host})
    waiting.result(within=30)
    travelling.wait_state("work", "up")


# --- what only keepalives can find ------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["both", "there", "back"])
def test_a_half_dead_link_is_found_within_the_bound_of_its_keepalives(
    laptop: Laptop, travelling: Tunnels, direction: str
) -> None:
    """Every second, twice: after three seconds without an answer nobody waits any longer."""
    up(laptop, travelling, keepalive="1s", keepalive_count=2)
    with laptop.black_hole(direction):
        began = time.monotonic()
        lost = travelling.wait_tunnel("work", lambda it: it["state"] != "up", within=10, what="lost")
        took = time.monotonic() - began
        assert took <= 3 + BACK_WITHIN  # the second part is for the question and a busy machine
        assert lost["error"]["code"]
    travelling.wait_state("work", "up", within=20)
    echo_works(laptop)


def test_a_half_dead_link_is_found_as_soon_while_data_is_queued(laptop: Laptop, travelling: Tunnels) -> None:
    up(laptop, travelling, keepalive="1s", keepalive_count=2)

    client = laptop.client.call(dialing(PORT))
    with client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        with laptop.black_hole():
            began = time.monotonic()
            uploading = Background(lambda: talk_over(client, bytes(32 << 20)))
            travelling.wait_tunnel("work", lambda it: it["state"] != "up", within=10, what="lost")
            assert time.monotonic() - began <= 3 + BACK_WITHIN
            assert uploading.result(within=10).end is End.RESET
    travelling.wait_state("work", "up", within=20)
    echo_works(laptop)


def test_a_silent_server_session_is_found(laptop: Laptop, travelling: Tunnels) -> None:
    up(laptop, travelling, keepalive="1s", keepalive_count=2)
    with laptop.sessions_stopped():
        travelling.wait_tunnel("work", lambda it: it["reconnects"] == 1, within=15, what="a new connection")
        echo_works(laptop)


def test_a_reset_by_a_middlebox_is_only_a_reconnect(laptop: Laptop, travelling: Tunnels) -> None:
    up(laptop, travelling, keepalive="1s")
    with laptop.middlebox_resets():
        travelling.wait_tunnel("work", lambda it: it["state"] != "up", within=10, what="lost")
    echo_works(laptop)
    assert travelling.tunnel("work")["state"] == "up"


def test_a_router_that_has_lost_the_way_is_only_an_outage(laptop: Laptop, travelling: Tunnels) -> None:
    up(laptop, travelling, keepalive="1s", keepalive_count=2)
    with laptop.router_lost_the_way():
        travelling.wait_tunnel("work", lambda it: it["state"] != "up", within=10, what="lost")
    echo_works(laptop)


def test_a_nat_that_forgets_does_not_matter_with_keepalives(laptop: Laptop, travelling: Tunnels) -> None:
    """The router forgets a connection that is idle for two seconds."""
    laptop.forgetful_nat(2)
    up(laptop, travelling, keepalive="1s")
    for_seconds(4)
    echo_works(laptop)
    assert travelling.tunnel("work")["reconnects"] == 0


# --- the server -----------------------------------------------------------------------------------


def test_a_client_that_comes_while_the_server_restarts_is_served_when_it_is_back(
    laptop: Laptop, travelling: Tunnels
) -> None:
    up(laptop, travelling)
    clients = crowd(laptop)
    with clients.coming():
        gone = time.monotonic()
        with laptop.server_away():
            for_seconds(3)
        back = time.monotonic()
        assert clients.served_after(back, within=20) <= BACK_WITHIN
    assert outcomes(clients.since(gone + 0.5)) == {"served"}


def test_the_services_of_the_test_answer_without_a_tunnel(laptop: Laptop) -> None:
    """If this fails, the bed is broken and not the product."""
    for host in (laptop.client, laptop.server):
        answer = host.call(lambda: talk(LOOPBACK, servers.PORTS["echo"], b"hello"))
        assert answer == Talk(b"hello", End.EOF)


def test_a_connection_that_is_busy_sending_is_not_taken_for_dead_when_the_network_changes(
    laptop: Laptop, travelling: Tunnels
) -> None:
    """What is asked of it after the change waits behind the megabytes that were there before."""
    up(laptop, travelling)
    laptop.router.ip("addr", "add", "10.77.1.254/24", "dev", "c0")
    slow = ("root", "tbf", "rate", "4mbit", "burst", "32k", "latency", "1500ms")
    netns.run("tc", "-n", laptop.router.name, "qdisc", "add", "dev", "s0", *slow)
    enough = threading.Event()
    sending = upload(laptop, enough)
    for_seconds(3)  # the buffers on the way fill
    laptop.client.ip("route", "replace", "default", "via", "10.77.1.254", "metric", "100")
    for_seconds(4)  # it would have been given up
    enough.set()
    assert sending.result(within=20), "the client was cut off"
    assert travelling.tunnel("work")["reconnects"] == 0
