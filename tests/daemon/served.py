"""A daemon without an engine: the real control server and handlers, around a supervisor made of paper."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from tunnels import control_socket, paths
from tunnels.core.client_status import Clients, ClientStatus
from tunnels.core.profile import Profile
from tunnels.core.question import Answer, Dialogue
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import ForwardStatus, TunnelStatus
from tunnels.daemon.config import Config
from tunnels.daemon.control import ControlServer
from tunnels.daemon.handlers import Handlers
from tunnels.supervisor.bus import Bus
from tunnels.supervisor.connector import Connection, OnFound, OnLost
from tunnels.supervisor.supervisor import ReloadPlan, Supervisor, Upped, plan_reload

T = TypeVar("T")

NOW = 1_800_000_000.0
"""The time of everything made here, in seconds since the epoch."""

FILE = """\
[profiles.work-db]
host = "bastion"
tags = ["work"]
local = ["5432:db.internal:5432"]

[profiles.work-web]
host = "bastion"
tags = ["work", "web"]
local = ["8080:web.internal:80"]

[profiles.home]
host = "me@vps.example.com"
remote = ["2222:localhost:22"]
"""
"""A profile file with two profiles that share a tag, and one without tags."""

REMOTE = """\
[profiles.work-db]
host = "bastion"
remote = ["5432:localhost:5432"]

[profiles.home]
host = "me@vps.example.com"
remote = ["2222:localhost:22"]
"""
"""Remote forwards only: nothing listens on this machine."""


async def connect_for_ever(
    profile: Profile, on_lost: OnLost, on_found: OnFound, dialogue: Dialogue, **_: object
) -> Connection:
    """Stand in for a server that never answers."""
    await asyncio.Event().wait()
    raise AssertionError


def forward(
    listen: str = "localhost:5432", connect: str | None = "db.internal:5432", **rest: Any
) -> ForwardStatus:
    """Make the status of a forward; a local one that listens, unless it is said otherwise."""
    return ForwardStatus(
        **{
            "name": None,
            "kind": "local",
            "state": ForwardState.LISTENING,
            **rest,
            "listen": listen,
            "connect": connect,
        }
    )


def tunnel(name: str = "work-db", state: TunnelState = TunnelState.UP, **rest: Any) -> TunnelStatus:
    """Make the status of a tunnel with one forward."""
    return TunnelStatus(
        **{"host": "bastion", "since": NOW, "forwards": (forward(),), **rest, "name": name, "state": state}
    )


class PaperSupervisor(Supervisor):
    """Does at once what the real one takes its time for, and writes down what it was asked."""

    def __init__(self, *tunnels: TunnelStatus) -> None:
        self.bus = Bus()
        self.paper = {tunnel.name: tunnel for tunnel in tunnels}
        self.profiles: dict[str, Profile] = {}
        self.calls: list[tuple[str, object]] = []

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.paper)

    def statuses(self) -> tuple[TunnelStatus, ...]:
        return tuple(self.paper.values())

    def show(self, *tunnels: TunnelStatus) -> None:
        """Be in another state from now on, and tell the watchers."""
        self.paper |= {tunnel.name: tunnel for tunnel in tunnels}
        self.bus.changed()

    async def up(self, profile: Profile) -> Upped:
        self.calls.append(("up", profile.name))
        self.profiles[profile.name] = profile
        if profile.name in self.paper:
            return Upped.ALREADY
        self.show(tunnel(profile.name, host=profile.host))
        return Upped.STARTED

    async def down(self, names: Iterable[str]) -> tuple[str, ...]:
        names = list(names)
        self.calls.append(("down", names))
        stopped = tuple(name for name in names if self.paper.pop(name, None) is not None)
        self.bus.changed()
        return stopped

    async def restart(self, profiles: Iterable[Profile]) -> None:
        profiles = list(profiles)
        self.calls.append(("restart", [profile.name for profile in profiles]))
        for profile in profiles:
            self.profiles[profile.name] = profile
            self.show(tunnel(profile.name, host=profile.host))

    async def reload(self, wanted: Mapping[str, Profile]) -> ReloadPlan:
        self.calls.append(("reload", sorted(wanted)))
        return plan_reload(self.profiles.values(), wanted)

    def clients(self, names: Iterable[str]) -> Clients:
        self.calls.append(("clients", list(names)))
        return Clients((ClientStatus("work-db", 0, "local", ("127.0.0.1", 5), "db:1", 1.0),), 2)

    def answer(self, name: str, question_id: str, answer: Answer) -> None:
        self.calls.append(("answer", (name, question_id, answer.text)))

    async def aclose(self) -> None:
        self.calls.append(("aclose", None))


class PaperDaemon:
    """What a test has of the daemon that it started."""

    def __init__(self, supervisor: PaperSupervisor, config: Path) -> None:
        self.supervisor = supervisor
        self.stopping = asyncio.Event()  # set by the shutdown command
        self.handlers = Handlers(supervisor, Config(config), started_at=NOW, shutdown=self.stopping.set)
        self.server = ControlServer(paths.socket_path(), self.handlers)
        self.loop = asyncio.get_running_loop()

    @property
    def tasks(self) -> int:
        """How many tasks serve somebody: one for each that is connected, and one for each watch."""
        return len(self.server._scope) + len(self.server._watches)

    async def until_tasks(self, count: int) -> None:
        """Wait until so many tasks are left; the time limit of the test bounds it."""
        while self.tasks != count:
            await asyncio.sleep(0)

    def do(self, function: Callable[[], T]) -> T:
        """Call something in the thread of the daemon."""

        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)


def profile_file(text: str = FILE) -> Path:
    """Write the profile file of this test."""
    path = paths.config_file()
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


@contextlib.asynccontextmanager
async def serving(*tunnels: TunnelStatus) -> AsyncIterator[PaperDaemon]:
    """Serve the control socket in the loop of the test. It closes as the daemon does."""
    daemon = PaperDaemon(PaperSupervisor(*tunnels), paths.config_file())
    await daemon.server.start()
    try:
        yield daemon
    finally:
        await daemon.server.aclose()


@contextlib.contextmanager
def daemon_thread(*tunnels: TunnelStatus) -> Iterator[PaperDaemon]:
    """Serve the control socket in a thread, for a test that blocks as the command line does.

    As with the real one, its lock is held until it has ended: by a shutdown, or with the test.
    """
    ready: Future[PaperDaemon] = Future()

    async def serve() -> None:
        async with serving(*tunnels) as daemon:
            ready.set_result(daemon)
            await daemon.stopping.wait()

    def run() -> None:
        lock = control_socket.Lock(paths.lock_file())
        assert lock.acquire(patience=1)
        lock.write_down(paths.socket_path())
        try:
            asyncio.run(serve())
        except BaseException as exc:
            if ready.done():
                raise  # pytest makes a failure of it
            ready.set_exception(exc)
        finally:
            lock.release()

    thread = threading.Thread(target=run, name="daemon")
    thread.start()
    try:
        yield (daemon := ready.result(10))
    finally:
        if ready.done() and ready.exception() is None and thread.is_alive():
            with contextlib.suppress(RuntimeError):  # its loop may close at this moment
                daemon.loop.call_soon_threadsafe(daemon.stopping.set)
        thread.join(10)
        assert not thread.is_alive(), "the daemon did not end"
