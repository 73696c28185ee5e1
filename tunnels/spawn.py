"""Starts the daemon, detached from the terminal, and waits until it says that it listens."""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

from tunnels import __version__, desired_state, ending, paths
from tunnels.client import Client
from tunnels.errors import DaemonNotRunning, DaemonStartFailed, TunnelsError, VersionMismatch

#: Seconds for a daemon to say that it listens: importing asyncssh takes 0.2 s, on a small board 3 s.
START_TIMEOUT = 20.0

#: Seconds between two looks while *another* command starts the daemon; only the loser of that race looks.
_POLL = 0.05


def ensure_daemon(config: Path) -> Client:
    """A connection to the daemon, which is started if there is none. Raises DaemonStartFailed."""
    try:
        return _of_our_version()
    except DaemonNotRunning:
        return start_daemon(config)


def find_daemon() -> Client:
    """A connection to the daemon that is running, or that was killed: then it is started again.

    Raises DaemonNotRunning where there is none and should be none.
    """
    try:
        return _of_our_version()
    except DaemonNotRunning:
        desired = desired_state.load(paths.state_file())
        if not desired.crashed:
            raise
        return start_daemon(paths.config_file(desired.config))


def _of_our_version() -> Client:
    """A connection to the daemon. One of an older version than ours is replaced first, and its tunnels come back."""
    try:
        client = Client.connect()
        version = client.hello.version
    except VersionMismatch as error:
        if error.version is None or not older(error.version):
            raise
        version = error.version
    else:
        if not older(version):
            return client
        client.close()
    config = paths.config_file(desired_state.load(paths.state_file()).config)
    ending.end_daemon()
    print(f"the daemon was of version {version}; it is replaced by {__version__}", file=sys.stderr)  # noqa: T201 - who waits must know for what
    return start_daemon(config)


def older(version: str) -> bool:
    """Whether a version is older than ours, going by its numbers."""
    return _numbers(version) < _numbers(__version__)


def _numbers(version: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", version)[:3]]


def start_daemon(config: Path) -> Client:
    """Start the daemon and connect to it. Two commands that do this at once end up with one daemon.

    Where it is installed as a service, that starts it, so that it has one owner.
    """
    if paths.service_file().exists() and (client := _through_the_service()) is not None:
        return client
    return start_detached(config)


def _through_the_service() -> Client | None:
    """Have systemd or launchd start the daemon; None where that is not the one we need, or does not work."""
    from tunnels.service import here  # noqa: PLC0415 - only where one is installed

    try:
        service = here.installed(os.environ)
        if service is None:
            return None
        service.start()
        return _wait_for_other(time.monotonic() + START_TIMEOUT)
    except TunnelsError as error:
        print(  # noqa: T201 - worth knowing, and the command goes on
            f"note: the service does not start ({error.message}); the daemon is started without it",
            file=sys.stderr,
        )
        return None


def start_detached(config: Path) -> Client:
    """Start the daemon as a process of nobody, and connect to it. Raises DaemonStartFailed."""
    deadline = time.monotonic() + START_TIMEOUT
    log = paths.startup_log()
    paths.make_private(log.parent)
    reader, writer = os.pipe()
    try:
        try:
            log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            os.close(writer)
            raise DaemonStartFailed(
                f"{log} cannot be written: {exc.strerror or exc}",
                hint="the daemon needs a folder for its state; TUNNELS_STATE_DIR names another one",
            ) from exc
        try:
            child = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tunnels",
                    "--config",
                    str(config),
                    "daemon",
                    "run",
                    "--ready-fd",
                    str(writer),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                pass_fds=(writer,),
            )
        except OSError as exc:
            raise DaemonStartFailed(f"{sys.executable} cannot be run: {exc.strerror or exc}") from exc
        finally:
            os.close(log_fd)
            os.close(writer)
        said = _read_line(reader, deadline)
    finally:
        os.close(reader)
    if said == "ready":
        return Client.connect()
    if said == "busy":
        # It ends now. Whoever comes back from `up` shall find one daemon, and not two for a moment.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, deadline - time.monotonic()))
    del child  # whether it lives is no longer our business
    if said == "busy":
        return _wait_for_other(deadline)
    raise DaemonStartFailed("the daemon did not start", hint=_last_words(log))


def _environment() -> dict[str, str]:
    """Our own, with folders that mean the same where the daemon runs, which is not here."""
    environment = dict(os.environ)
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):  # of the service that runs this command
        environment.pop(name, None)
    for name in ("TUNNELS_RUNTIME_DIR", "TUNNELS_STATE_DIR"):
        if environment.get(name):
            environment[name] = str(Path(environment[name]).absolute())
    return environment


def _read_line(fd: int, deadline: float) -> str:
    """What the daemon said; empty if it died or took too long."""
    data = b""
    while not data.endswith(b"\n"):
        readable, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(fd, 64) if readable else b""
        if not chunk:
            break
        data += chunk
    return data.decode("ascii", "replace").strip()


def _wait_for_other(deadline: float) -> Client:
    """Another command is starting the daemon at this moment."""
    while True:
        try:
            return Client.connect()
        except DaemonNotRunning:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL)


def _last_words(log: Path) -> str:
    try:
        lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return f"its last words: {lines[-1]}" if lines else f"see {log}"
