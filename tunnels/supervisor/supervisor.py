"""Owns all tunnels: up, down, restart, and what a changed profile file means for those that run."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tunnels.core.backoff import Random
from tunnels.core.client_status import Clients
from tunnels.core.path import NetworkChange
from tunnels.core.profile import Profile
from tunnels.core.question import Answer
from tunnels.core.state import WORKING, TunnelState
from tunnels.core.status import TunnelStatus
from tunnels.errors import DaemonNotRunning
from tunnels.supervisor.bus import Bus
from tunnels.supervisor.connector import Connector
from tunnels.supervisor.portal_probe import PortalProbe
from tunnels.supervisor.routes import ALWAYS_ONLINE, Routes
from tunnels.supervisor.tunnel import Observer, Tunnel

_log = logging.getLogger("tunnels")

#: A tunnel in one of these works, or is about to; it is not replaced behind its clients' backs.
_AT_WORK = WORKING | {TunnelState.CONNECTING}

#: Clients that are told of at once: more than anybody reads.
_MAX_CLIENTS = 500


class Upped(enum.Enum):
    """What `Supervisor.up` found."""

    STARTED = "started"
    ALREADY = "already"
    CHANGED = "changed"  #: already at work, but with an older version of its profile


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """What a changed profile file means for the tunnels that run. Names."""

    restart: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()


def plan_reload(running: Iterable[Profile], wanted: Mapping[str, Profile]) -> ReloadPlan:
    """Decide what has to be touched: only what would behave differently."""
    restart, stop, keep = [], [], []
    for profile in running:
        new = wanted.get(profile.name)
        if new is None:
            stop.append(profile.name)
        elif not profile.same_tunnel(new):
            restart.append(profile.name)
        else:
            keep.append(profile.name)
    return ReloadPlan(tuple(restart), tuple(stop), tuple(keep))


class Supervisor:
    """The tunnels of one daemon, by name. One at a time may change what is true for a name."""

    def __init__(
        self,
        connector: Connector,
        *,
        random: Random,
        wall_clock: Callable[[], float],
        on_desired: Callable[[tuple[str, ...]], None],
        observer: Observer = lambda _profile, _transition: None,
        routes: Routes = ALWAYS_ONLINE,
        portals: PortalProbe | None = None,
    ) -> None:
        self.bus = Bus()
        self._connector = connector
        self._random = random
        self._wall_clock = wall_clock
        self._on_desired = on_desired
        self._observer = observer
        self._routes = routes
        self._portals = portals
        self._tunnels: dict[str, Tunnel] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def __repr__(self) -> str:
        return f"<Supervisor: {len(self._tunnels)} tunnels>"

    @property
    def names(self) -> tuple[str, ...]:
        """The tunnels that should be up, whether they are or not."""
        return tuple(self._tunnels)

    def statuses(self) -> tuple[TunnelStatus, ...]:
        """Every tunnel as it stands now, in the order in which they were started."""
        return tuple(tunnel.status() for tunnel in self._tunnels.values())

    def clients(self, names: Iterable[str]) -> Clients:
        """Who uses the forwards of these tunnels now; without names, of all. Of a crowd, the first."""
        wanted = list(dict.fromkeys(names)) or list(self._tunnels)
        of_each = (self._tunnels[name].each_client(name) for name in wanted if name in self._tunnels)
        found = itertools.chain.from_iterable(of_each)
        shown = tuple(itertools.islice(found, _MAX_CLIENTS))
        return Clients(shown, sum(1 for _ in found))

    async def up(self, profile: Profile) -> Upped:
        """Start a tunnel, without waiting until it is up."""
        async with self._locks[profile.name]:
            tunnel = self._tunnels.get(profile.name)
            if tunnel is not None and tunnel.profile != profile:
                if tunnel.state in _AT_WORK and not tunnel.profile.same_tunnel(profile):
                    return Upped.CHANGED
                if not tunnel.profile.same_tunnel(profile):
                    await self._remove(profile.name)
                    tunnel = None
            if tunnel is not None:
                tunnel.profile = profile  # its hooks, and what else makes no difference to what runs
                already = tunnel.state in WORKING
                question = tunnel.question
                tunnel.start()
                if question is not None and question.stale:
                    self._ask_again(question.id)
                return Upped.ALREADY if already else Upped.STARTED
            self._add(profile)
        self._desired_changed()
        return Upped.STARTED

    def _add(self, profile: Profile) -> None:
        tunnel = Tunnel(
            profile,
            self._connector,
            random=self._random,
            wall_clock=self._wall_clock,
            on_change=self.bus.changed,
            observer=self._observer,
            routes=self._routes,
            portals=self._portals,
            on_proved=self._proved,
        )
        self._tunnels[profile.name] = tunnel
        tunnel.start()

    async def _remove(self, name: str) -> None:
        tunnel = self._tunnels[name]
        try:
            await tunnel.stop()
        finally:  # also if whoever wanted it has gone: the tunnel goes on ending by itself
            del self._tunnels[name]
            self.bus.changed()

    async def down(self, names: Iterable[str]) -> tuple[str, ...]:
        """Take tunnels down; their ports are free when this returns. Returns those that were there."""
        stopped = await asyncio.gather(*(self._down(name) for name in dict.fromkeys(names)))
        self._desired_changed()
        return tuple(name for name in stopped if name is not None)

    async def _down(self, name: str) -> str | None:
        async with self._locks[name]:
            if name not in self._tunnels:
                return None
            await self._remove(name)
            return name

    async def restart(self, profiles: Iterable[Profile]) -> None:
        """Take tunnels down and bring them up again, with these profiles."""
        await self._replace({profile.name: profile for profile in profiles}, start=True)
        self._desired_changed()

    async def reload(self, wanted: Mapping[str, Profile]) -> ReloadPlan:
        """Apply a changed profile file to the tunnels that run; says what was touched."""
        plan = plan_reload([tunnel.profile for tunnel in self._tunnels.values()], wanted)
        for name in plan.keep:
            self._tunnels[name].profile = wanted[name]  # its hooks are in force from now on
        await self._replace({name: wanted[name] for name in plan.restart}, stop=plan.stop)
        for tunnel in self._tunnels.values():
            if tunnel.state is TunnelState.NEEDS_INPUT:  # what was missing may be there now
                tunnel.start()
        self._desired_changed()
        return plan

    async def _replace(
        self, wanted: Mapping[str, Profile], *, stop: tuple[str, ...] = (), start: bool = False
    ) -> None:
        """All go down before one comes up: a port may have moved from one of them to another.

        Until then they keep their places and their locks, so that a `down` in the meantime is the last word.
        With ``start``, those of ``wanted`` that are not there come up too.
        """
        async with contextlib.AsyncExitStack() as stack:
            for name in sorted({*wanted, *stop}):  # in one order, or two of these would wait for each other
                await stack.enter_async_context(self._locks[name])
            there = [name for name in (*stop, *wanted) if name in self._tunnels]
            await asyncio.gather(*(self._tunnels[name].stop() for name in there))
            for name in stop:
                self._tunnels.pop(name, None)
            for name, profile in wanted.items():
                if start or name in there:
                    self._add(profile)
            self.bus.changed()

    def network_changed(self, change: NetworkChange) -> None:
        """The network of this machine is not what it was: let every tunnel look what that means for it."""
        for tunnel in list(self._tunnels.values()):
            tunnel.network_changed(change)

    def answer(self, name: str, question_id: str, answer: Answer) -> None:
        """Pass on a person's answer. Raises DaemonNotRunning where no such tunnel runs."""
        tunnel = self._tunnels.get(name)
        if tunnel is None:
            raise DaemonNotRunning(f"{name} is not running", hint=f"tunnels up {name}")
        question = tunnel.question
        tunnel.answer(question_id, answer)
        if question is not None and question.kind == "host-key":
            if question.subject:
                self._look_again(question.subject)
        else:
            for other in self._asked(question_id):
                if other.question is not None and not other.question.stale:
                    other.answer(question_id, answer)

    def _asked(self, question_id: str) -> list[Tunnel]:
        """Who waits with this very question: those who share the attempt to reach a jump host."""
        return [
            tunnel
            for tunnel in self._tunnels.values()
            if tunnel.question is not None and tunnel.question.id == question_id
        ]

    def _ask_again(self, question_id: str) -> None:
        """Have all of them wait for the new question, as they did for the old one."""
        for tunnel in self._asked(question_id):
            tunnel.start()

    def _look_again(self, subject: str) -> None:
        """Whoever else waits because of the same host key need not be asked."""
        for tunnel in self._tunnels.values():
            if tunnel.question is not None and tunnel.question.subject == subject:
                tunnel.start()

    def _proved(self, subject: str, secret: str) -> None:
        """Nor who waits for a secret that is known now. Not before: five wrong logins are worse than one."""
        for tunnel in self._tunnels.values():
            tunnel.tell(subject, secret)

    async def aclose(self) -> None:
        """Take everything down, without forgetting what should be up."""
        names = list(self._tunnels)
        results = await asyncio.gather(*(self._down(name) for name in names), return_exceptions=True)
        for name, result in zip(names, results, strict=True):
            if isinstance(result, BaseException):
                _log.error("%s did not stop cleanly", name, exc_info=result)

    def _desired_changed(self) -> None:
        self._on_desired(tuple(self._tunnels))
