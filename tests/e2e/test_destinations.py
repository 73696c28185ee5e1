"""What the far end of a forward answers is part of its status; a probe asks it without being a client."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.bed import clients, servers
from tests.e2e.bed.ports import LOOPBACK, free_port
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.wait import eventually


def trouble(tunnels: Tunnels, failures: int) -> dict[str, Any]:
    """Wait until so many in a row have failed; return what the status says of the destination."""
    found = tunnels.wait_tunnel(
        "work",
        lambda tunnel: (tunnel["forwards"][0]["destination"] or {}).get("failures") == failures,
        what=f"{failures} failures",
    )
    return dict(found["forwards"][0]["destination"])


def knock(port: int) -> None:
    """Be a client that is turned away, or served."""
    with contextlib.suppress(ConnectionError), socket.create_connection((LOOPBACK, port), timeout=10) as end:
        end.shutdown(socket.SHUT_WR)
        while end.recv(4096):
            pass


def test_a_destination_that_refuses_is_counted_until_it_takes_somebody(tunnels: Tunnels, site: Site) -> None:
    port, there = free_port(), site.remote_port()
    tunnels.write(work={**site.login(), "local": [f"{port}:127.0.0.1:{there}"]})
    tunnels.up("work")
    assert tunnels.forward("work")["destination"] is None
    for number in (1, 2, 3):
        knock(port)
        said = trouble(tunnels, number)
    assert said["reason"] == "refused"
    assert "refused the last 3" in tunnels.run("status", "work").words
    if site.host != LOOPBACK:
        return  # nobody can begin to listen there
    with servers.Echo(port=there):
        assert clients.talk(LOOPBACK, port, b"hello").data == b"hello"
        trouble(tunnels, 0)
    assert "refused" not in tunnels.run("status", "work").words


def test_the_destination_of_a_remote_forward_is_here_and_told_of_as_well(
    tunnels: Tunnels, site: Site
) -> None:
    there = site.remote_port()
    tunnels.write(work={**site.login(), "remote": [f"{there}:127.0.0.1:{free_port()}"]})
    tunnels.up("work")
    site.talk(there, b"hello")
    assert trouble(tunnels, 1)["reason"] == "refused"


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Something that listens, and that a test can look at for who has come."""
    with socket.create_server((LOOPBACK, 0)) as server:
        server.setblocking(False)
        yield server


def visits(server: socket.socket) -> int:
    """How many have connected since the last look."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            server.accept()[0].close()
            count += 1
    return count


@pytest.mark.loopback_site
def test_a_probe_asks_by_itself_and_is_no_client(tunnels: Tunnels, site: Site, silent: socket.socket) -> None:
    there = silent.getsockname()[1]
    tunnels.write(work={**site.login(), "probe": "1s", "local": [f"{free_port()}:127.0.0.1:{there}"]})
    tunnels.up("work")
    for _ in range(2):
        eventually(lambda: visits(silent), within=10, what="a probe")
    forward = tunnels.forward("work")
    assert forward["clients"] == forward["clients_total"] == forward["bytes_in"] == forward["bytes_out"] == 0
    silent.close()
    assert trouble(tunnels, 2)["reason"] == "refused"
    log = tunnels.run("logs", "work").out
    assert log.count("does not answer") == 1
    with servers.Echo(port=there):
        trouble(tunnels, 0)
        eventually(
            lambda: tunnels.run("logs", "work").out.count("answers again") == 1,
            within=10,
            what="that it answers again",
        )


@pytest.mark.loopback_site
def test_a_probe_wakes_no_tunnel_and_keeps_none_awake(tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    keys = {"on_demand": True, "idle_timeout": "3s", "probe": "1s"}
    with servers.Echo() as echo:
        tunnels.write(work={**site.login(), **keys, "local": [f"{port}:127.0.0.1:{echo.port}"]})
        tunnels.up("work")
        assert tunnels.tunnel("work")["state"] == "idle"
        assert clients.talk(LOOPBACK, port, b"hello").data == b"hello"
        eventually(lambda: echo.accepted > 1, within=10, what="a probe")
        tunnels.wait_state("work", "idle", within=10)
        asked = echo.accepted
        tunnels.up("work")  # a moment, in which nobody is asked
        assert echo.accepted == asked
