"""How long a tunnel waits before it tries again: never longer than promised, and spread out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.backoff import (
    LISTEN_RETRIES,
    PROBE_LIMIT,
    REFUSED_RETRY,
    Random,
    listen_delay,
    probe_limit,
    refused_delay,
    retry_delay,
)

ALMOST_ONE = math.nextafter(1.0, 0.0)
"""The largest number that ``random.random`` gives."""

FRACTIONS = st.floats(0.0, ALMOST_ONE)


def of(*parts: float) -> Random:
    """A random source that gives these, one after the other."""
    return iter(parts).__next__


def longest(failures: int, *, initial: float = 1.0, ceiling: float = 60.0) -> float:
    """The delay that no draw of the lot goes beyond, rounded to what a person would say."""
    return round(retry_delay(failures, initial=initial, ceiling=ceiling, random=lambda: ALMOST_ONE), 9)


def test_the_bound_doubles_with_every_failure_up_to_the_ceiling() -> None:
    assert [longest(failures) for failures in range(1, 10)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_the_first_loss_of_a_settled_connection_waits_no_longer_than_a_first_failure() -> None:
    """The counter is 0 then, and not 1."""
    assert longest(0) == 1.0


def test_initial_and_ceiling_are_the_users() -> None:
    assert [longest(failures, initial=0.5, ceiling=3.0) for failures in range(1, 6)] == [0.5, 1, 2, 3, 3]


def test_a_ceiling_below_the_initial_delay_holds() -> None:
    assert longest(1, initial=10.0, ceiling=2.0) == 2.0


def test_the_jitter_is_full() -> None:
    """Any part of the bound, from nothing on: what spreads the clients of a server that comes back best."""
    random = of(0.0, 0.25, 0.5)

    delays = [retry_delay(4, initial=1.0, ceiling=60.0, random=random) for _ in range(3)]

    assert delays == [0.0, 2.0, 4.0]


@given(
    failures=st.integers(0, 10**6),
    initial=st.floats(0.001, 3600.0),
    ceiling=st.floats(0.001, 86_400.0),
    part=FRACTIONS,
)
def test_no_delay_is_negative_or_beyond_the_ceiling(
    failures: int, initial: float, ceiling: float, part: float
) -> None:
    delay = retry_delay(failures, initial=initial, ceiling=ceiling, random=lambda: part)

    assert 0.0 <= delay <= ceiling


@pytest.mark.parametrize("failures", [64, 65, 1024, 1025, 10**6])
def test_years_of_failures_do_not_overflow(failures: int) -> None:
    assert longest(failures) == 60.0
    assert longest(failures, initial=0.001, ceiling=60.0) == 60.0


@given(FRACTIONS)
def test_a_refused_login_is_tried_at_most_four_times_in_ten_minutes(part: float) -> None:
    """fail2ban locks out at the fifth (jail.conf: maxretry 5, findtime 10m)."""
    delay = refused_delay(lambda: part)

    assert 150.0 <= delay <= 300.0
    assert 600.0 / delay <= 4.0


def test_a_refused_login_is_not_tried_by_everybody_at_once() -> None:
    random = of(0.0, 0.5)

    delays = [refused_delay(random), refused_delay(random)]

    assert delays == [REFUSED_RETRY, 1.5 * REFUSED_RETRY]


def test_listening_is_tried_quickly_at_first_and_for_ever_after() -> None:
    delays = [listen_delay(failures) for failures in range(1, 12)]

    assert delays == [0.5, 1.0, 1.0, 2.0, 2.0, 5.0, 5.0, 15.0, 15.0, 15.0, 15.0]
    assert listen_delay(10**6) == LISTEN_RETRIES[-1]


@pytest.mark.parametrize(
    ("rtt_ms", "seconds"),
    [(None, 1.0), (0.0, 1.0), (25.0, 1.1), (250.0, 2.0), (1500.0, 7.0)],  # the last one by satellite
)
def test_a_connection_has_a_second_and_four_round_trips_to_answer(
    rtt_ms: float | None, seconds: float
) -> None:
    assert probe_limit(rtt_ms) == pytest.approx(seconds)
    assert probe_limit(rtt_ms) >= PROBE_LIMIT
