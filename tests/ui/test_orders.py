from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.served import PaperDaemon, daemon_thread, profile_file, tunnel
from tunnels import paths, spawn
from tunnels.client import Client
from tunnels.errors import (
    AlreadyAnswered,
    ControlError,
    DaemonNotRunning,
    HostKeyRejected,
    NoSuchProfile,
    QuestionExpired,
    TunnelsError,
    UsageError,
)
from tunnels.ui import orders


@pytest.fixture
def config() -> Path:
    return profile_file()


@pytest.fixture
def daemon(config: Path) -> Iterator[PaperDaemon]:
    with daemon_thread(tunnel("work-db")) as daemon:
        yield daemon


def test_up_down_restart_and_reload_do_what_the_commands_do(daemon: PaperDaemon, config: Path) -> None:
    assert orders.up("home", config) == ""
    assert "already" in orders.up("home", config)
    assert orders.restart("home", config) == ""
    assert orders.down("home", config) == ""
    assert "was not running" in orders.down("home", config)
    assert orders.reload("", config)
    asked = [what for what, _ in daemon.supervisor.calls]
    assert asked == ["up", "up", "restart", "down", "down", "reload"]


def test_what_is_not_in_the_file_is_an_error(daemon: PaperDaemon, config: Path) -> None:
    with pytest.raises(NoSuchProfile):
        orders.up("nobody", config)


def test_only_up_and_restart_start_a_daemon(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "start_daemon", lambda _: pytest.fail("it was started"))
    for order in (orders.down, orders.reload):
        with pytest.raises(DaemonNotRunning):
            order("home", config)
    assert not paths.socket_path().exists()


@pytest.mark.parametrize(
    ("error", "settled", "anew", "words"),
    [
        (AlreadyAnswered("gone"), True, False, "another terminal"),
        (QuestionExpired("late"), True, True, "asks again"),
        (UsageError("say yes or no"), False, False, "say yes or no"),
        (HostKeyRejected("you said no"), True, False, "you said no"),
        (DaemonNotRunning("home is not running"), True, False, "taken down"),
    ],
)
def test_what_came_of_an_answer(
    daemon: PaperDaemon,
    monkeypatch: pytest.MonkeyPatch,
    error: TunnelsError,
    settled: bool,
    anew: bool,
    words: str,
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(daemon.supervisor, "answer", refuse)
    reply = orders.answer("home", "q1", "hunter2")
    assert (reply.settled, reply.anew) == (settled, anew)
    assert words in reply.said
    assert "hunter2" not in reply.said


def test_an_answer_reaches_the_daemon(daemon: PaperDaemon) -> None:
    assert orders.answer("home", "q1", "hunter2").said == ""
    assert daemon.supervisor.calls == [("answer", ("home", "q1", "hunter2"))]


def test_a_daemon_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Client:
        raise ControlError("the daemon hung up")

    monkeypatch.setattr(Client, "connect", gone)
    with pytest.raises(ControlError):
        orders.answer("home", "q1", "x")
