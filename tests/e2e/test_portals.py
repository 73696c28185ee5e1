"""A Wi-Fi with a login page: the tunnel says where it is, and is up soon after somebody has logged in."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.e2e.bed.faults import ECHO, Laptop
from tests.e2e.bed.netns import SERVER_4
from tests.e2e.bed.portal import URL, login_page
from tests.e2e.bed.ports import accepts
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.wait import eventually

pytestmark = pytest.mark.long

WEB_PORT = 8000

UP_WITHIN = 5.0
"""Seconds after the login that may pass until the tunnel is up."""


def code(tunnels: Tunnels) -> str | None:
    error = tunnels.tunnel("work")["error"]
    return None if error is None else str(error["code"])


def behind_a_login_page(tunnels: Tunnels) -> dict[str, object]:
    """Wait until the tunnel has seen the login page; return what it says."""

    def seen() -> dict[str, object] | None:
        tunnel = tunnels.tunnel("work")
        is_portal = tunnel["state"] == "backoff" and code(tunnels) == "captive-portal"
        return tunnel if is_portal else None

    found = eventually(seen, within=30, what="the tunnel to see the login page")
    assert found is not None
    return found


def write(laptop: Laptop, tunnels: Tunnels, **keys: object) -> None:
    way = {**laptop.login(), "connect_timeout": "5s", "local": [f"5000:{ECHO}"]}
    tunnels.write(work={**way, **keys})


@pytest.mark.parametrize("inline", [False, True], ids=["redirect", "page"])
@pytest.mark.parametrize("ssh", ["answers", "drops"])
def test_a_tunnel_behind_a_login_page_says_so_and_is_up_soon_after_the_login(
    laptop: Laptop, travelling: Tunnels, ssh: str, inline: bool
) -> None:
    write(laptop, travelling)
    with login_page(laptop, ssh=ssh, inline=inline):
        travelling.run("up", "--no-wait", "work")
        tunnel = behind_a_login_page(travelling)
        url = "http://203.0.113.113/" if inline else URL
        assert tunnel["error"]["message"].startswith(f"Wi-Fi login page at {url}:")  # type: ignore[index]
        assert (tunnel["attempt"], tunnel["offline"]) == (0, False)
    free = time.monotonic()
    eventually(lambda: travelling.tunnel("work")["state"] == "up", within=30, what="the tunnel to be up")
    assert time.monotonic() - free <= UP_WITHIN
    said = travelling.run("logs", "work").words
    assert "the login page has gone" in said
    assert "hunter2" not in said


def test_a_tunnel_that_was_up_comes_back_after_a_login_page_and_why_tells_of_it(
    laptop: Laptop, travelling: Tunnels
) -> None:
    write(laptop, travelling, keepalive="1s", keepalive_count=1)
    travelling.up("work")
    with login_page(laptop, ssh="answers"):
        behind_a_login_page(travelling)
        assert "Wi-Fi login page at" in travelling.run("status").words
        assert "Wi-Fi login page at" in travelling.run("why", "work").words
    eventually(lambda: travelling.tunnel("work")["state"] == "up", within=30, what="the tunnel to be up")
    assert "then Wi-Fi login page at" in travelling.run("why", "work").words


def test_the_doctor_finds_the_login_page_where_ssh_is_simply_dropped(
    laptop: Laptop, travelling: Tunnels
) -> None:
    write(laptop, travelling)
    with login_page(laptop, ssh="drops"):
        result = travelling.run("doctor", "work")
    assert f"Wi-Fi login page at {URL}" in result.words
    assert result.code == 1


def test_a_web_server_on_the_port_is_named_as_that_and_not_taken_for_a_login_page(
    laptop: Laptop, travelling: Tunnels
) -> None:
    command = [*laptop.server.inside, sys.executable, "-m", "http.server", str(WEB_PORT), "--bind", SERVER_4]
    write(laptop, travelling, port=WEB_PORT)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=laptop.sshd.folder, **quiet) as web:  # type: ignore[call-overload]
        try:
            eventually(
                lambda: laptop.server.call(lambda: accepts(WEB_PORT, SERVER_4)),
                within=10,
                what="the web server",
            )
            result = travelling.run("up", "work")
        finally:
            web.kill()
    assert result.code == 1
    assert "is no SSH server but a web server: it said “" in result.words
    assert "no login page is in the way" in result.words
    assert travelling.tunnel("work")["state"] == "failed"


def test_whoever_does_not_want_it_is_not_looked_after(laptop: Laptop, travelling: Tunnels) -> None:
    write(laptop, travelling, captive_portal=False)
    with login_page(laptop, ssh="answers"):
        travelling.run("up", "--no-wait", "work")
        eventually(lambda: travelling.tunnel("work")["attempt"] >= 3, within=60, what="the third attempt")
        assert code(travelling) == "not-ssh"
