"""Ending the daemon from outside. The command that does it is tested in tests/cli/test_daemon.py."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from tests.daemon.served import daemon_thread, tunnel
from tunnels import control_socket, ending, paths
from tunnels.errors import ControlError, DaemonNotRunning


def test_when_it_returns_the_daemon_has_ended() -> None:
    with daemon_thread(tunnel("work-db"), tunnel("home")):
        assert ending.end_daemon() == ["work-db", "home"]
        lock = control_socket.Lock(paths.lock_file())
        assert lock.acquire(), "it is still there"
        lock.release()


def test_without_a_daemon_there_is_nothing_to_end() -> None:
    with pytest.raises(DaemonNotRunning):
        ending.end_daemon()


def test_a_daemon_that_does_not_end_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 5))
    slept: list[float] = []
    with daemon_thread():
        monkeypatch.setattr(
            ending, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=slept.append)
        )
        monkeypatch.setattr(ending, "_ask_to_end", lambda: ([], os.getpid()))
        with pytest.raises(ControlError, match="did not end within 25 s") as caught:
            ending.end_daemon()
    assert caught.value.hint is not None
    assert "tunnels logs" in caught.value.hint
    assert f"kill -9 {os.getpid()}" in caught.value.hint
    assert 0 < len(slept) < 10


def test_where_another_command_has_started_the_next_one_already_the_wait_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two commands of a newer version at once: both end the old daemon, and one is quicker to start the new one."""
    with daemon_thread():
        monkeypatch.setattr(ending, "_ask_to_end", lambda: (["work-db"], os.getpid() + 1))
        monkeypatch.setattr(ending, "STOP_TIMEOUT", 0.0)
        assert ending.end_daemon() == ["work-db"]
