"""The daemon from start to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from tunnels import __version__, control_socket, desired_state, open_files, paths
from tunnels.core.status import Json
from tunnels.daemon import logs
from tunnels.daemon.config import Config
from tunnels.daemon.control import ControlServer
from tunnels.daemon.engine import Engine
from tunnels.daemon.handlers import Handlers
from tunnels.daemon.notify import Notifier, status_line
from tunnels.daemon.state import StateKeeper
from tunnels.desired_state import DesiredState
from tunnels.errors import ControlError, ProfileError
from tunnels.tasks import TaskScope

_log = logging.getLogger("tunnels")

#: Seconds between two looks whether the daemon that is in the way of a service has ended.
LOCK_POLL = 1.0


#: Seconds that a starting daemon tries to get the lock, which whoever looks for a daemon has for a moment.
LOCK_PATIENCE = 0.3


def _no_core_files() -> None:
    """Leave nothing behind of our memory if we crash: there are secrets in it."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def _without_io_uring() -> Iterator[None]:
    """Have libuv, which reads this when it makes a loop, tell the kernel by epoll_ctl(2) what to watch.

    Through io_uring, where there is one, it does so for one socket at a time too, and a new client takes 2 % longer.
    """
    name = "UV_USE_IO_URING"
    if name in os.environ:  # somebody knows better
        yield
        return
    os.environ[name] = "0"
    try:
        yield
    finally:
        del os.environ[name]  # no program that we start is concerned


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run the engine, on uvloop where there is one."""
    open_files.ours.raise_limit()
    _no_core_files()
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        factory = None
    else:

        def factory() -> asyncio.AbstractEventLoop:
            with _without_io_uring():
                return uvloop.new_event_loop()

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def run_daemon(config: Path, *, ready: Callable[[str], None]) -> int:
    """Be the daemon. ``ready`` is told ``ready`` or ``busy``, once. Returns the exit code."""
    os.umask(0o077)
    lock = control_socket.Lock(paths.lock_file())
    if not (lock.acquire(patience=LOCK_PATIENCE) or _wait_for(lock)):
        ready("busy")
        raise ControlError("another daemon is running", hint="`tunnels daemon status` shows it")
    control_socket.refuse_if_served(paths.socket_path())  # before anything is written down
    lock.write_down(paths.socket_path())
    handler = logs.to_file(paths.log_file())
    try:
        return run_loop(_daemon(config, ready))
    except BaseException:
        _log.exception("the daemon ended with an error")
        raise
    finally:
        handler.close()  # the lock is the kernel's to release: whoever waits for it waits for the end of this process


def _wait_for(lock: control_socket.Lock) -> bool:
    """Under systemd, wait until another daemon has ended: ending with an error would be a start every second."""
    notifier = Notifier.from_environment(dict(os.environ))  # a copy: it is asked for again when we are ready
    if not notifier.is_heard:
        return False
    notifier.status(f"waits until another daemon has ended, pid {lock.holder or 'unknown'}")
    notifier.close()
    while not lock.acquire():
        time.sleep(LOCK_POLL)
    return True


async def _daemon(config_path: Path, ready: Callable[[str], None]) -> int:
    desired = desired_state.load(paths.state_file())
    config = Config(config_path)
    config.opened = dict(desired.opened)
    running = True
    stop = asyncio.Event()
    engine = Engine(on_desired=lambda _names: keeper.changed(), history=True)
    supervisor = engine.supervisor

    def state() -> DesiredState:
        names = dict.fromkeys((*supervisor.names, *handlers.absent))
        opened = {name: table for name, table in config.opened.items() if name in names}
        return DesiredState(tuple(names), running, str(config.path), opened)

    keeper = StateKeeper(paths.state_file(), state)
    handlers = Handlers(supervisor, config, started_at=time.time(), shutdown=stop.set)
    server = ControlServer(paths.socket_path(), handlers)
    _log.info("daemon %s started, pid %d, with %s", __version__, os.getpid(), config_path)
    if desired.running:
        _log.warning("the last daemon did not end on purpose")
    scope = TaskScope("daemon")
    notifier = Notifier.from_environment()
    on_signals(stop, lambda: scope.spawn(reload_or_say(handlers.reload, notifier), name="reload"))
    try:
        engine.start()
        await handlers.take_up(desired.tunnels)
        keeper.write()
        await server.start()
        gc.freeze()  # what start-up made lives for ever: the collector need not look at it again
        ready("ready")
        notifier.ready(status_line(supervisor.statuses()))
        scope.spawn(
            notifier.follow(supervisor.bus, lambda: status_line(supervisor.statuses())), name="notify"
        )
        scope.spawn(handlers.wait_for_the_file(), name="profile file")
        await stop.wait()
        _log.info("daemon stops")
    finally:
        running = False  # said first: nobody is to bring back what is just ending
        notifier.stopping()
        keeper.write()
        keeper.close()
        await server.aclose()
        await engine.aclose()
        await scope.aclose()
        notifier.close()
    return 0


async def reload_or_say(reload: Callable[[], Awaitable[Json]], notifier: Notifier) -> None:
    """Apply the changed file, as SIGHUP asks for it; a bad one is said in the log, and changes nothing."""
    with notifier.reloading():
        try:
            await reload()
        except ProfileError as error:
            _log.error("not reloaded: %s", error.message)


def on_signals(stop: asyncio.Event, reload: Callable[[], object]) -> None:
    """SIGTERM and SIGINT end it, SIGHUP reloads."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload)


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
