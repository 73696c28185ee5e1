"""The daemon and what happens around it: a newer command line, a runtime folder that goes away."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.bed.clients import talk
from tests.e2e.bed.ports import LOOPBACK, free_port
from tests.e2e.bed.product import OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.wait import eventually
from tunnels import __version__

OLD = """
import sys, tunnels
tunnels.__version__ = "0.0.1"
{}
from tunnels.__main__ import main
sys.argv[0] = "tunnels"
main()
"""

ANOTHER_PROTOCOL = """
from tunnels.core import protocol
protocol.PROTOCOL = 0
"""


@pytest.fixture
def port(tunnels: Tunnels, site: Site) -> int:
    port = free_port()
    tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.echo}"]})
    return port


@pytest.fixture(params=["", ANOTHER_PROTOCOL], ids=["same protocol", "another protocol"])
def old_daemon(request: pytest.FixtureRequest, tunnels: Tunnels) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon of an older version, as an upgrade of the package leaves it behind."""
    command = [sys.executable, "-c", OLD.format(request.param), "daemon", "run"]
    with subprocess.Popen(
        command, env=tunnels.env, cwd=tunnels.home, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as daemon:
        try:
            eventually(
                tunnels.runtime.joinpath("control.sock").exists, within=15, what="the old daemon listens"
            )
            yield daemon
        finally:
            daemon.kill()


def test_after_an_upgrade_the_next_command_replaces_the_daemon_and_its_tunnels_return(
    port: int, tunnels: Tunnels, old_daemon: subprocess.Popen[bytes]
) -> None:
    first = tunnels.run("up", "work", expect=OK)
    assert "0.0.1" in first.err
    assert old_daemon.wait(15) == 0, "the old daemon has not ended in good order"

    assert tunnels.status_json()["daemon"]["version"] == __version__
    assert talk(LOOPBACK, port, b"hello").data == b"hello"


def test_the_tunnels_of_the_old_daemon_return_without_being_named(tunnels: Tunnels, port: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OLD.format(""), "up", "work"],
        env=tunnels.env,
        cwd=tunnels.home,
        stdin=subprocess.DEVNULL,
    ) as old_command:
        assert old_command.wait(30) == 0
    # That command has started a daemon of our version, so it is made to look old.
    tunnels.run("daemon", "stop", expect=OK)
    command = [sys.executable, "-c", OLD.format(""), "daemon", "run"]
    with subprocess.Popen(command, env=tunnels.env, cwd=tunnels.home, stdin=subprocess.DEVNULL) as daemon:
        eventually(tunnels.runtime.joinpath("control.sock").exists, within=15, what="the old daemon listens")

        said = tunnels.run("status", expect=OK)

        assert f"replaced by {__version__}" in said.err
        assert daemon.wait(15) == 0
    tunnels.wait_state("work", "up")
    assert talk(LOOPBACK, port, b"hello").data == b"hello"


def test_a_daemon_whose_runtime_folder_is_removed_is_reached_again(tunnels: Tunnels, port: int) -> None:
    """As logind does when the last session of the user ends."""
    tunnels.up("work")
    pid = tunnels.daemon_pid()
    shutil.rmtree(tunnels.runtime)

    eventually(tunnels.runtime.joinpath("control.sock").exists, within=10, what="the socket is back")

    assert tunnels.tunnel("work")["state"] == "up"
    assert tunnels.daemon_pid() == pid
    assert talk(LOOPBACK, port, b"hello").data == b"hello"


def test_a_command_without_the_runtime_folder_of_the_session_finds_the_daemon(
    tunnels: Tunnels, port: int
) -> None:
    """As in a cron job, or after `su`."""
    tunnels.up("work")
    pid = tunnels.daemon_pid()
    elsewhere = {"TUNNELS_RUNTIME_DIR": str(tunnels.home / "elsewhere")}

    assert "work  up" in tunnels.run("status", "work", expect=OK, env=elsewhere).out
    assert tunnels.run("up", "work", expect=OK, env=elsewhere).code == OK
    assert tunnels.daemon_pid() == pid


def test_a_second_daemon_with_the_same_runtime_folder_is_refused_and_the_first_one_stays_reachable(
    port: int, tunnels: Tunnels
) -> None:
    tunnels.up("work")
    pid = tunnels.daemon_pid()
    second = tunnels.run("daemon", "run", env={"TUNNELS_STATE_DIR": str(tunnels.home / "state2")})
    assert second.code != OK
    assert "another daemon listens" in second.words
    assert tunnels.status_json()["daemon"]["pid"] == pid
    assert talk(LOOPBACK, port, b"hello").data == b"hello"
