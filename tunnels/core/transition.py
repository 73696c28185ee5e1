"""A change of a tunnel's state, as history, hooks and notifications are told of it."""

from __future__ import annotations

from typing import NamedTuple

from tunnels.core.state import TunnelState
from tunnels.errors import ErrorInfo, TunnelsError

#: An error is why a tunnel is in one of these; in the others it is only the last one there was.
_WITH_A_REASON = frozenset({TunnelState.BACKOFF, TunnelState.FAILED, TunnelState.NEEDS_INPUT})


class Transition(NamedTuple):
    """One change."""

    tunnel: str
    before: TunnelState
    after: TunnelState
    at: float  #: seconds since the epoch
    error: ErrorInfo | None = None  #: why, where the change has a reason that is an error


def transition(
    tunnel: str, before: TunnelState, after: TunnelState, at: float, last_error: TunnelsError | None
) -> Transition:
    """The change of a tunnel whose last error is ``last_error``."""
    why = last_error.info if last_error is not None and after in _WITH_A_REASON else None
    return Transition(tunnel, before, after, at, why)
