"""On demand, with the real thing: the port is there, and the server is left alone while nobody uses it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.clients import End, Talk, talk
from tests.e2e.bed.ports import LOOPBACK, free_port, free_ports, in_use
from tests.e2e.bed.product import OK, USAGE, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually, for_seconds

SERVED = Talk(b"hello", End.EOF)


def profile(site: Site, port: int, **keys: object) -> dict[str, object]:
    return {**site.login(), "on_demand": True, "local": [f"{port}:{site.far.echo}"], **keys}


def ask(port: int) -> Talk:
    return talk(LOOPBACK, port, b"hello")


def test_up_returns_at_once_and_the_server_sees_nobody(tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    tunnels.write(db=profile(site, port))
    before = site.connections
    result = tunnels.up("db")
    assert result.code == OK
    assert "idle" in result.words
    assert str(port) in result.words
    assert in_use(port)
    tunnel = tunnels.tunnel("db")
    assert (tunnel["state"], tunnel["attempt"], tunnel["error"]) == ("idle", 0, None)
    assert tunnel["forwards"][0]["state"] == "listening"
    assert tunnels.run("status", "db").code == OK
    assert site.connections == before


def test_up_does_not_need_the_server_at_all(tunnels: Tunnels, site: Site) -> None:
    """It may be a machine that is woken up when it is wanted."""
    port = free_port()
    tunnels.write(db=profile(site, port))
    site.stop()
    tunnels.up("db")
    site.start()
    assert ask(port) == SERVED


def test_the_first_client_has_the_connection_made_and_the_last_one_ends_it(
    tunnels: Tunnels, site: Site
) -> None:
    port = free_port()
    tunnels.write(db=profile(site, port, idle_timeout="1s"))
    before = site.connections
    tunnels.up("db")

    assert ask(port) == SERVED
    assert site.connections == before + 1
    assert tunnels.tunnel("db")["state"] in {"up", "idle"}

    tunnel = tunnels.wait_state("db", "idle")
    assert (tunnel["error"], tunnel["retry_at"], tunnel["reconnects"]) == (None, None, 0)
    assert in_use(port)
    assert tunnels.run("status", "db").code == OK

    assert ask(port) == SERVED
    assert site.connections == before + 2
    assert tunnels.tunnel("db")["forwards"][0]["clients_total"] == 2


@pytest.mark.loopback_site
def test_the_server_has_no_session_left_when_it_has_hung_up(
    start_sshd: Callable[..., Sshd], site: Site, tunnels: Tunnels
) -> None:
    port = free_port()
    sshd = start_sshd()
    tunnels.write(db={**profile(site, port, idle_timeout="1s"), **sshd.login()})
    tunnels.up("db")
    assert ask(port) == SERVED
    eventually(lambda: sshd.sessions() == 0, within=10, what="the end of the session")
    tunnels.wait_state("db", "idle")


def test_a_client_that_stays_is_not_hung_up_on(tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    tunnels.write(db=profile(site, port, idle_timeout="1s"))
    before = site.connections
    tunnels.up("db")
    with dialing(port)() as client:
        client.sendall(b"a")
        assert client.recv(1) == b"a"
        for_seconds(2.5)
        client.sendall(b"b")
        assert client.recv(1) == b"b"
        assert tunnels.tunnel("db")["state"] == "up"
    tunnels.wait_state("db", "idle")
    assert site.connections == before + 1


def test_what_the_first_client_sends_before_there_is_a_connection_is_not_lost(
    tunnels: Tunnels, site: Site
) -> None:
    port = free_port()
    tunnels.write(db=profile(site, port))
    tunnels.up("db")
    traffic.check_echo(dialing(port))


def test_twenty_of_them_cost_the_server_nothing_until_one_is_used(tunnels: Tunnels, site: Site) -> None:
    ports = free_ports(20)
    tunnels.write(**{f"db{number}": profile(site, port) for number, port in enumerate(ports)})
    before = site.connections
    tunnels.up("--all")
    assert {tunnel["state"] for tunnel in tunnels.status_json()["tunnels"]} == {"idle"}
    assert all(in_use(port) for port in ports)
    assert site.connections == before
    assert ask(ports[7]) == SERVED
    assert site.connections == before + 1


def test_taken_down_while_nobody_uses_it_the_port_is_free(tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    tunnels.write(db=profile(site, port))
    tunnels.up("db")
    tunnels.down("db")
    assert not in_use(port)


def test_a_profile_that_lets_nobody_wait_cannot_be_on_demand(tunnels: Tunnels, site: Site) -> None:
    tunnels.write(db=profile(site, free_port(), hold="0s"))
    result = tunnels.run("check", expect=USAGE)
    assert "hold cannot be 0" in result.words
