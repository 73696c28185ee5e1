"""A reverse tunnel whose port its own last connection still holds: said, and taken back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.clients import talk
from tests.e2e.bed.ports import LOOPBACK, free_port
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd
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
