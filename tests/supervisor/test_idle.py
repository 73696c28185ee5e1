"""A connection without clients is ended when its time is over, and not a second before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from tests.fakes import Clock
from tunnels.supervisor.forwards import Forwards
from tunnels.supervisor.idle import IdleWatch

TIMEOUT = 600.0


class Rig:
    """A watch over forwards that have as many clients as the test says."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.forwards = SimpleNamespace(clients=0, last_client_at=0.0)
        self.unused = 0
        self.watch = IdleWatch(
            cast("Forwards", self.forwards),
            TIMEOUT,
            self._unused,
            loop=self.clock,  # type: ignore[arg-type]  # as much of it as a watch looks at
        )

    def _unused(self) -> None:
        self.unused += 1

    def client_for(self, seconds: float) -> None:
        self.forwards.clients += 1
        self.clock.advance(seconds)
        self.forwards.clients -= 1
        self.forwards.last_client_at = self.clock.time()


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.watch.start()
    return rig


def test_it_is_said_once_when_nobody_has_come(rig: Rig) -> None:
    rig.clock.advance(TIMEOUT - 0.1)
    assert rig.unused == 0
    rig.clock.advance(0.1)
    assert rig.unused == 1
    rig.clock.advance(10 * TIMEOUT)
    assert rig.unused == 1


@pytest.mark.parametrize("stay", [1.0, TIMEOUT - 1, TIMEOUT, 10 * TIMEOUT + 7])
def test_the_time_begins_when_the_last_client_goes(rig: Rig, stay: float) -> None:
    rig.client_for(stay)
    rig.clock.advance(TIMEOUT - 0.1)
    assert rig.unused == 0
    rig.clock.advance(0.1)
    assert rig.unused == 1


def test_a_client_that_stays_keeps_it_for_ever(rig: Rig) -> None:
    rig.forwards.clients = 1
    rig.clock.advance(100 * TIMEOUT)
    assert rig.unused == 0


def test_clients_that_come_and_go_cost_no_timers(rig: Rig) -> None:
    for _ in range(1000):
        rig.client_for(0.5)
    assert len(rig.clock.alarms) == 1


def test_a_client_of_the_connection_before_does_not_count(rig: Rig) -> None:
    rig.client_for(1)
    rig.watch.stop()
    rig.clock.advance(100 * TIMEOUT)
    rig.watch.start()
    rig.clock.advance(TIMEOUT - 0.1)
    assert rig.unused == 0


def test_nothing_is_said_after_the_connection_has_gone(rig: Rig) -> None:
    rig.watch.stop()
    rig.clock.advance(10 * TIMEOUT)
    assert rig.unused == 0


def test_each_connection_has_its_time_from_the_beginning(rig: Rig) -> None:
    rig.clock.advance(TIMEOUT - 1)
    rig.watch.start()
    rig.clock.advance(TIMEOUT - 1)
    assert (rig.unused, rig.clock.alarms) == (0, [1])
