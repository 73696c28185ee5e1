"""One timer: it rings once, at the time that was said last."""

from __future__ import annotations

from tests.fakes import Clock
from tunnels.supervisor.alarm import Alarm


class Rung:
    """An alarm, and what has rung."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.alarm = Alarm(self.clock)  # type: ignore[arg-type]  # as much of a loop as it looks at
        self.heard: list[str] = []

    def set(self, seconds: float, name: str) -> None:
        self.alarm.set(self.clock.time() + seconds, lambda: self.heard.append(name))


def test_it_rings_at_its_time_and_once() -> None:
    rung = Rung()
    rung.set(10, "a")
    rung.clock.advance(9.9)
    assert rung.heard == []
    rung.clock.advance(0.1)
    assert rung.heard == ["a"]
    rung.clock.advance(100)
    assert rung.heard == ["a"]


def test_the_last_word_counts_sooner_or_later() -> None:
    for seconds in (5, 20):
        rung = Rung()
        rung.set(10, "first")
        rung.set(seconds, "last")
        rung.clock.advance(100)
        assert rung.heard == ["last"]


def test_it_does_not_ring_after_it_was_cancelled() -> None:
    rung = Rung()
    rung.set(10, "a")
    rung.alarm.cancel()
    rung.alarm.cancel()  # nothing is set, which is no mistake
    rung.clock.advance(100)
    assert rung.heard == []


def test_it_can_be_set_while_it_rings() -> None:
    rung = Rung()

    def again() -> None:
        rung.heard.append("a")
        rung.set(10, "b")

    rung.alarm.set(rung.clock.time() + 10, again)
    rung.clock.advance(10)
    assert rung.heard == ["a"]
    assert rung.clock.alarms == [10]
    rung.clock.advance(10)
    assert rung.heard == ["a", "b"]


def test_what_is_set_while_it_rings_can_be_cancelled() -> None:
    rung = Rung()
    rung.alarm.set(rung.clock.time() + 10, lambda: rung.set(10, "b"))
    rung.clock.advance(10)
    rung.alarm.cancel()
    rung.clock.advance(100)
    assert rung.heard == []


def test_what_has_rung_is_not_held_on_to() -> None:
    rung = Rung()
    rung.set(1, "a")
    rung.clock.advance(1)
    assert rung.alarm._handle is None
