"""Destinations are asked while the connection is up, and never where a client has just shown that they answer."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator

from tests.fakes import LOOPBACK, FakeConnection, dynamic, local, pass_time, remote, turns
from tunnels.core.address import Address
from tunnels.core.forward import Forward
from tunnels.errors import DialError, DialReason
from tunnels.forwarding.channel import ChannelEnd, Origin, Outcome
from tunnels.forwarding.forwarder import Forwarder
from tunnels.supervisor.destination_probes import DestinationProbes
from tunnels.tasks import TaskScope

REFUSED = DialError("refused", reason=DialReason.REFUSED)


class Link(FakeConnection):
    """Counts who asks for a channel."""

    def __init__(self) -> None:
        super().__init__(lambda _: None)
        self.opened = 0

    def open_channel(self, end: ChannelEnd, connect: Address, origin: Origin, then: Outcome, /) -> None:
        self.opened += 1
        super().open_channel(end, connect, origin, then)


class Rig:
    """Probes of some forwards, and what comes of them."""

    def __init__(self, *forwards: Forward) -> None:
        self.scope = TaskScope("work")
        self.link = Link()
        self.forwarders = [Forwarder(each, on_change=lambda: None) for each in forwards]
        self.said: list[DialError | None] = []
        self.probes = DestinationProbes(
            self.forwarders, self.scope, lambda _forward, error: self.said.append(error)
        )

    async def pass_time(self, seconds: float) -> int:
        """How often the destinations are asked meanwhile. A probe is due every second."""
        before = self.link.opened
        pass_time(seconds)
        await turns(30)
        return self.link.opened - before


@contextlib.asynccontextmanager
async def probing(*forwards: Forward) -> AsyncIterator[Rig]:
    rig = Rig(*(dataclasses.replace(each, probe=1.0) for each in forwards))
    rig.probes.start(rig.link)
    await turns(30)
    try:
        yield rig
    finally:
        rig.probes.stop()
        await rig.scope.aclose()


async def test_a_destination_is_asked_at_once_and_then_every_period() -> None:
    async with probing(local(5432)) as rig:
        assert rig.link.opened == 1
        assert rig.link.channels[0].aborted  # at once, and without a byte
        assert await rig.pass_time(0.9) == 0
        assert await rig.pass_time(0.2) == 1


async def test_a_client_that_was_served_does_for_a_probe() -> None:
    async with probing(local(5432)) as rig:
        await rig.pass_time(0.6)
        rig.forwarders[0].health.answered()
        assert await rig.pass_time(0.6) == 0
        assert await rig.pass_time(0.5) == 1


async def test_a_destination_that_stays_away_is_counted_each_time_and_said_once() -> None:
    async with probing(local(5432)) as rig:
        rig.link.dial_error = REFUSED
        for _ in range(3):
            await rig.pass_time(1.1)
        status = rig.forwarders[0].health.status()
        assert status is not None
        assert status.failures == 3
        assert rig.said == [REFUSED]
        rig.link.dial_error = None
        await rig.pass_time(1.1)
        assert rig.said == [REFUSED, None]
        assert not rig.forwarders[0].health.failures


async def test_probes_are_no_clients() -> None:
    async with probing(local(5432)) as rig:
        await rig.pass_time(1.1)
        [forwarder] = rig.forwarders
        assert forwarder.counters.clients == forwarder.counters.clients_total == 0
        assert forwarder.last_client_at == 0


async def test_without_a_connection_nobody_is_asked() -> None:
    async with probing(local(5432)) as rig:
        rig.probes.stop()
        assert await rig.pass_time(1.1) == 0
        rig.probes.start(rig.link)
        await turns(30)
        assert rig.link.opened == 2


async def test_a_connection_that_is_lost_says_nothing_about_a_destination() -> None:
    async with probing(local(5432)) as rig:
        rig.link.lose()
        assert await rig.pass_time(1.1) == 1
        assert not rig.forwarders[0].health.failures
        assert await rig.pass_time(1.1) == 0


async def test_a_remote_forward_leads_to_this_machine_and_is_asked_here() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        async with probing(remote(2222, connect_port=server.getsockname()[1])) as rig:
            accepted, _ = await asyncio.to_thread(server.accept)
            accepted.close()
            await turns(30)
            assert rig.link.opened == 0


async def test_a_proxy_and_a_forward_without_a_probe_are_left_alone() -> None:
    async with probing(dynamic(1080)) as rig:
        assert await rig.pass_time(1.1) == rig.link.opened == 0
    rig = Rig(local(5432))
    rig.probes.start(rig.link)
    assert await rig.pass_time(1.1) == 0
    await rig.scope.aclose()
