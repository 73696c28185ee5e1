from __future__ import annotations

import asyncio
import gc
import io
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.served import REMOTE, connect_for_ever, profile_file
from tests.daemon.test_notify import Systemd
from tunnels import control_socket, open_files, paths
from tunnels.daemon import app, engine
from tunnels.errors import ControlError


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "connect", connect_for_ever)
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(gc, "freeze", lambda: None)  # for the life of a process, not of a test


@pytest.fixture
def _logging_as_before() -> Iterator[None]:
    """Undo what a whole daemon does to its process."""
    root = logging.getLogger()
    handlers, levels = (
        list(root.handlers),
        {name: logging.getLogger(name).level for name in ("", "tunnels", "asyncssh")},
    )
    umask = os.umask(0o022)
    yield
    os.umask(umask)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


# --- the process ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("_logging_as_before")
def test_a_second_daemon_says_busy_and_leaves_the_first_alone() -> None:
    lock = control_socket.Lock(paths.lock_file())
    assert lock.acquire()
    said: list[str] = []
    try:
        with control_socket.listen(paths.socket_path()):
            with pytest.raises(ControlError, match="another daemon is running"):
                app.run_daemon(paths.config_file(), ready=said.append)
            assert paths.socket_path().is_socket()
    finally:
        lock.release()
    assert said == ["busy"]


@pytest.mark.usefixtures("_logging_as_before")
def test_a_second_daemon_that_is_a_service_waits_for_the_first_to_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile_file(REMOTE)
    systemd = Systemd(str(home / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
    first = control_socket.Lock(paths.lock_file())
    assert first.acquire()
    first.write_down(paths.socket_path())
    said: list[str] = []

    def ends(seconds: float) -> None:
        assert said == []
        if seconds != app.LOCK_POLL:  # the first moments, in which it could be somebody who only looks
            return
        assert systemd.heard() == [f"STATUS=waits until another daemon has ended, pid {os.getpid()}"]
        first.release()

    def ready(word: str) -> None:
        said.append(word)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(time, "sleep", ends)
    with systemd.socket:
        assert app.run_daemon(paths.config_file(), ready=ready) == 0
        assert systemd.heard()[0].startswith("READY=1")
    assert said == ["ready"]


@pytest.mark.usefixtures("_logging_as_before")
def test_a_daemon_that_ends_has_left_a_log_and_keeps_its_lock_until_its_process_is_gone() -> None:
    profile_file(REMOTE)

    def stop_it(word: str) -> None:
        assert word == "ready"
        os.kill(os.getpid(), signal.SIGTERM)

    assert app.run_daemon(paths.config_file(), ready=stop_it) == 0
    said = paths.log_file().read_text()
    assert "started" in said
    assert "daemon stops" in said
    lock = control_socket.Lock(paths.lock_file())
    assert not lock.acquire()  # whoever waits for the end of the daemon waits for this process
    lock.release()


@pytest.mark.usefixtures("_logging_as_before")
def test_a_daemon_that_ends_with_a_bug_has_a_traceback_in_its_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def broken(*_: object) -> int:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(app, "_daemon", broken)
    with pytest.raises(ZeroDivisionError):
        app.run_daemon(paths.config_file(), ready=lambda _: None)
    assert "    ZeroDivisionError: a bug" in paths.log_file().read_text()


@pytest.mark.usefixtures("_logging_as_before")
def test_whatever_a_daemon_creates_is_for_its_user_only() -> None:
    profile_file(REMOTE)
    seen = []

    def look(_: str) -> None:
        seen.append(os.umask(0o077))
        os.kill(os.getpid(), signal.SIGTERM)

    app.run_daemon(paths.config_file(), ready=look)
    assert seen == [0o077]


def test_the_engine_raises_its_limit_of_open_files_and_leaves_no_memory_to_a_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing() -> int:
        return 0

    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append((which, limits)))
    monkeypatch.setattr(open_files, "ours", open_files.OpenFiles())
    app.run_loop(nothing())
    assert asked == [(resource.RLIMIT_NOFILE, (4096, 4096)), (resource.RLIMIT_CORE, (0, 0))]


def test_an_engine_that_is_let_no_more_files_runs_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    async def seven() -> int:
        return 7

    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert app.run_loop(seven()) == 7


def test_the_engine_runs_on_uvloop_where_there_is_one() -> None:
    async def which() -> int:
        return int(type(asyncio.get_running_loop()).__module__.startswith("uvloop"))

    try:
        import uvloop  # noqa: F401
    except ImportError:
        assert app.run_loop(which()) == 0
    else:
        assert app.run_loop(which()) == 1


def test_the_engine_runs_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def seven() -> int:
        return 7

    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert app.run_loop(seven()) == 7


# --- ready ----------------------------------------------------------------------------------------


def test_ready_is_said_once_to_who_started_it_and_the_line_is_closed() -> None:
    reader, writer = os.pipe()
    app.ready_on(writer)("ready")
    with open(reader, "rb") as said:  # noqa: PTH123 - a file descriptor
        assert said.read() == b"ready\n"  # to its end: nobody holds it open


def test_a_starter_that_has_gone_is_no_reason_to_end() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    app.ready_on(writer)("ready")


@pytest.mark.parametrize(("is_terminal", "said"), [(True, "ready\n"), (False, "")])
def test_without_a_starter_ready_is_said_on_a_terminal_only(
    is_terminal: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = io.StringIO()
    stderr.isatty = lambda: is_terminal  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", stderr)
    app.ready_on(None)("ready")
    assert stderr.getvalue() == said
