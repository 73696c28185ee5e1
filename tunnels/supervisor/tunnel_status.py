"""A tunnel as it stands at a moment: from what it knows of itself to the snapshot that others see."""

from __future__ import annotations

from tunnels.core.lifecycle import Lifecycle
from tunnels.core.profile import Profile
from tunnels.core.question import Question
from tunnels.core.state import TunnelState
from tunnels.core.status import ForwardStatus, TunnelStatus
from tunnels.errors import CaptivePortal
from tunnels.supervisor.connector import Connection


def status_of(
    profile: Profile,
    machine: Lifecycle,
    connection: Connection | None,
    *,
    since: float,
    offset: float,
    forwards: tuple[ForwardStatus, ...],
    question: Question | None,
) -> TunnelStatus:
    """Take the snapshot. ``since`` is in seconds since the epoch; ``offset`` makes them of monotonic ones."""
    return TunnelStatus(
        name=profile.name,
        host=profile.host,
        state=machine.state,
        since=since,
        attempt=0 if machine.state is TunnelState.UP else machine.attempt,
        retry_at=None if machine.retry_at is None else machine.retry_at + offset,
        error=None if machine.error is None else machine.error.info,
        rtt_ms=None if connection is None else connection.rtt_ms,
        reconnects=machine.reconnects,
        cipher=None if connection is None else connection.cipher,
        forwards=forwards,
        question=question,
        # Behind a login page there is a network, and the error says what is wrong with it.
        offline=not machine.online and not isinstance(machine.error, CaptivePortal),
    )
