"""``-R port`` alone: a proxy on the server's side, whose clients come out on this machine."""

from __future__ import annotations

import pytest

from tests.e2e.bed import socks, traffic
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.traffic import MIB

pytestmark = pytest.mark.loopback_site


def test_a_proxy_on_the_servers_side_connects_from_here(tunnels: Tunnels, site: Site) -> None:
    port = site.remote_port()
    tunnels.write(it={**site.login(), "remote": [f"127.0.0.1:{port}"]})
    result = tunnels.up("it")
    assert "None" not in result.text
    echo = site.near.echo
    traffic.check_echo(lambda: socks.socks5(port, echo.host, echo.port), MIB)
    traffic.check_echo(lambda: socks.socks5(port, "localhost", echo.port), 1000)
    refusing = site.near.refusing
    with pytest.raises(socks.SocksRefused) as caught:
        socks.socks5(port, refusing.host, refusing.port)
    assert caught.value.code == socks.CONNECTION_REFUSED
    forward = tunnels.tunnel("it")["forwards"][0]
    assert (forward["kind"], forward["connect"], forward["state"]) == ("remote", None, "listening")
    assert forward["clients_total"] == 2
    assert "None" not in tunnels.run("status", "it").text
