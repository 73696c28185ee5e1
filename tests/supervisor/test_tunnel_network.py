"""A tunnel and the network of its machine: offline, back, on another way, asleep."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from tests.e2e.bed.ports import free_port
from tests.fakes import Client, FakeConnection, local, turns
from tests.supervisor.rig import UNREACHABLE, Rig, rigged, work_db
from tunnels.core.backoff import CHANGE_INTERVAL
from tunnels.core.path import NetworkChange, Path
from tunnels.core.state import TunnelState
from tunnels.errors import HostKeyRejected, LoginRefused

WIFI = Path("192.0.2.10", 2, "192.0.2.1")
"""What the routes of the rig begin with."""

CABLE = Path("203.0.113.10", 3, "203.0.113.1")

NO_ANSWER = "no answer within 1.0 s after the network had changed"


def change(rig: Rig, path: Path | None, **facts: object) -> None:
    """Let the way be this one from now on, and let the tunnel hear of it."""
    rig.routes.path = path
    rig.tunnel.network_changed(NetworkChange(**facts))  # type: ignore[arg-type]


async def offline(rig: Rig) -> FakeConnection:
    """Have it up, and then no way to its host for a minute."""
    connection = await rig.up()
    rig.clock.advance(60)
    change(rig, None)
    rig.clock.advance(60)
    return connection


def why(rig: Rig) -> str:
    error = rig.tunnel.status().error
    return "" if error is None else error.message


class SlowProbe:
    """A probe whose answer comes when the test says so, even if nobody waits for it any more."""

    def __init__(self, connection: FakeConnection) -> None:
        self.asked = 0
        self.cancelled = 0
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        connection.probe = self._probe  # type: ignore[method-assign]

    async def _probe(self, limit: float) -> bool:
        self.asked += 1
        try:
            return await asyncio.shield(self.answer)
        except asyncio.CancelledError:
            self.cancelled += 1
        async with asyncio.timeout(1):  # only a test that fails gives no answer
            return await asyncio.shield(self.answer)


# --- not connected --------------------------------------------------------------------------------


async def test_while_there_is_no_way_attempts_wait_and_do_not_count() -> None:
    async with rigged() as rig:
        rig.routes.path = None
        rig.tunnel.start()
        for _ in range(5):
            await rig.fail(UNREACHABLE)
            await rig.reach(TunnelState.BACKOFF)
            status = rig.tunnel.status()
            assert (status.offline, status.attempt, rig.clock.alarms) == (True, 0, [30.0])
            rig.retry_now()  # the machine may be wrong about its routes


async def test_when_the_way_is_back_it_dials_at_once() -> None:
    async with rigged() as rig:
        rig.routes.path = None
        await rig.back_off()
        rig.clock.advance(7)

        change(rig, WIFI)

        assert rig.clock.alarms == [0.0]
        assert not rig.tunnel.status().offline
        rig.clock.advance(0)
        await rig.connected()


async def test_a_way_that_goes_while_it_waits_makes_it_wait_for_the_network() -> None:
    async with rigged() as rig:
        await rig.back_off()
        assert rig.clock.alarms == [0.5]
        change(rig, None)
        assert rig.clock.alarms == [30.0]
        change(rig, None, interfaces=frozenset({2}))
        assert rig.clock.alarms == [30.0]


async def test_a_burst_of_changes_does_not_hammer_the_server() -> None:
    async with rigged() as rig:
        rig.routes.path = None
        await rig.back_off()
        change(rig, WIFI)
        assert rig.clock.alarms == pytest.approx([CHANGE_INTERVAL])


async def test_a_client_that_waits_has_it_tried_all_the_same() -> None:
    """The machine may be wrong about its routes."""
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        rig.routes.path = None
        await rig.back_off()
        async with Client.of(port):
            await rig.changes.until(lambda: rig.forward.held == 1)
            assert rig.clock.alarms == [1.0]
            rig.retry_now()
            await rig.fail(UNREACHABLE)
            await rig.reach(TunnelState.BACKOFF)
            assert rig.clock.alarms == [1.0]


async def test_a_client_that_waits_when_the_way_goes_is_not_forgotten() -> None:
    port = free_port()
    async with rigged(work_db(local(port)), part=0.9) as rig:
        await rig.back_off()
        for _ in range(6):
            rig.retry_now()
            await rig.fail(UNREACHABLE)
            await rig.reach(TunnelState.BACKOFF)
        async with Client.of(port):
            await rig.changes.until(lambda: rig.forward.held == 1)
            change(rig, None)
            assert rig.clock.alarms == [1.0]


async def test_a_connection_that_is_made_without_a_way_shows_that_there_is_one() -> None:
    async with rigged() as rig:
        rig.routes.path = None
        await rig.back_off()
        rig.retry_now()
        await rig.connected()
        assert not rig.tunnel.status().offline


async def test_a_change_that_is_none_of_its_business_does_not_hurry_it() -> None:
    async with rigged() as rig:
        await rig.back_off()
        rig.retry_now()
        await rig.fail(UNREACHABLE)
        await rig.reach(TunnelState.BACKOFF)
        before = rig.clock.alarms
        change(rig, WIFI, interfaces=frozenset({9}))
        assert rig.clock.alarms == before == [1.0]


# --- an attempt under way -------------------------------------------------------------------------


async def test_an_attempt_over_the_old_way_is_replaced_and_counts_once() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        old = await rig.connector.next_attempt()
        change(rig, CABLE)
        new = await rig.connector.next_attempt()
        await turns()
        assert (old.cancelled, new.cancelled) == (True, False)
        assert (rig.state(), rig.tunnel.status().attempt) == (TunnelState.CONNECTING, 1)
        new.succeed()
        await rig.reach(TunnelState.UP)


@pytest.mark.parametrize("facts", [{}, {"interfaces": frozenset({9})}])
async def test_an_attempt_is_left_alone_when_its_way_is_the_same(facts: dict[str, object]) -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        change(rig, WIFI, **facts)
        await turns()
        assert not attempt.cancelled
        assert len(rig.connector.attempts) == 1


async def test_an_attempt_that_the_machine_has_slept_through_is_replaced() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        change(rig, WIFI, slept=60.0)
        await rig.connector.next_attempt()
        await turns()
        assert attempt.cancelled


async def test_an_attempt_goes_on_without_a_way_and_its_failure_does_not_count() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        change(rig, None)
        await turns()
        assert not attempt.cancelled
        attempt.fail(UNREACHABLE)
        await rig.reach(TunnelState.BACKOFF)
        assert (rig.tunnel.status().attempt, rig.clock.alarms) == (0, [30.0])


async def test_the_addresses_of_the_host_are_what_the_way_is_looked_for() -> None:
    async with rigged() as rig:
        rig.connector.addresses = ("198.51.100.7", "2001:db8::7")
        rig.tunnel.start()
        await rig.connector.next_attempt()
        assert rig.routes.asked == [("198.51.100.7", "2001:db8::7")]


# --- connected ------------------------------------------------------------------------------------


async def test_a_connection_is_kept_while_there_is_no_way_and_nobody_is_asked() -> None:
    """A tunnel of the underground is shorter than TCP's patience."""
    async with rigged() as rig:
        connection = await offline(rig)
        assert rig.state() is TunnelState.UP
        assert rig.tunnel.status().offline
        assert (connection.probes, connection.closes, connection.outages) == ([], 0, [True])
        assert len(rig.connector.attempts) == 1


async def test_going_offline_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with rigged() as rig:
        connection = await offline(rig)
        change(rig, None, interfaces=frozenset({2}))
        change(rig, None)
        assert caplog.messages.count("offline: no route to bastion") == 1
        assert connection.outages == [True]
        change(rig, WIFI)
        assert caplog.messages.count("there is a route to bastion again") == 1


async def test_a_connection_that_answers_when_the_way_is_back_is_kept() -> None:
    async with rigged() as rig:
        connection = await offline(rig)
        change(rig, WIFI)
        await connection.signal.until(lambda: connection.probes)
        await turns()
        assert (rig.state(), rig.tunnel.status().offline) == (TunnelState.UP, False)
        assert (connection.closes, connection.outages) == (0, [True, False])
        assert len(rig.connector.attempts) == 1


async def test_a_connection_that_does_not_answer_is_lost_and_replaced_at_once() -> None:
    async with rigged() as rig:
        connection = await offline(rig)
        connection.answers.clear()
        change(rig, WIFI)
        await rig.reach(TunnelState.BACKOFF)
        assert why(rig) == NO_ANSWER
        assert rig.clock.alarms == [0.0]
        rig.clock.advance(0)
        await rig.connected()
        assert connection.closes == 1
        assert rig.tunnel.status().reconnects == 1


@pytest.mark.parametrize("facts", [{"slept": 3600.0}, {"missed": True}, {"interfaces": frozenset({2})}])
async def test_sleep_and_a_link_of_its_own_are_reasons_to_ask(facts: dict[str, object]) -> None:
    async with rigged() as rig:
        connection = await rig.up()
        change(rig, WIFI, **facts)
        await connection.signal.until(lambda: connection.probes)
        assert rig.state() is TunnelState.UP


async def test_another_way_is_a_reason_to_ask_and_no_more() -> None:
    async with rigged() as rig:
        connection = await rig.up()
        change(rig, CABLE)
        await connection.signal.until(lambda: connection.probes)
        await turns()
        assert (rig.state(), connection.closes) == (TunnelState.UP, 0)


async def test_a_slow_connection_has_more_time_to_answer() -> None:
    async with rigged() as rig:
        connection = await rig.up()
        connection.rtt_ms = 250.0
        change(rig, CABLE)
        await connection.signal.until(lambda: connection.probes)
        assert connection.probes == [2.0]


@pytest.mark.parametrize("facts", [{}, {"interfaces": frozenset({9})}])
async def test_a_change_that_does_not_concern_it_does_nothing(facts: dict[str, object]) -> None:
    async with rigged() as rig:
        connection = await rig.up()
        told, alarms = rig.changes.count, rig.clock.alarms
        change(rig, WIFI, **facts)
        await turns()
        assert (connection.probes, connection.outages) == ([], [])
        assert (rig.changes.count, rig.clock.alarms) == (told, alarms)
        assert rig.state() is TunnelState.UP


async def test_only_the_way_to_the_address_that_answered_counts() -> None:
    async with rigged() as rig:
        rig.connector.addresses = ("198.51.100.1", "2001:db8::1")
        await rig.up()
        rig.routes.asked.clear()
        change(rig, WIFI)
        assert rig.routes.asked == [("198.51.100.1",)]


async def test_after_a_loss_the_way_to_every_address_of_the_host_counts_again() -> None:
    async with rigged() as rig:
        rig.connector.addresses = ("198.51.100.1", "2001:db8::1")
        (await rig.up()).lose()
        change(rig, CABLE)
        assert rig.routes.asked[-2:] == [("198.51.100.1", "2001:db8::1")] * 2


# --- cut off --------------------------------------------------------------------------------------


async def test_a_connection_whose_address_has_gone_is_lost_without_asking_and_replaced_at_once() -> None:
    async with rigged() as rig:
        connection = await rig.up()
        rig.routes.addresses = {"203.0.113.10"}
        change(rig, CABLE)
        assert rig.state() is TunnelState.BACKOFF
        assert why(rig) == "the network has changed: the address 192.0.2.10 has left this machine"
        assert (connection.probes, rig.clock.alarms) == ([], [0.0])
        rig.clock.advance(0)
        await rig.connected()


async def test_a_connection_whose_address_has_gone_is_lost_also_without_a_way_and_waits_then() -> None:
    async with rigged() as rig:
        await rig.up()
        rig.clock.advance(60)
        rig.routes.addresses = set()
        change(rig, None)
        assert rig.state() is TunnelState.BACKOFF
        assert (rig.clock.alarms, rig.tunnel.status().offline) == ([30.0], True)
        rig.clock.advance(5)
        change(rig, CABLE)
        assert rig.clock.alarms == [0.0]


async def test_with_its_link_dead_and_another_way_there_it_is_replaced_at_once() -> None:
    """The lid is closed on the Wi-Fi and opened on the cable: no time is lost with asking."""
    async with rigged() as rig:
        connection = await rig.up()
        rig.routes.dead_links = {2}
        change(rig, CABLE, interfaces=frozenset({2, 3}))
        assert rig.state() is TunnelState.BACKOFF
        assert why(rig) == "the network has changed: its link is down, and there is another way now"
        assert (connection.probes, rig.clock.alarms) == ([], [0.0])


async def test_that_is_so_too_when_it_was_offline_before_and_no_client_waits() -> None:
    async with rigged() as rig:
        rig.routes.dead_links = {2}
        connection = await offline(rig)
        assert rig.state() is TunnelState.UP
        change(rig, CABLE)
        assert rig.state() is TunnelState.BACKOFF
        assert (connection.probes, rig.clock.alarms) == ([], [0.0])
        assert not rig.tunnel.status().offline
        rig.clock.advance(0)
        await rig.connected()


async def test_a_connection_lost_while_there_is_no_way_dials_when_there_is_one() -> None:
    async with rigged() as rig:
        connection = await offline(rig)
        connection.lose()
        assert rig.clock.alarms == [30.0]
        rig.clock.advance(3)
        change(rig, CABLE)
        assert rig.clock.alarms == [0.0]
        rig.clock.advance(0)
        await rig.connected()


async def test_a_connection_lost_just_before_the_news_of_the_way_back_dials_with_the_news() -> None:
    async with rigged() as rig:
        connection = await offline(rig)
        rig.routes.path = WIFI
        connection.lose()
        change(rig, WIFI)
        assert rig.clock.alarms == [0.0]
        assert not rig.tunnel.status().offline


# --- probes that come too late --------------------------------------------------------------------


async def test_the_answer_about_a_connection_that_has_been_replaced_says_nothing() -> None:
    async with rigged() as rig:
        old = await rig.up()
        probe = SlowProbe(old)
        change(rig, CABLE)
        await turns()
        assert probe.asked == 1
        old.lose()
        rig.retry_now()
        new = await rig.connected()

        probe.answer.set_result(False)
        await turns()

        assert (rig.state(), new.closes) == (TunnelState.UP, 0)
        assert rig.tunnel.status().reconnects == 1


async def test_going_offline_ends_the_asking() -> None:
    async with rigged() as rig:
        probe = SlowProbe(await rig.up())
        change(rig, CABLE)
        await turns()
        change(rig, None)
        await turns()
        assert (probe.asked, probe.cancelled) == (1, 1)
        probe.answer.set_result(True)


async def test_the_next_change_asks_again_and_only_the_last_answer_is_waited_for() -> None:
    async with rigged() as rig:
        probe = SlowProbe(await rig.up())
        change(rig, CABLE)
        await turns()
        change(rig, WIFI)
        await turns()
        assert (probe.asked, probe.cancelled) == (2, 1)
        probe.answer.set_result(True)
        await turns()
        assert rig.state() is TunnelState.UP


async def test_it_can_be_taken_down_while_it_asks() -> None:
    async with rigged() as rig:
        connection = await rig.up()
        probe = SlowProbe(connection)
        change(rig, CABLE)
        await turns()
        stopping = rig.stopping()
        await turns()
        probe.answer.set_result(False)
        await stopping
        assert (rig.state(), connection.closes) == (TunnelState.STOPPED, 1)


# --- those to whom it means nothing ---------------------------------------------------------------


async def test_a_tunnel_on_demand_that_nobody_uses_ignores_the_network() -> None:
    async with rigged(replace(work_db(local(free_port())), on_demand=True)) as rig:
        rig.tunnel.start()
        await rig.listens()
        for path in (CABLE, None, WIFI):
            change(rig, path, slept=60.0)
            await turns()
            assert rig.state() is TunnelState.IDLE
            assert rig.tunnel.status().offline is (path is None)
        assert (rig.connector.attempts, rig.clock.alarms) == ([], [])
        assert [each.after for each in rig.transitions] == [TunnelState.IDLE]


async def test_a_tunnel_that_is_down_or_has_failed_does_not_look() -> None:
    async with rigged() as rig:
        change(rig, CABLE, slept=60.0)
        rig.tunnel.start()
        await rig.fail(HostKeyRejected("the host key of bastion has changed"))
        await rig.reach(TunnelState.FAILED)
        rig.routes.asked.clear()
        change(rig, None, slept=60.0)
        await rig.stop()
        change(rig, WIFI, slept=60.0)
        assert rig.routes.asked == []
        assert len(rig.connector.attempts) == 1


async def test_a_login_that_was_refused_is_not_hurried_by_another_network() -> None:
    async with rigged() as rig:
        (await rig.up()).lose()
        rig.retry_now()
        await rig.fail(LoginRefused("bastion refused the login"))
        await rig.reach(TunnelState.BACKOFF)
        before = rig.clock.alarms
        assert min(before) >= 150
        change(rig, CABLE)
        assert rig.clock.alarms == before
