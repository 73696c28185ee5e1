"""The forwards of a tunnel, together: what listens here is bound once, what listens there with each connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.e2e.bed.ports import free_port, in_use
from tests.fakes import LIMIT, Client, FakeConnection, Signal, dynamic, local, pass_time, remote, turns
from tests.forwarding.fakes import until
from tunnels.core.forward import Forward
from tunnels.core.state import ForwardState
from tunnels.errors import ConnectionLost, ListenError, TunnelsError
from tunnels.forwarding.door import Door
from tunnels.supervisor.forwards import Forwards
from tunnels.tasks import TaskScope

PENDING, LISTENING, FAILED = ForwardState.PENDING, ForwardState.LISTENING, ForwardState.FAILED
LOST = ConnectionLost("the network ended the connection")


class Rig:
    """Forwards, their door, and whom they tell."""

    def __init__(self, *forwards: Forward) -> None:
        self.scope = TaskScope("work-db")
        self.door = Door(20.0, on_waiting=lambda: None)
        self.changes = Signal()
        self.bound = Signal()
        self.failed: list[tuple[Forward, TunnelsError]] = []
        self.healed: list[tuple[Forward, float]] = []
        self.connection = FakeConnection(lambda _: None)
        self.all = Forwards(
            forwards,
            self.door,
            self.scope,
            on_change=self.changes,
            on_refused=lambda _connect, _error: None,
            on_failed=lambda forward, error: self.failed.append((forward, error)),
            on_healed=lambda forward, seconds: self.healed.append((forward, seconds)),
            on_bound=self.bound,
        )

    @property
    def states(self) -> list[ForwardState]:
        return [status.state for status in self.all.statuses()]

    async def bind(self) -> None:
        self.all.bind()
        async with asyncio.timeout(LIMIT):
            await self.all.bound()


@contextlib.asynccontextmanager
async def rigged(*forwards: Forward) -> AsyncIterator[Rig]:
    rig = Rig(*forwards)
    try:
        yield rig
    finally:
        rig.door.close(LOST)
        rig.all.release()
        await rig.scope.aclose()


async def test_a_tunnel_that_has_the_port_is_named() -> None:
    port = free_port()
    async with rigged(local(port)) as first, rigged(local(port)) as second:
        await first.bind()
        await second.bind()
        error = second.failed[0][1]
        assert error.message == f"port {port} is in use by the tunnel work-db"
        assert error.hint == "`tunnels down work-db`, or listen on another port"


async def test_they_stand_in_the_order_of_the_profile() -> None:
    forwards = (remote(2222), local(free_port()), remote(8080), dynamic(free_port()))
    async with rigged(*forwards) as rig:
        assert [status.kind for status in rig.all.statuses()] == ["remote", "local", "remote", "dynamic"]
        assert len(rig.all) == 4
        assert rig.states == [PENDING] * 4
        assert "Forwards" in repr(rig.all)


async def test_binding_is_what_listens_here_and_opening_what_listens_there() -> None:
    port = free_port()
    async with rigged(local(port), remote(2222), dynamic(free_port())) as rig:
        await rig.bind()
        assert rig.states == [LISTENING, PENDING, LISTENING]
        assert in_use(port)
        assert rig.bound.count == 1

        await rig.all.open(rig.connection)
        assert rig.states == [LISTENING, LISTENING, LISTENING]

        rig.all.link_lost()
        assert rig.states == [LISTENING, PENDING, LISTENING]


async def test_waiting_for_what_was_never_bound_is_no_waiting() -> None:
    async with rigged(local(free_port())) as rig, asyncio.timeout(LIMIT):
        await rig.all.bound()


async def test_whoever_waits_may_go_without_ending_the_binding() -> None:
    async with rigged(local(free_port())) as rig:
        rig.all.bind()
        waiting = rig.scope.spawn(rig.all.bound(), name="wait")
        await asyncio.sleep(0)
        waiting.cancel()
        await rig.bound.until(lambda: rig.bound.count)
        assert rig.states == [LISTENING]


async def test_a_forward_that_cannot_listen_here_is_told_and_its_siblings_listen() -> None:
    port = free_port()
    async with rigged(local(port)) as other:
        await other.bind()
        taken = local(port)
        async with rigged(taken, local(free_port())) as rig:
            await rig.bind()
            assert rig.states == [FAILED, LISTENING]
            [(forward, error)] = rig.failed
            assert forward is taken
            assert rig.all.first_error is error


async def test_a_forward_that_cannot_listen_there_is_told_too() -> None:
    refused = remote(2222)
    async with rigged(local(free_port()), refused) as rig:
        await rig.bind()
        rig.connection.listen_error = ListenError("the server refused to listen on 2222")
        await rig.all.open(rig.connection)
        assert [(forward, error.message) for forward, error in rig.failed] == [
            (refused, "the server refused to listen on 2222")
        ]
        assert rig.all.first_error is not None
        rig.all.link_lost()


async def test_without_a_failure_there_is_no_first_error() -> None:
    async with rigged(local(free_port())) as rig:
        await rig.bind()
        assert rig.all.first_error is None
        assert rig.failed == []


async def test_released_ports_are_free_and_can_be_bound_again() -> None:
    port = free_port()
    async with rigged(local(port)) as rig:
        await rig.bind()
        rig.all.release()
        rig.all.release()
        await turns()
        assert not in_use(port)
        assert rig.states == [PENDING]
        await rig.bind()
        assert in_use(port)


async def test_released_while_being_bound_nothing_is_bound_and_nobody_is_told() -> None:
    port = free_port()
    async with rigged(local(port)) as rig:
        rig.all.bind()
        rig.all.release()
        await turns(30)
        assert not in_use(port)
        assert rig.bound.count == 0


async def test_clients_count_while_they_wait_and_while_they_are_served_and_then_no_more() -> None:
    ports = free_port(), free_port()
    async with rigged(*(local(port) for port in ports)) as rig:
        await rig.bind()
        assert (rig.all.clients, rig.all.last_client_at) == (0, 0.0)
        async with Client.of(ports[0]), Client.of(ports[1]):
            await rig.changes.until(lambda: rig.all.clients == 2)
            rig.door.admit(rig.connection)
            channels = [await rig.connection.next_channel() for _ in ports]
            assert rig.all.clients == 2
            for channel in channels:
                channel.close()
            await until(lambda: rig.all.clients == 0)
        now = asyncio.get_running_loop().time()
        assert now - LIMIT < rig.all.last_client_at <= now


async def test_the_last_client_is_the_last_of_all_forwards() -> None:
    ports = free_port(), free_port()
    async with rigged(*(local(port) for port in ports)) as rig:
        await rig.bind()
        rig.door.close(LOST)  # each is turned away at once
        for port in (ports[1], ports[0], ports[1]):
            pass_time(1)
            came = asyncio.get_running_loop().time()
            async with Client.of(port) as client:
                await client.end()
            await until(lambda: rig.all.clients == 0)
            assert rig.all.last_client_at >= came


async def test_a_tunnel_without_forwards_has_had_no_client() -> None:
    async with rigged() as rig:
        assert (len(rig.all), rig.all.clients, rig.all.last_client_at) == (0, 0, 0.0)
        await rig.bind()
        assert rig.bound.count == 1
