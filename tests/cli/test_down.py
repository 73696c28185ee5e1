from __future__ import annotations

import asyncio

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import FILE, daemon_thread, profile_file, tunnel
from tunnels import desired_state, paths, spawn
from tunnels.client import Client
from tunnels.desired_state import DesiredState
from tunnels.errors import DaemonStartFailed

BAD = FILE + "hosst = 1\n"


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file()


# --- which ones -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "stopped"),
    [
        (["work-db"], ["work-db"]),
        (["work-*"], ["work-db", "work-web"]),
        (["gone"], ["gone"]),  # runs, and is no longer in the file
        (["g*", "work-web"], ["gone", "work-web"]),
        (["--all"], ["work-db", "work-web", "gone"]),
        (["-a", "work-db"], ["work-db", "work-web", "gone"]),
        (["--tag", "web"], ["work-web"]),
        (["-t", "web", "gone"], ["gone", "work-web"]),
        (["work-db", "work-db", "work-d?"], ["work-db"]),
    ],
)
def test_what_is_named_is_stopped_once_each_and_said(arguments: list[str], stopped: list[str]) -> None:
    with daemon_thread(tunnel("work-db"), tunnel("work-web"), tunnel("gone")) as daemon:
        result = tunnels("down", *arguments)
        assert daemon.supervisor.calls == [("down", stopped)]
    assert result.out.splitlines() == [f"{name}: stopped" for name in stopped]
    assert (result.code, result.err) == (0, "")


def test_what_is_not_running_is_no_failure_and_said() -> None:
    with daemon_thread(tunnel("work-db")):
        result = tunnels("down", "--tag", "work")
        assert (result.code, result.out) == (0, "work-db: stopped\n")
        assert result.err == "work-web was not running\n"
        assert tunnels("down", "--all").err == "nothing was running\n"


def test_as_json_it_is_one_document() -> None:
    with daemon_thread(tunnel("work-db")):
        assert tunnels("down", "work-*", "home", "--json").json == {
            "version": 1,
            "stopped": ["work-db"],
            "not_running": ["home"],
        }


def test_a_name_that_is_nothing_stops_nothing() -> None:
    with daemon_thread(tunnel("work-db")) as daemon:
        for name in ("work-dbb", "x*"):
            result = tunnels("down", "work-db", name)
            assert (result.code, result.out) == (4, "")
        assert "work-db" in tunnels("down", "work-dbb").err
        assert tunnels("down", "--tag", "webb").code == 4
        assert daemon.supervisor.calls == []


def test_nothing_named_is_a_bad_command_line_and_not_everything() -> None:
    with daemon_thread(tunnel("work-db")) as daemon:
        result = tunnels("down")
        assert (result.code, result.out) == (2, "")
        assert "--all" in result.err
        assert daemon.supervisor.calls == []


def test_what_would_come_back_with_a_mended_file_is_taken_down_with_all() -> None:
    profile_file(BAD)
    with daemon_thread(tunnel("home")) as daemon:
        asyncio.run_coroutine_threadsafe(daemon.handlers.take_up(("work-db",)), daemon.loop).result(5)
        assert tunnels("down", "--all").code == 0
        assert daemon.do(lambda: daemon.handlers.absent) == ()


# --- a bad file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [BAD, None])
def test_a_bad_or_missing_file_keeps_nobody_from_stopping_what_runs(text: str | None) -> None:
    path = profile_file(text or "")
    if text is None:
        path.unlink()
    with daemon_thread(tunnel("work-db"), tunnel("home")):
        assert tunnels("down", "work-*").out == "work-db: stopped\n"
        assert tunnels("down", "--all").out == "home: stopped\n"


def test_with_a_bad_file_a_name_that_does_not_run_is_4() -> None:
    profile_file(BAD)
    with daemon_thread(tunnel("work-db")):
        result = tunnels("down", "work-web")
    assert result.code == 4
    assert "no tunnel work-web is running" in result.err


def test_with_no_file_a_name_that_does_not_run_is_4_and_the_file_is_said_to_be_missing() -> None:
    paths.config_file().unlink()
    with daemon_thread(tunnel("work-db")):
        result = tunnels("down", "work-web")
    assert result.code == 4
    assert "no tunnel work-web is running" in result.words
    assert f"{paths.config_file()}: there is no such file" in result.words


def test_with_a_bad_file_a_tag_cannot_be_looked_up() -> None:
    profile_file(BAD)
    with daemon_thread(tunnel("work-db")) as daemon:
        assert tunnels("down", "--tag", "work").code == 2
        assert daemon.supervisor.calls == []


# --- without a daemon -----------------------------------------------------------------------------


def test_without_a_daemon_everything_is_down_already_and_none_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spawn, "start_daemon", None)
    assert tunnels("down", "work-db").err == "work-db was not running\n"
    assert tunnels("down", "--all").code == 0
    assert tunnels("down", "work-*", "--json").json["not_running"] == ["work-db", "work-web"]
    assert tunnels("down", "work-dbb").code == 4


def test_after_a_crash_down_reaches_what_would_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(config: object) -> Client:
        raise DaemonStartFailed("no")

    desired_state.save(paths.state_file(), DesiredState(("work-db",), running=True))
    monkeypatch.setattr(spawn, "start_daemon", start)
    assert tunnels("down", "work-db").code == DaemonStartFailed.exit_code
