"""The daemon from start to end, and the same engine in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from tunnels import __version__, control_socket, desired_state, paths
from tunnels.core.profile import Profile
from tunnels.core.status import Json
from tunnels.daemon import logs
from tunnels.daemon.config import Config
from tunnels.daemon.control import ControlServer
from tunnels.daemon.handlers import Handlers
from tunnels.desired_state import DesiredState
from tunnels.errors import ControlError, ProfileError, TunnelsError
from tunnels.ssh.connection import connect
from tunnels.supervisor.network import NetworkMonitor, system_events, system_routes
from tunnels.supervisor.supervisor import Supervisor
from tunnels.tasks import TaskScope

_log = logging.getLogger("tunnels")

#: Open files that the engine asks for; systemd's own default for services is half a million (524,288).
MAX_FILES = 65_536


def _raise_file_limit() -> None:
    """Allow as many files as the system lets us: each client is one, and 1,024 are soon used up."""
    with contextlib.suppress(ValueError, OSError):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run the engine, on uvloop where there is one."""
    _raise_file_limit()
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        factory = None
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def run_daemon(config: Path, *, ready: Callable[[str], None]) -> int:
    """Be the daemon. ``ready`` is told ``ready`` or ``busy``, once. Returns the exit code."""
    os.umask(0o077)
    lock = control_socket.Lock(paths.lock_file())
    if not lock.acquire():
        ready("busy")
        raise ControlError("another daemon is running", hint="`tunnels daemon status` shows it")
    handler = logs.to_file(paths.log_file())
    try:
        return run_loop(_daemon(config, ready))
    except BaseException:
        _log.exception("the daemon ended with an error")
        raise
    finally:
        handler.close()
        lock.release()


async def _daemon(config_path: Path, ready: Callable[[str], None]) -> int:
    desired = desired_state.load(paths.state_file())
    config = Config(config_path)
    names = desired.tunnels
    running = True

    def save(tunnels: tuple[str, ...]) -> None:
        nonlocal names
        names = tuple(dict.fromkeys((*tunnels, *handlers.absent)))
        try:
            desired_state.save(paths.state_file(), DesiredState(names, running, str(config.path)))
        except (OSError, TunnelsError) as exc:
            _log.error("what should be up could not be written down: %s", exc)

    stop = asyncio.Event()
    routes = system_routes()
    supervisor = Supervisor(
        connect, random=random.random, wall_clock=time.time, on_desired=save, routes=routes
    )
    network = NetworkMonitor(supervisor.network_changed, events=system_events(), routes=routes)
    handlers = Handlers(supervisor, config, started_at=time.time(), shutdown=stop.set)
    server = ControlServer(control_socket.listen(paths.socket_path()), handlers)
    _log.info("daemon %s started, pid %d, with %s", __version__, os.getpid(), config_path)
    if desired.running:
        _log.warning("the last daemon did not end on purpose")
    scope = TaskScope("daemon")
    _on_signals(stop, lambda: scope.spawn(_reload(handlers.reload), name="reload"))
    try:
        network.start()
        await handlers.take_up(names)
        save(supervisor.names)
        await server.start()
        gc.freeze()  # what start-up made lives for ever: the collector need not look at it again
        ready("ready")
        await stop.wait()
        _log.info("daemon stops")
    finally:
        running = False  # said first: nobody is to bring back what is just ending
        save(supervisor.names)
        network.close()
        await server.aclose()
        await supervisor_close(supervisor)
        await scope.aclose()
        paths.socket_path().unlink(missing_ok=True)
    return 0


async def supervisor_close(supervisor: Supervisor) -> None:
    """Take the tunnels down, bounded in time."""
    try:
        async with asyncio.timeout(10.0):
            await supervisor.aclose()
    except TimeoutError:
        _log.error("some tunnels did not stop in time")


async def _reload(reload: Callable[[], Awaitable[Json]]) -> None:
    try:
        await reload()
    except ProfileError as error:
        _log.error("not reloaded: %s", error.message)


def _on_signals(stop: asyncio.Event, reload: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload)


def run_foreground(config: Path, profiles: list[Profile]) -> int:
    """``tunnels up -f``: keep these tunnels up until a signal, without a daemon. Returns the exit code."""
    handler = logs.to_stderr()
    try:
        return run_loop(_foreground(config, profiles))
    finally:
        handler.close()


async def _foreground(config_path: Path, profiles: list[Profile]) -> int:
    stop = asyncio.Event()
    names = {profile.name for profile in profiles}
    routes = system_routes()
    supervisor = Supervisor(
        connect, random=random.random, wall_clock=time.time, on_desired=lambda _: None, routes=routes
    )
    network = NetworkMonitor(supervisor.network_changed, events=system_events(), routes=routes)
    config = Config(config_path)

    async def reload() -> Json:
        file = config.load()
        await supervisor.reload({name: file.profiles[name] for name in names if name in file.profiles})
        return {}

    scope = TaskScope("foreground")
    try:
        _on_signals(stop, lambda: scope.spawn(_reload(reload), name="reload"))
        network.start()
        await asyncio.gather(*(supervisor.up(profile) for profile in profiles))
        await stop.wait()
    finally:
        network.close()
        await supervisor_close(supervisor)
        await scope.aclose()
    return 0


def ready_on(fd: int | None) -> Callable[[str], None]:
    """Say ``ready`` or ``busy`` on a file descriptor that the starting command reads from."""

    def say(word: str) -> None:
        if fd is not None:
            with contextlib.suppress(OSError):  # whoever started us is gone; that is no reason to end
                os.write(fd, f"{word}\n".encode("ascii"))
                os.close(fd)
        elif word == "ready" and sys.stderr.isatty():
            print("ready", file=sys.stderr)  # noqa: T201

    return say
