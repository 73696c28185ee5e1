"""A running tunnel and its clients: up, away, back, and down. No SSH, but real sockets on loopback."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from tests.e2e.bed.ports import free_port, in_use
from tests.fakes import LIMIT, Client, FakeConnector, dynamic, local, pass_time, remote, turns
from tests.supervisor.rig import NINE, UNREACHABLE, Rig, rigged, work_db
from tunnels.core import events as ev
from tunnels.core.address import TcpAddress
from tunnels.core.profile import Retry
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import ForwardStatus, TunnelStatus
from tunnels.errors import (
    ConnectionLost,
    DialError,
    ErrorInfo,
    HostKeyRejected,
    LoginRefused,
)

WRONG_KEY = HostKeyRejected("the host key of bastion has changed", hint="compare the fingerprints")

# --- up -------------------------------------------------------------------------------------------


async def test_a_client_is_served_once_the_tunnel_is_up() -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        connection = await rig.up()
        async with Client.of(port) as client:
            client.send(b"select 1")
            channel = await connection.next_channel()
            await channel.heard(b"select 1")
            channel.say(b"one")

            assert await client.read(3) == b"one"
            assert channel.connect == TcpAddress("db.internal", 5432)


async def test_the_ports_are_bound_before_the_connection_is_there() -> None:
    """A program that is started together with the tunnel is held, and not refused."""
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        await rig.listens()
        async with Client.of(port) as client:
            client.send(b"early")
            await rig.changes.until(lambda: rig.forward.held == 1)

            connection = attempt.succeed()

            await (await connection.next_channel()).heard(b"early")


async def test_up_means_that_every_kind_of_forward_listens() -> None:
    forwards = (local(free_port()), remote(2222), dynamic(free_port()))
    async with rigged(work_db(*forwards)) as rig:
        await rig.up()

        status = rig.tunnel.status()
        assert [(f.kind, f.state) for f in status.forwards] == [
            ("local", ForwardState.LISTENING),
            ("remote", ForwardState.LISTENING),
            ("dynamic", ForwardState.LISTENING),
        ]


async def test_starting_what_is_up_does_nothing() -> None:
    async with rigged() as rig:
        await rig.up()

        rig.tunnel.start()
        await turns()

        assert rig.state() is TunnelState.UP
        assert len(rig.connector.attempts) == 1


async def test_a_refused_client_is_the_only_one_that_suffers(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        connection = await rig.up()
        connection.dial_error = DialError("connection refused")
        async with Client.of(port) as client:
            assert await client.end() == "reset"
        connection.dial_error = None
        async with Client.of(port):
            await connection.next_channel()

        assert rig.state() is TunnelState.UP
        assert "a client could not reach db.internal:5432: connection refused" in caplog.messages


# --- away, and back -------------------------------------------------------------------------------


async def test_the_port_stays_ours_through_a_drop() -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        (await rig.up()).lose()
        assert rig.state() is TunnelState.BACKOFF
        await turns()
        assert in_use(port)

        rig.retry_now()
        assert rig.state() is TunnelState.CONNECTING
        await turns()
        assert in_use(port)

        await rig.connected()
        assert in_use(port)


async def test_a_client_that_comes_during_a_drop_is_served_by_the_next_connection() -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        old = await rig.up()
        old.lose()
        async with Client.of(port) as client:
            client.send(b"patience")
            await rig.changes.until(lambda: rig.forward.held == 1)

            rig.retry_now()
            new = await rig.connected()

            channel = await new.next_channel()
            await channel.heard(b"patience")
            channel.say(b"rewarded")
            assert await client.read(8) == b"rewarded"
            assert rig.forward.held == 0
            assert old.channels == []


async def test_a_client_that_is_cut_is_reset_and_the_next_one_is_served() -> None:
    """Never a clean end, which would look like a complete answer."""
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        connection = await rig.up()
        async with Client.of(port) as client:
            channel = await connection.next_channel()
            channel.say(b"half an ans")
            assert await client.read(11) == b"half an ans"

            connection.lose()

            assert await client.end() == "reset"
        rig.retry_now()
        connection = await rig.connected()
        async with Client.of(port):
            await connection.next_channel()


async def test_a_held_client_is_let_go_with_a_reset_when_the_tunnel_fails() -> None:
    """What will not come back by itself is not waited for, and the port is free for others."""
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        (await rig.up()).lose()
        async with Client.of(port) as client:
            await rig.changes.until(lambda: rig.forward.held == 1)
            rig.retry_now()

            await rig.fail(WRONG_KEY)

            assert await client.end() == "reset"
        assert rig.state() is TunnelState.FAILED
        assert not in_use(port)
        assert rig.forward.state is ForwardState.PENDING


async def test_a_held_client_is_let_go_with_a_reset_when_its_time_is_over() -> None:
    port = free_port()
    async with rigged(replace(work_db(local(port)), hold=5.0)) as rig:
        await rig.back_off()
        async with Client.of(port) as client:
            await rig.changes.until(lambda: rig.forward.held == 1)

            pass_time(5.0)

            assert await client.end() == "reset"
        assert rig.state() is TunnelState.BACKOFF
        assert in_use(port)


async def test_a_failed_tunnel_can_be_started_again() -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        rig.tunnel.start()
        await rig.listens()
        await rig.fail(WRONG_KEY)
        await rig.reach(TunnelState.FAILED)
        assert not in_use(port)

        connection = await rig.up()

        async with Client.of(port):
            await connection.next_channel()


async def test_what_is_left_of_a_lost_connection_is_closed() -> None:
    async with rigged() as rig:
        connection = await rig.up()

        connection.lose()
        await turns()

        assert connection.closes == 1


async def test_a_connection_is_lost_only_once() -> None:
    """A report about the old connection says nothing about the new one."""
    async with rigged() as rig:
        old = await rig.up()
        old.lose()
        rig.retry_now()
        await rig.connected()

        old.lose(ConnectionLost("and again"))

        assert rig.state() is TunnelState.UP


async def test_a_connection_that_is_lost_before_it_is_handed_over_is_an_attempt_that_failed() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        attempt.on_lost(ConnectionLost("the server hung up at once"))
        connection = attempt.succeed()

        await rig.reach(TunnelState.BACKOFF)
        await turns()

        assert connection.closes == 1
        assert rig.tunnel.status().error == ErrorInfo("connection-lost", "the server hung up at once")
        rig.retry_now()
        await rig.connected()


# --- when it dials --------------------------------------------------------------------------------


async def test_the_next_attempt_starts_when_its_time_has_come_and_not_before() -> None:
    async with rigged(part=0.5) as rig:
        await rig.back_off()
        assert rig.clock.alarms == [0.5]

        rig.clock.advance(0.49)
        assert rig.state() is TunnelState.BACKOFF
        rig.clock.advance(0.01)

        assert rig.state() is TunnelState.CONNECTING
        await rig.connected()


async def test_delays_are_short_again_only_after_the_connection_has_settled() -> None:
    async with rigged(part=0.5) as rig:
        connection = await rig.up()
        connection.lose()
        rig.retry_now()
        connection = await rig.connected()
        rig.clock.advance(9.9)
        connection.lose()
        assert rig.clock.alarms == [1.0]

        rig.retry_now()
        connection = await rig.connected()
        rig.clock.advance(10.0)
        connection.lose()
        assert rig.clock.alarms == [0.5]


async def test_while_a_client_waits_attempts_start_a_second_apart() -> None:
    port = free_port()
    async with rigged(work_db(local(port)), part=0.999) as rig:
        await rig.back_off()
        for _ in range(6):
            rig.retry_now()
            await rig.fail(UNREACHABLE)
            await rig.reach(TunnelState.BACKOFF)
        assert min(rig.clock.alarms) > 50.0

        async with Client.of(port):
            await rig.changes.until(lambda: rig.forward.held == 1)
            for _ in range(3):
                assert rig.clock.alarms == [1.0]
                rig.retry_now()
                await rig.fail(UNREACHABLE)
                await rig.reach(TunnelState.BACKOFF)


async def test_a_client_that_waits_through_a_loss_is_a_reason_to_dial_soon() -> None:
    """It was held before the connection was there for a moment, and is still held after."""
    port = free_port()
    async with rigged(work_db(local(port)), part=0.999) as rig:
        await rig.back_off()
        for _ in range(6):
            rig.retry_now()
            await rig.fail(UNREACHABLE)
            await rig.reach(TunnelState.BACKOFF)
        rig.retry_now()
        attempt = await rig.connector.next_attempt()
        async with Client.of(port):
            await rig.changes.until(lambda: rig.forward.held == 1)

            attempt.on_lost(ConnectionLost("gone again"))
            attempt.succeed()
            await rig.reach(TunnelState.BACKOFF)

            assert rig.clock.alarms == [1.0]


async def test_a_refused_login_is_not_tried_sooner_for_a_waiting_client() -> None:
    port = free_port()
    async with rigged(work_db(local(port)), part=0.0) as rig:
        (await rig.up()).lose()
        rig.retry_now()
        await rig.fail(LoginRefused("bastion accepted none of the keys"))
        await rig.reach(TunnelState.BACKOFF)
        async with Client.of(port):
            await rig.changes.until(lambda: rig.forward.held == 1)

            assert rig.clock.alarms == [150.0]


async def test_up_again_while_waiting_dials_at_once() -> None:
    async with rigged() as rig:
        await rig.back_off()

        rig.tunnel.start()

        assert rig.state() is TunnelState.CONNECTING
        assert rig.clock.alarms == []
        await rig.connected()


async def test_after_giving_up_the_port_is_free() -> None:
    port = free_port()
    async with rigged(replace(work_db(local(port)), retry=Retry(give_up_after=60.0))) as rig:
        await rig.back_off()
        rig.clock.advance(60.0)
        await rig.fail(UNREACHABLE)
        await rig.reach(TunnelState.FAILED)

        assert rig.tunnel.status().error is not None
        assert not in_use(port)
        assert rig.clock.alarms == []


# --- down -----------------------------------------------------------------------------------------


async def go(rig: Rig, state: TunnelState) -> None:
    """Bring a tunnel into a state in which its ports are bound."""
    match state:
        case TunnelState.CONNECTING:
            rig.tunnel.start()
            await rig.connector.next_attempt()
        case TunnelState.UP:
            await rig.up()
        case TunnelState.BACKOFF:
            await rig.back_off()
        case _:
            raise AssertionError(state)
    await rig.listens()


BOUND = [TunnelState.CONNECTING, TunnelState.UP, TunnelState.BACKOFF]


@pytest.mark.parametrize("state", BOUND, ids=lambda state: state.value)
async def test_the_port_is_free_when_stop_returns(state: TunnelState) -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        await go(rig, state)
        assert in_use(port)

        await rig.stop()

        assert not in_use(port)
        assert rig.state() is TunnelState.STOPPED
        assert rig.clock.alarms == []
        await turns()
        assert len(rig.tunnel._scope) == 0


@pytest.mark.parametrize("state", BOUND, ids=lambda state: state.value)
async def test_a_client_is_reset_by_stop(state: TunnelState) -> None:
    """Held or served: what it has got so far is not all."""
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        await go(rig, state)
        async with Client.of(port) as client:
            await rig.changes.until(lambda: state is TunnelState.UP or rig.forward.held == 1)
            await turns()

            await rig.stop()

            assert await client.end() == "reset"


async def test_a_tunnel_that_was_stopped_in_the_moment_it_was_started_leaves_nothing() -> None:
    port = free_port()
    async with rigged(work_db(local(port), remote(2222))) as rig:
        rig.tunnel.start()

        await rig.stop()

        assert rig.state() is TunnelState.STOPPED
        assert not in_use(port)


async def test_the_connection_is_closed_when_stop_returns() -> None:
    async with rigged() as rig:
        connection = await rig.up()
        connection.close_allowed.clear()
        stopping = rig.stopping()
        await connection.signal.until(lambda: connection.closes)
        await turns()
        assert not stopping.done()

        connection.close_allowed.set()
        await stopping

        assert connection.closes == 1


async def test_an_attempt_that_is_under_way_is_cancelled_by_stop() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()

        await rig.stop()

        assert attempt.cancelled


async def test_a_connection_that_comes_after_stop_is_closed_and_not_used() -> None:
    async with rigged(work_db(remote(2222)), connector=FakeConnector(deaf=True)) as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        stopping = rig.stopping()
        await turns()
        assert attempt.cancelled

        connection = attempt.succeed()
        await stopping

        assert connection.closes == 1
        assert connection.asked == []
        assert rig.state() is TunnelState.STOPPED


async def test_a_failure_that_comes_after_stop_is_of_no_interest(caplog: pytest.LogCaptureFixture) -> None:
    async with rigged(connector=FakeConnector(deaf=True)) as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        stopping = rig.stopping()
        await turns()

        attempt.fail(WRONG_KEY)
        await stopping

        assert rig.tunnel.status().error is None
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_connection_that_cannot_be_closed_properly_does_not_stop_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        connection = await rig.up()
        connection.close_error = OSError("bad file descriptor")

        await rig.stop()

        assert rig.state() is TunnelState.STOPPED
        assert not in_use(port)
        await turns()
        assert "bad file descriptor" in caplog.text


async def test_the_port_is_free_although_the_connection_takes_its_time_to_close() -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        connection = await rig.up()
        connection.close_allowed.clear()
        stopping = rig.stopping()
        await connection.signal.until(lambda: connection.closes)

        assert not in_use(port)
        connection.close_allowed.set()
        await stopping


async def test_stop_does_not_wait_for_ever_for_a_connection_that_does_not_close() -> None:
    async with rigged() as rig:
        connection = await rig.up()
        connection.close_allowed.clear()
        stopping = rig.stopping()
        await connection.signal.until(lambda: connection.closes)

        pass_time(8.0)
        await turns()
        stopped = stopping.done()
        connection.close_allowed.set()
        await stopping

        assert stopped


async def test_stop_does_not_wait_for_ever_for_what_is_left_of_a_lost_connection() -> None:
    async with rigged() as rig:
        connection = await rig.up()
        connection.close_allowed.clear()
        connection.lose()
        await connection.signal.until(lambda: connection.closes)
        stopping = rig.stopping()
        await turns()

        pass_time(8.0)

        async with asyncio.timeout(LIMIT):
            await stopping
        assert rig.state() is TunnelState.STOPPED


async def test_two_may_stop_it_at_the_same_moment() -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        connection = await rig.up()

        await asyncio.gather(rig.stop(), rig.stop())

        assert connection.closes == 1
        assert not in_use(port)


async def test_stopping_what_was_never_started_is_fine() -> None:
    async with rigged() as rig:
        await rig.stop()

        assert rig.state() is TunnelState.STOPPED


async def test_a_failed_tunnel_can_be_stopped() -> None:
    async with rigged(work_db(local(free_port()))) as rig:
        rig.tunnel.start()
        await rig.fail(WRONG_KEY)
        await rig.reach(TunnelState.FAILED)

        await rig.stop()

        assert rig.state() is TunnelState.STOPPED
        assert rig.tunnel.status().error is None


# --- what is shown --------------------------------------------------------------------------------


async def test_the_status_of_a_tunnel_that_is_up_and_in_use() -> None:
    port = free_port()
    async with rigged(work_db(local(port, name="db"))) as rig:
        rig.clock.advance(5.0)
        connection = await rig.up()
        async with Client.of(port) as client:
            client.send(b"four")
            channel = await connection.next_channel()
            await channel.heard(b"four")
            channel.say(b"seventeen")
            await client.read(9)
            rig.clock.advance(60.0)

            status = rig.tunnel.status()
            destination = status.forwards[0].destination
            assert destination is not None
            assert (destination.failures, destination.message) == (0, None)
            assert status == TunnelStatus(
                name="work-db",
                host="bastion",
                state=TunnelState.UP,
                since=NINE + 5.0,
                rtt_ms=1.5,
                cipher="fake-cipher",
                forwards=(
                    ForwardStatus(
                        name="db",
                        kind="local",
                        listen=f"127.0.0.1:{port}",
                        connect="db.internal:5432",
                        state=ForwardState.LISTENING,
                        clients=1,
                        clients_total=1,
                        bytes_in=9,
                        bytes_out=4,
                        destination=destination,
                    ),
                ),
            )


async def test_the_status_of_a_tunnel_that_waits_says_why_and_until_when() -> None:
    async with rigged() as rig:
        (await rig.up()).lose(ConnectionLost("the server said goodbye", hint="it comes back"))
        rig.retry_now()
        rig.clock.advance(7.0)
        await rig.fail(UNREACHABLE)
        await rig.reach(TunnelState.BACKOFF)

        status = rig.tunnel.status()
        assert status.state is TunnelState.BACKOFF
        assert status.since == NINE + 7.5  # when it began to wait, not when it was lost
        assert status.retry_at == NINE + 7.5 + 1.0
        assert status.attempt == 2
        assert status.error == UNREACHABLE.info
        assert (status.rtt_ms, status.cipher) == (None, None)


async def test_reconnects_are_counted_and_the_last_error_stays_to_be_read() -> None:
    async with rigged() as rig:
        for _ in range(2):
            if rig.state() is TunnelState.STOPPED:
                connection = await rig.up()
            connection.lose(ConnectionLost("the server said goodbye"))
            rig.retry_now()
            connection = await rig.connected()

        status = rig.tunnel.status()
        assert status.reconnects == 2
        assert status.error == ErrorInfo("connection-lost", "the server said goodbye")
        assert (status.attempt, status.retry_at) == (0, None)


async def test_a_tunnel_says_what_it_is() -> None:
    async with rigged(work_db(remote(1), remote(2))) as rig:
        assert repr(rig.tunnel) == "<Tunnel work-db: stopped, 2 forwards>"


async def test_a_watcher_is_told_of_every_change_of_state() -> None:
    async with rigged() as rig:
        seen: list[TunnelState] = []

        def look() -> None:
            if seen[-1:] != [rig.state()]:
                seen.append(rig.state())

        rig.tunnel._on_change = look
        rig.tunnel.start()
        (await rig.connector.next_attempt()).succeed()
        await turns()
        await rig.stop()

        assert seen == [
            TunnelState.CONNECTING,
            TunnelState.UP,
            TunnelState.STOPPING,
            TunnelState.STOPPED,
        ]


async def test_the_log_tells_the_story_with_the_name_of_the_tunnel(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tunnels")
    async with rigged() as rig:
        await rig.back_off()
        rig.retry_now()
        await rig.connected()
        await rig.stop()

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "connecting to bastion (attempt 1)"),
        ("WARNING", "bastion refused the connection; attempt 2 in 0.5 s"),
        ("INFO", "connecting to bastion (attempt 2)"),
        ("INFO", "up"),
        ("INFO", "stopping"),
        ("INFO", "stopped"),
    ]
    assert {record.__dict__["tunnel"] for record in caplog.records} == {"work-db"}


async def test_an_event_that_cannot_happen_is_logged_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug of ours must not take down what works."""
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        connection = await rig.up()

        rig.tunnel._feed(ev.Closed())

        assert caplog.messages == ["Closed is not possible while up"]
        assert rig.state() is TunnelState.UP
        async with Client.of(port):
            await connection.next_channel()


# --- who listens ----------------------------------------------------------------------------------


async def test_every_change_of_state_is_told_with_its_time_and_its_reason() -> None:
    lost = ConnectionLost("the server closed the connection")
    async with rigged() as rig:
        (await rig.up()).lose(lost)
        rig.retry_now()
        await rig.connected()

    assert [(t.tunnel, t.after, t.error) for t in rig.transitions] == [
        ("work-db", TunnelState.CONNECTING, None),
        ("work-db", TunnelState.UP, None),
        ("work-db", TunnelState.BACKOFF, lost.info),
        ("work-db", TunnelState.CONNECTING, None),
        ("work-db", TunnelState.UP, None),  # the last error is over
        ("work-db", TunnelState.STOPPING, None),
        ("work-db", TunnelState.STOPPED, None),
    ]
    assert [t.at for t in rig.transitions] == sorted(t.at for t in rig.transitions)
    assert rig.transitions[0].at == NINE
    assert [t.before for t in rig.transitions[1:]] == [t.after for t in rig.transitions[:-1]]
