"""A change of a tunnel's state, as history, hooks and notifications are told of it."""

from __future__ import annotations

from typing import NamedTuple

from tunnels.core.state import TunnelState
from tunnels.errors import ErrorInfo


class Transition(NamedTuple):
    """One change."""

    tunnel: str
    before: TunnelState
    after: TunnelState
    at: float  #: seconds since the epoch
    error: ErrorInfo | None = None  #: why, where the change has a reason that is an error
