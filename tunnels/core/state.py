"""The states of a tunnel and of a forward: the words that everybody uses, apart from the machine that decides."""

from __future__ import annotations

import enum


class TunnelState(enum.Enum):
    """Where a tunnel stands."""

    STOPPED = "stopped"  #: nothing runs, nothing is bound
    CONNECTING = "connecting"  #: an attempt is under way
    UP = "up"  #: the connection stands and every forward has been tried
    IDLE = "idle"  #: on demand: the ports are open, and the first client has the connection made
    BACKOFF = "backoff"  #: will dial again by itself
    NEEDS_INPUT = "needs-input"  #: waits for a person
    FAILED = "failed"  #: a person must change something; nothing is bound
    STOPPING = "stopping"  #: being taken down


#: In these a client of the tunnel is served, at once or as soon as it is there.
WORKING = frozenset({TunnelState.UP, TunnelState.IDLE})


class ForwardState(enum.Enum):
    """Where a forward stands."""

    PENDING = "pending"  #: not tried yet, or waits for the connection
    LISTENING = "listening"
    FAILED = "failed"  #: cannot listen; tried again by itself
