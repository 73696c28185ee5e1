"""`tunnels ui` on a real terminal, around a real daemon and a real server: read from the screen."""

from __future__ import annotations

import os

import psutil
import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import COMMAND, OK, Tunnels
from tests.e2e.bed.screen import Screen
from tests.e2e.bed.site import Site
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually

pytestmark = pytest.mark.loopback_site


@pytest.fixture
def port(tunnels: Tunnels, site: Site) -> int:
    """Have a profile ``work`` with one local forward, and another one; nothing is started."""
    port = free_port()
    tunnels.with_extras()
    tunnels.write(
        work={**site.login(), "tags": ["office"], "local": [f"{port}:{site.far.echo}"]},
        spare={**site.login(), "description": "not often", "local": [f"{free_port()}:{site.far.echo}"]},
    )
    return port


def screen(tunnels: Tunnels, columns: int, lines: int, **env: str) -> Screen:
    command = [*COMMAND, "ui"]
    return Screen(command, env={**tunnels.env, **env}, cwd=tunnels.home, columns=columns, lines=lines)


def test_a_tunnel_is_brought_up_its_client_named_and_taken_down_from_the_screen(
    port: int, tunnels: Tunnels
) -> None:
    with screen(tunnels, 80, 24) as it:
        it.shows("not running", "office", "▸ ○ work", "not often", "q quit")
        it.press("u")
        it.shows("▸ ● work", "1 of 1 up", "log", "ms")
        traffic.check_echo(dialing(port), 200_000)
        it.shows("200 kB in, 200 kB out", "▁", "█")
        with dialing(port)() as client:
            client.sendall(b"hello")
            it.shows(f"(pid {os.getpid()})", "1 client")
            (found,) = tunnels.run("clients", "work", "--json", expect=OK).json["clients"]
            assert (found["pid"], found["origin"][1]) == (os.getpid(), client.getsockname()[1])
            it.press("d")
            it.shows("press d again")
            it.press("d")
            it.shows("▸ ○ work")
        assert tunnels.status_json()["tunnels"] == []
        it.press("q")
        assert it.exit_code() == OK


def test_who_leaves_does_not_wait_for_a_daemon_that_does_not_answer(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    daemon = psutil.Process(tunnels.daemon_pid())
    with screen(tunnels, 80, 24) as it:
        it.shows("▸ ● work")
        daemon.suspend()
        try:
            it.press("u")
            it.press("q")
            assert it.exit_code(within=12) == OK
        finally:
            daemon.resume()


def test_who_leaves_at_once_has_brought_it_up_all_the_same(port: int, tunnels: Tunnels) -> None:
    with screen(tunnels, 80, 24) as it:
        it.shows("▸ ○ work")
        it.press("u", "q")
        assert it.exit_code() == OK
    tunnels.wait_state("work", "up")


def test_the_daemon_may_go_and_come_back_and_the_terminal_may_grow(port: int, tunnels: Tunnels) -> None:
    tunnels.up("work")
    with screen(tunnels, 120, 40, NO_COLOR="1") as it:
        it.shows("▸ ● work", "1 of 1 up")
        tunnels.run("daemon", "stop", expect=OK)
        it.shows("the daemon is not running", "▸ ○ work")
        tunnels.up("spare")
        it.shows("● spare")
        it.resize(80, 24)
        eventually(lambda: max(map(len, it.text.splitlines())) <= 80, within=10, what="a narrow screen")
        it.press("/")
        it.write("spare")
        it.lacks("office")
        it.press("C-c")
        assert it.exit_code() == OK
    assert tunnels.tunnel("spare")["state"] == "up"  # only the view has ended
