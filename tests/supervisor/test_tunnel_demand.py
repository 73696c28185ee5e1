"""On demand: the ports are there, and the connection while somebody uses it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.e2e.bed.ports import free_port, in_use
from tests.fakes import LIMIT, Client, FakeConnection, local, pass_time, remote, turns
from tests.forwarding.fakes import until
from tests.supervisor.rig import UNREACHABLE, Rig, rigged, work_db
from tunnels.core.forward import Forward
from tunnels.core.path import NetworkChange, Path
from tunnels.core.profile import Profile
from tunnels.core.state import ForwardState, TunnelState
from tunnels.errors import HostKeyRejected

IDLE, CONNECTING, UP, BACKOFF = (
    *(TunnelState.IDLE, TunnelState.CONNECTING),
    *(TunnelState.UP, TunnelState.BACKOFF),
)

TIMEOUT = 600.0

HOLD = 3.0


def on_demand(*forwards: Forward, idle_timeout: float | None = TIMEOUT) -> Profile:
    return replace(work_db(*forwards), on_demand=True, idle_timeout=idle_timeout, hold=HOLD)


@contextlib.asynccontextmanager
async def idle(profile: Profile) -> AsyncIterator[Rig]:
    """Have it started, with every port bound and nobody there."""
    async with rigged(profile) as rig:
        # Forwards note the end of a client in the time of the event loop: let the clock begin with it.
        rig.clock.advance(asyncio.get_running_loop().time() - rig.clock.time())
        rig.tunnel.start()
        await rig.listens()
        yield rig


async def give_up(rig: Rig) -> None:
    """Let the time be over for which clients wait."""
    pass_time(HOLD + 0.1)
    await until(lambda: rig.forward.held == 0)


async def serve(rig: Rig, port: int) -> FakeConnection:
    """Let one client come, be served, and go."""
    async with Client.of(port) as client:
        client.send(b"select 1")
        connection = await rig.connected()
        channel = await connection.next_channel()
        await channel.heard(b"select 1")
        channel.say(b"one")
        assert await client.read(3) == b"one"
        channel.close()
        assert await client.end() == "eof"
    await until(lambda: rig.forward.clients == 0)
    return connection


async def test_the_ports_are_there_and_the_server_is_left_alone() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        await turns()
        assert (rig.state(), rig.connector.attempts) == (IDLE, [])
        assert in_use(port)
        status = rig.tunnel.status()
        assert (status.attempt, status.retry_at, status.error) == (0, None, None)
        assert rig.clock.alarms == []


async def test_the_first_client_has_the_connection_made_and_is_served() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        await serve(rig, port)
        assert (rig.state(), len(rig.connector.attempts)) == (UP, 1)


async def test_clients_that_come_together_have_one_connection_made() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig, Client.of(port), Client.of(port), Client.of(port):
        await rig.changes.until(lambda: rig.forward.held == 3)
        connection = await rig.connected()
        for _ in range(3):
            await connection.next_channel()
        assert len(rig.connector.attempts) == 1


async def test_when_nobody_has_used_it_for_long_enough_it_hangs_up_and_keeps_the_port() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        connection = await serve(rig, port)
        rig.clock.advance(TIMEOUT - 1)
        assert rig.state() is UP
        rig.clock.advance(1 + LIMIT)  # what the client took
        assert rig.state() is IDLE
        await connection.signal.until(lambda: connection.closes)
        assert in_use(port)
        assert rig.forward.state is ForwardState.LISTENING
        assert rig.clock.alarms == []
        assert rig.tunnel.status().error is None


async def test_the_next_client_is_served_by_a_new_connection_which_is_no_reconnect() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        first = await serve(rig, port)
        rig.clock.advance(TIMEOUT + LIMIT)
        second = await serve(rig, port)
        assert second is not first
        status = rig.tunnel.status()
        assert (status.state, status.reconnects, status.error) == (UP, 0, None)
        assert [each.after for each in rig.transitions] == [IDLE, CONNECTING, UP, IDLE, CONNECTING, UP]
        assert {each.error for each in rig.transitions} == {None}


async def test_a_client_that_says_nothing_for_a_day_is_not_hung_up_on() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig, Client.of(port) as client:
        connection = await rig.connected()
        channel = await connection.next_channel()
        rig.clock.advance(86_400)
        assert (rig.state(), connection.closes) == (UP, 0)
        channel.say(b"still there")
        assert await client.read(11) == b"still there"


async def test_without_an_idle_timeout_the_connection_stays() -> None:
    port = free_port()
    async with idle(on_demand(local(port), idle_timeout=None)) as rig:
        connection = await serve(rig, port)
        rig.clock.advance(86_400)
        assert (rig.state(), connection.closes) == (UP, 0)


async def test_an_idle_timeout_alone_does_not_hang_up_on_a_tunnel_that_should_stay() -> None:
    async with rigged(replace(work_db(local(free_port())), idle_timeout=1.0)) as rig:
        connection = await rig.up()
        rig.clock.advance(86_400)
        assert (rig.state(), connection.closes) == (UP, 0)


# --- trouble --------------------------------------------------------------------------------------


async def test_a_connection_that_is_lost_while_nobody_uses_it_is_not_made_again() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        (await serve(rig, port)).lose()
        assert rig.state() is BACKOFF
        rig.retry_now()
        assert (rig.state(), len(rig.connector.attempts), rig.clock.alarms) == (IDLE, 1, [])
        await serve(rig, port)
        assert rig.tunnel.status().reconnects == 0, "that was a first client, and no outage of anybody"


async def test_a_connection_that_is_lost_is_made_again_for_a_client_that_waits() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        (await serve(rig, port)).lose()
        async with Client.of(port):
            await rig.changes.until(lambda: rig.forward.held == 1)
            rig.retry_now()
            await rig.connected()
        assert rig.tunnel.status().reconnects == 1


async def test_a_server_that_is_away_is_dialled_while_somebody_waits_and_then_no_more() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        async with Client.of(port):
            for _ in range(5):
                await rig.fail(UNREACHABLE)
                await rig.reach(BACKOFF)
                assert max(rig.clock.alarms) <= 1.0
                rig.retry_now()
                assert rig.state() is CONNECTING
            await rig.fail(UNREACHABLE)
            await rig.reach(BACKOFF)
            attempts = len(rig.connector.attempts)
        await give_up(rig)
        rig.retry_now()
        assert rig.state() is IDLE
        assert len(rig.connector.attempts) == attempts
        assert in_use(port)


async def test_the_error_of_an_attempt_can_still_be_seen_when_nobody_waits_any_more() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        async with Client.of(port):
            await rig.fail(UNREACHABLE)
            await rig.reach(BACKOFF)
        await give_up(rig)
        rig.retry_now()
        error = rig.tunnel.status().error
        assert error is not None
        assert error.message == UNREACHABLE.message


async def test_what_a_person_must_mend_frees_the_port_as_ever() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        async with Client.of(port) as client:
            await rig.fail(HostKeyRejected("the host key of bastion has changed"))
            assert await client.end() == "reset"
        assert rig.state() is TunnelState.FAILED
        await turns()
        assert not in_use(port)


async def test_a_client_is_a_reason_to_dial_also_where_there_seems_to_be_no_way() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        rig.routes.path = None
        await serve(rig, port)
        assert (rig.state(), rig.tunnel.status().offline) == (UP, False)


async def test_a_probe_is_for_a_connection_in_use_or_not() -> None:
    """Whoever comes next must not meet a dead one."""
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        connection = await serve(rig, port)
        connection.answers.clear()
        rig.routes.path = Path("203.0.113.10", 3)
        rig.tunnel.network_changed(NetworkChange())
        await rig.reach(BACKOFF)
        rig.clock.advance(0)
        assert (rig.state(), len(rig.connector.attempts)) == (IDLE, 1)


# --- ports ----------------------------------------------------------------------------------------


async def test_taken_down_while_nobody_uses_it_the_port_is_free() -> None:
    port = free_port()
    async with idle(on_demand(local(port))) as rig:
        await rig.stop()
        assert (rig.state(), rig.connector.attempts) == (TunnelState.STOPPED, [])
        assert not in_use(port)


async def test_starting_what_waits_for_clients_does_nothing() -> None:
    async with idle(on_demand(local(free_port()))) as rig:
        rig.tunnel.start()
        await turns()
        assert (rig.state(), rig.connector.attempts) == (IDLE, [])


@pytest.mark.parametrize("strict", [False, True])
async def test_a_port_that_is_taken_is_known_without_a_client(strict: bool) -> None:
    port = free_port()
    async with idle(on_demand(local(port))):
        taken = replace(on_demand(local(port), local(free_port())), exit_on_forward_failure=strict)
        async with rigged(taken) as rig:
            rig.tunnel.start()
            if strict:
                await rig.reach(TunnelState.FAILED)
            else:
                await rig.changes.until(lambda: rig.tunnel.status().forwards[1].state.value == "listening")
                await rig.changes.until(lambda: rig.forward.state is ForwardState.FAILED)
                assert rig.state() is IDLE
            assert rig.connector.attempts == []


async def test_remote_forwards_are_asked_for_with_each_connection_and_gone_with_it() -> None:
    port = free_port()
    async with idle(on_demand(local(port), remote(2222))) as rig:
        first = await serve(rig, port)
        assert len(first.asked) == 1
        rig.clock.advance(TIMEOUT + LIMIT)
        assert rig.tunnel.status().forwards[1].state is ForwardState.PENDING
        second = await serve(rig, port)
        assert len(second.asked) == 1
