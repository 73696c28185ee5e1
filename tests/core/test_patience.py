"""How long a tunnel has been down by the fault of its host."""

from __future__ import annotations

from tunnels.core.patience import Patience


def test_it_is_over_when_that_much_time_has_been_counted() -> None:
    patience = Patience()
    patience.start(100.0, counting=True)
    assert patience.running
    assert not patience.exceeds(10.0, 109.9)
    assert patience.exceeds(10.0, 110.0)


def test_time_that_is_nobodys_fault_does_not_count() -> None:
    patience = Patience()
    patience.start(100.0, counting=True)
    patience.stop(105.0)
    patience.stop(150.0)  # stopped once is stopped
    assert not patience.exceeds(10.0, 1000.0)
    patience.go_on(1000.0)
    assert not patience.exceeds(10.0, 1004.9)
    assert patience.exceeds(10.0, 1005.0)


def test_it_may_begin_without_counting() -> None:
    patience = Patience()
    patience.start(100.0, counting=False)
    patience.go_on(200.0)
    assert not patience.exceeds(10.0, 209.0)
    assert patience.exceeds(10.0, 210.0)


def test_what_is_up_again_is_not_counted() -> None:
    patience = Patience()
    patience.start(100.0, counting=True)
    patience.end()
    assert not patience.running
    assert not patience.exceeds(0.0, 1000.0)
