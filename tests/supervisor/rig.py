"""One tunnel with everything around it in the hands of the test: attempts, connections, time, chance."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from tests.fakes import LIMIT, Clock, FakeConnection, FakeConnector, FakeRoutes, Signal
from tunnels.core.forward import Forward
from tunnels.core.profile import Profile
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import ForwardStatus
from tunnels.core.transition import Transition
from tunnels.errors import HostUnreachable, TunnelsError
from tunnels.supervisor.portal_probe import PortalProbe
from tunnels.supervisor.tunnel import Tunnel
from tunnels.tasks import TaskScope

NINE = 1_795_165_200.0
"""2026-11-20T09:00:00Z: when every test begins."""

UNREACHABLE = HostUnreachable("bastion refused the connection")

WORK_DB = Profile("work-db", "bastion")


def work_db(*forwards: Forward) -> Profile:
    return replace(WORK_DB, forwards=forwards)


class Rig:
    """A tunnel, what it calls, and shortcuts to where a test begins."""

    def __init__(
        self, profile: Profile, connector: FakeConnector, part: float, portals: PortalProbe | None
    ) -> None:
        self.clock = Clock()
        self.connector = connector
        self.changes = Signal()
        self.transitions: list[Transition] = []
        self.routes = FakeRoutes()
        self.scope = TaskScope("test")
        began = self.clock.time()
        self.tunnel = Tunnel(
            profile,
            connector,
            random=lambda: part,
            wall_clock=lambda: NINE + self.clock.time() - began,
            on_change=self.changes,
            observer=lambda _profile, transition: self.transitions.append(transition),
            routes=self.routes,
            portals=portals,
            loop=self.clock,  # type: ignore[arg-type]  # as much of it as a tunnel looks at
        )

    def state(self) -> TunnelState:
        """Where the tunnel stands now; a method, because it changes while a test looks at it."""
        return self.tunnel.state

    @property
    def forward(self) -> ForwardStatus:
        """The first forward as it stands now."""
        return self.tunnel.status().forwards[0]

    async def reach(self, state: TunnelState) -> None:
        await self.changes.until(lambda: self.tunnel.state is state)

    async def up(self) -> FakeConnection:
        """Start it, and let the first attempt succeed."""
        self.tunnel.start()
        return await self.connected()

    async def connected(self) -> FakeConnection:
        """Let the attempt that is under way succeed, and everything listen."""
        connection = (await self.connector.next_attempt()).succeed()
        await self.reach(TunnelState.UP)
        return connection

    async def listens(self) -> None:
        """Wait until the first forward listens."""
        await self.changes.until(lambda: self.forward.state is ForwardState.LISTENING)

    async def back_off(self) -> None:
        """Start it, and let the first attempt fail. Its local forwards listen then."""
        self.tunnel.start()
        await self.fail(UNREACHABLE)
        await self.reach(TunnelState.BACKOFF)
        await self.changes.until(
            lambda: all(f.state is ForwardState.LISTENING for f in self.tunnel._forwards.listening)
        )

    async def fail(self, error: TunnelsError) -> None:
        """Let the attempt that is under way fail."""
        (await self.connector.next_attempt()).fail(error)

    def retry_now(self) -> None:
        """Let the time of the next attempt come."""
        assert self.tunnel.state is TunnelState.BACKOFF
        self.clock.advance(max(self.clock.alarms))

    def stopping(self) -> asyncio.Task[None]:
        """Begin to take it down."""
        return self.scope.spawn(self.tunnel.stop(), name="stop")

    async def stop(self) -> None:
        async with asyncio.timeout(LIMIT):
            await self.tunnel.stop()


@contextlib.asynccontextmanager
async def rigged(
    profile: Profile = WORK_DB,
    *,
    connector: FakeConnector | None = None,
    part: float = 0.5,
    portals: PortalProbe | None = None,
) -> AsyncIterator[Rig]:
    """A tunnel that has not been started; it is down when the block ends."""
    rig = Rig(profile, connector or FakeConnector(), part, portals)
    try:
        yield rig
    finally:
        await rig.stop()
        await rig.scope.aclose()
