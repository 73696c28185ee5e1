"""Ends the daemon, and waits until it has ended. Its tunnels come back with the next one."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from tunnels import control_socket, desired_state, paths
from tunnels.client import Client
from tunnels.errors import ControlError, DaemonNotRunning, VersionMismatch

#: Seconds for a daemon to end; it allows its tunnels 10 and their last hooks 8.
STOP_TIMEOUT = 25.0

_POLL = 0.02


def end_daemon() -> list[str]:
    """End it; returns the tunnels that come back with the next one. Raises DaemonNotRunning, ControlError."""
    names, pid = _ask_to_end()
    _wait_until_gone(pid)
    return names


def _ask_to_end() -> tuple[list[str], int]:
    """Ask over the control socket; a daemon that does not understand or answer is sent a SIGTERM, which says the same.

    Returns the tunnels that come back, as far as they are known, and the daemon's pid.
    """
    try:
        with Client.connect() as client:
            return client.shutdown(), client.hello.pid
    except DaemonNotRunning:
        raise
    except ControlError as error:
        pid = error.pid if isinstance(error, VersionMismatch) else _holder_of_the_lock()
        if pid is None:
            raise ControlError(
                error.message, hint="end its process by hand; its tunnels come back"
            ) from error
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    return list(desired_state.load(paths.state_file()).tunnels), pid


def _holder_of_the_lock() -> int | None:
    """The pid of the daemon, from the lock that it holds; None if nobody does."""
    lock = control_socket.Lock(paths.lock_file())
    try:
        return None if lock.acquire() else lock.holder
    finally:
        lock.release()


def _wait_until_gone(pid: int) -> None:
    """Its lock is free when it has ended, and not before; or another command has started the next one already."""
    deadline = time.monotonic() + STOP_TIMEOUT
    while True:
        lock = control_socket.Lock(paths.lock_file())
        try:
            if lock.acquire() or lock.holder not in (pid, None):
                return
        finally:
            lock.release()
        if time.monotonic() > deadline:
            raise ControlError(
                f"the daemon did not end within {STOP_TIMEOUT:g} s",
                hint=f"`tunnels logs` may say why; `kill -9 {pid}` ends it, and its tunnels come back",
            )
        time.sleep(_POLL)
