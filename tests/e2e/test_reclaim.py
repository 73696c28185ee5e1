"""A reverse tunnel whose port its own last connection still holds: said, and taken back."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.clients import talk
from tests.e2e.bed.ports import LOOPBACK, free_port
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd, known_hosts_line
from tests.e2e.bed.traffic import dialing

pytestmark = pytest.mark.loopback_site


def test_a_port_that_our_own_last_connection_holds_is_said_and_taken_back(
    tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd]
) -> None:
    """The old session is frozen, which is what a server knows of a client that has changed its network."""
    sshd = start_sshd("ClientAliveInterval 1", "ClientAliveCountMax 1")
    local, port = free_port(), free_port()
    tunnels.write(
        home={
            **sshd.login(),
            "keepalive_count": 1,
            "local": [f"{local}:{site.far.echo}"],
            "remote": [f"127.0.0.1:{port}:{site.near.echo}"],
        }
    )
    tunnels.up("home")
    assert talk(LOOPBACK, port, b"before").data == b"before"

    sshd.pause_sessions()
    tunnel = tunnels.wait_tunnel(
        "home",
        lambda it: it["reconnects"] == 1 and it["forwards"][1]["state"] == "failed",
        what="connected again, and the port refused",
        within=30,
    )
    assert tunnel["state"] == "up"
    error = tunnel["forwards"][1]["error"]
    assert error["message"] == f"the server still holds port {port}, most likely for our own last connection"
    assert "ClientAliveInterval 15" in error["hint"]
    traffic.check_echo(dialing(local), 1000)

    sshd.resume()
    tunnel = tunnels.wait_tunnel(
        "home", lambda it: it["forwards"][1]["state"] == "listening", what="the port taken back", within=30
    )
    assert tunnel["reconnects"] == 1
    assert tunnel["forwards"][1]["error"] is None
    assert talk(LOOPBACK, port, b"after").data == b"after"
    assert "listens after all" in tunnels.run("logs", "home").text


class Network:
    """A way to a server that can lose what is under way on it, without telling either side."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._server = socket.create_server((LOOPBACK, free_port()))
        self.port = int(self._server.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._lost: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def lose_what_is_under_way(self) -> None:
        """Connections of now carry nothing any more; new ones do."""
        self._lost.update(self._sockets)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._to)
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if one not in self._lost:
                    other.sendall(data)
        if one not in self._lost:
            with contextlib.suppress(OSError):
                other.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._thread.join()


def test_a_port_is_taken_back_as_soon_as_the_server_lets_go_of_it_by_itself(
    tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    """sshd needs about twice ClientAliveInterval x (ClientAliveCountMax + 1) to see that a client has gone."""
    sshd = start_sshd("ClientAliveInterval 1", "ClientAliveCountMax 2")
    port = free_port()
    with Network(sshd.host, sshd.port) as network:
        known_hosts = tmp_path / "known_hosts_here"
        known_hosts.write_text(f"{known_hosts_line(LOOPBACK, network.port, sshd.host_key)}\n")
        tunnels.write(
            home={
                **sshd.login(),
                "port": network.port,
                "known_hosts": str(known_hosts),
                "keepalive_count": 1,
                "remote": [f"127.0.0.1:{port}:{site.near.echo}"],
            }
        )
        tunnels.up("home")
        network.lose_what_is_under_way()
        tunnel = tunnels.wait_tunnel(
            "home", lambda it: it["forwards"][0]["state"] == "failed", what="the port refused", within=30
        )
        assert "most likely for our own last connection" in tunnel["forwards"][0]["error"]["message"]
        tunnel = tunnels.wait_tunnel(
            "home", lambda it: it["forwards"][0]["state"] == "listening", what="the port", within=30
        )
        assert (tunnel["state"], tunnel["reconnects"]) == ("up", 1)
        assert talk(LOOPBACK, port, b"after").data == b"after"
