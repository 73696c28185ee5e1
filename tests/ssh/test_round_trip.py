"""The round trip is that of the keepalives, whoever sends them, and of nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import asyncssh
import pytest

from tests.fakes import pass_time
from tunnels.ssh import round_trip
from tunnels.ssh.round_trip import RoundTrip


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


class Connection:
    """As much of an asyncssh connection as a keepalive needs; its answers take ``delays`` seconds."""

    def __init__(self, clock: Clock, *delays: float) -> None:
        self._clock = clock
        self._delays = list(delays)
        self.asked = 0
        self.closed = False

    async def _make_keepalive_request(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        self._clock.now += self._delays.pop(0)

    def is_closed(self) -> bool:
        return self.closed


def watch(connection: object) -> RoundTrip:
    return RoundTrip(cast("asyncssh.SSHClientConnection", connection))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(round_trip, "time", clock)
    return clock


async def test_nothing_is_known_before_the_first_answer(clock: Clock) -> None:
    assert watch(Connection(clock)).milliseconds is None


async def test_the_answer_to_a_keepalive_is_timed(clock: Clock) -> None:
    measured = watch(Connection(clock, 0.0123456, 0.5))
    await measured.measure()
    assert measured.milliseconds == 12.35
    await measured.measure()
    assert measured.milliseconds == 500.0


async def test_the_keepalives_that_asyncssh_sends_by_itself_are_timed_too(clock: Clock) -> None:
    connection = Connection(clock, 0.042)
    measured = watch(connection)
    send: Callable[[], Awaitable[None]] = connection._make_keepalive_request  # which its timer calls
    await send()
    assert measured.milliseconds == 42.0
    assert connection.asked == 1


async def test_on_a_fresh_connection_the_first_answer_does_not_count(clock: Clock) -> None:
    connection = Connection(clock, 0.040, 0.001)
    measured = watch(connection)
    await measured.measure_first()
    assert measured.milliseconds == 1.0
    assert connection.asked == 2


async def test_the_end_of_a_connection_is_no_answer(clock: Clock) -> None:
    connection = Connection(clock, 0.02, 0.0)
    measured = watch(connection)
    await measured.measure()
    connection.closed = True  # which answers whatever was asked
    await measured.measure()
    assert measured.milliseconds == 20.0


async def test_the_shortest_is_remembered(clock: Clock) -> None:
    measured = watch(Connection(clock, 0.03, 0.02, 0.5))
    assert measured.shortest is None
    for shortest in (30.0, 20.0, 20.0):
        await measured.measure()
        assert measured.shortest == shortest


# --- probes ---------------------------------------------------------------------------------------


async def test_an_answer_in_time_is_an_answer_and_is_timed_too(clock: Clock) -> None:
    connection = Connection(clock, 0.025)
    measured = watch(connection)
    assert await measured.answers(1.0)
    assert (connection.asked, measured.milliseconds) == (1, 25.0)


async def test_no_answer_within_the_limit_is_none(clock: Clock) -> None:
    class Silent(Connection):
        async def _make_keepalive_request(self) -> None:
            pass_time(1.0)
            await asyncio.Event().wait()

    measured = watch(Silent(clock))
    assert not await measured.answers(1.0)
    assert measured.milliseconds is None


async def test_a_busy_connection_is_waited_for_as_long_as_the_other_side_gives_signs_of_life(
    clock: Clock,
) -> None:
    """Its keepalive is behind megabytes that were there before it."""
    answer = asyncio.Event()
    looks: list[int] = []

    class Busy(Connection):
        async def _make_keepalive_request(self) -> None:
            self.asked += 1
            await answer.wait()

    def signs() -> int:
        looks.append(len(looks))
        if len(looks) == 5:
            answer.set()
        return len(looks)

    connection = Busy(clock)
    asking = asyncio.get_running_loop().create_task(watch(connection).answers(1.0, signs))
    while not asking.done():
        await asyncio.sleep(0)
        pass_time(1.0)
    assert asking.result()
    assert connection.asked == 1, "another keepalive would only be one more behind the others"


async def test_a_busy_connection_that_falls_silent_has_not_answered(clock: Clock) -> None:
    class Silent(Connection):
        async def _make_keepalive_request(self) -> None:
            await asyncio.Event().wait()

    signs = iter((1, 2, 3, 3))
    asking = asyncio.get_running_loop().create_task(watch(Silent(clock)).answers(1.0, lambda: next(signs)))
    while not asking.done():
        await asyncio.sleep(0)
        pass_time(1.0)
    assert not asking.result()
    assert next(signs, None) is None


async def test_a_connection_that_ends_while_it_is_asked_has_not_answered(clock: Clock) -> None:
    """Its end answers whatever was asked."""
    connection = Connection(clock, 0.0)
    connection.closed = True
    assert not await watch(connection).answers(1.0)


async def test_where_nobody_can_be_asked_the_keepalives_must_find_out() -> None:
    class Other:
        def is_closed(self) -> bool:
            return False

    assert await watch(Other()).answers(0.0)


async def test_whoever_asks_may_be_cancelled(clock: Clock) -> None:
    class Silent(Connection):
        async def _make_keepalive_request(self) -> None:
            await asyncio.Event().wait()

    measured = watch(Silent(clock))
    asking = asyncio.get_running_loop().create_task(measured.answers(60.0))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


# --- without them ---------------------------------------------------------------------------------


async def test_where_asyncssh_has_no_such_method_nothing_is_measured_and_nothing_breaks() -> None:
    class Other:
        def is_closed(self) -> bool:
            return False

    other: Any = Other()
    measured = watch(other)
    await measured.measure()
    await measured.measure_first()
    assert measured.milliseconds is None
    assert not hasattr(other, "_make_keepalive_request")


def test_a_connection_without_keepalives_is_a_fake_only() -> None:
    assert asyncio.iscoroutinefunction(asyncssh.SSHClientConnection._make_keepalive_request)
