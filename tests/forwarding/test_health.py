"""What a destination answered last, as a status tells it."""

from __future__ import annotations

from tests.fakes import Signal
from tunnels.core.status import DestinationStatus
from tunnels.errors import DialError, DialReason
from tunnels.forwarding.health import Health

REFUSED = DialError("db:5432: Connection refused", reason=DialReason.REFUSED)


def health(changes: Signal | None = None) -> Health:
    return Health(changes or Signal(), wall_clock=lambda: 1000.0)


async def test_before_anybody_has_asked_nothing_is_known() -> None:
    assert health().status() is None


async def test_failures_are_counted_until_it_answers() -> None:
    changes = Signal()
    db = health(changes)
    for _ in range(3):
        db.refused(REFUSED)
    assert db.status() == DestinationStatus(3, 1000.0, "refused", "db:5432: Connection refused")
    assert changes.count == 3
    db.answered()
    assert db.status() == DestinationStatus(0, 1000.0)
    assert changes.count == 4
    db.refused(DialError("too late", reason=DialReason.TIMED_OUT))
    assert db.status() == DestinationStatus(1, 1000.0, "timed-out", "too late")


async def test_a_success_after_a_success_is_no_news() -> None:
    changes = Signal()
    db = health(changes)
    db.answered()
    db.answered()
    assert changes.count == 0


async def test_a_tunnel_that_is_not_connected_says_nothing_about_the_destination() -> None:
    db = health()
    db.refused(DialError("not connected", reason=DialReason.LINK_DOWN))
    assert db.status() is None
