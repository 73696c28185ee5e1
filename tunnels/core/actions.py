"""What the state machine of a tunnel (``core.lifecycle``) wants done by its shell (``supervisor.tunnel``)."""

from __future__ import annotations

from dataclasses import dataclass

from tunnels.errors import TunnelsError


@dataclass(frozen=True, slots=True)
class BindListeners:
    """Bind the local listening sockets; a forward that cannot keeps trying by itself."""


@dataclass(frozen=True, slots=True)
class ReleaseListeners:
    """Close the local listening sockets and turn away whoever waits at them."""

    error: TunnelsError


@dataclass(frozen=True, slots=True)
class Connect:
    """Begin an attempt; report `Connected`, `ConnectFailed` or `InputNeeded`."""


@dataclass(frozen=True, slots=True)
class OpenForwards:
    """Let clients through the new connection and ask for the remote listeners; report `Ready`."""


@dataclass(frozen=True, slots=True)
class DropConnection:
    """End the attempt or the connection there is, if any; no report is wanted."""


@dataclass(frozen=True, slots=True)
class CloseAll:
    """End the attempt, the connection, the listeners and every client; report `Closed`."""


@dataclass(frozen=True, slots=True)
class SetRetry:
    """Report `RetryDue` at this (monotonic) time. There is one timer: this replaces what was set."""

    at: float


@dataclass(frozen=True, slots=True)
class SetSettle:
    """Report `Settled` at this (monotonic) time. There is one timer: this replaces what was set."""

    at: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Find out, in a short time, whether the connection still works; report `ConnectionLost` if not."""


@dataclass(frozen=True, slots=True)
class WatchClients:
    """Report `Unused` when the connection has had no clients for ``idle_timeout``."""


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """Forget the timer."""


Action = (
    BindListeners
    | ReleaseListeners
    | Connect
    | OpenForwards
    | DropConnection
    | CloseAll
    | SetRetry
    | SetSettle
    | Probe
    | WatchClients
    | CancelTimer
)
