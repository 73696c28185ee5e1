"""What can happen to a tunnel: what its state machine (``core.lifecycle``) is told."""

from __future__ import annotations

from dataclasses import dataclass

from tunnels.errors import TunnelsError


@dataclass(frozen=True, slots=True)
class Start:
    """Somebody wants the tunnel up, and up now."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody wants the tunnel down."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The SSH connection is made and logged in."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Every forward has been tried on this connection."""


@dataclass(frozen=True, slots=True)
class ForwardsRefused:
    """A forward cannot listen and the profile says ``exit_on_forward_failure``."""

    error: TunnelsError


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """The attempt is over, without a connection."""

    error: TunnelsError


@dataclass(frozen=True, slots=True)
class InputNeeded:
    """A person must answer something first: the attempt is over because of that, or it waits for the answer."""

    error: TunnelsError
    waits: bool = False  #: the attempt is still there and goes on with the answer


@dataclass(frozen=True, slots=True)
class Answered:
    """The person has answered."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection has ended and nobody asked it to."""

    error: TunnelsError
    network_changed: bool = False  #: this machine's own network is why, so there is nobody to be in step with


@dataclass(frozen=True, slots=True)
class RetryDue:
    """The time set by `SetRetry` has come."""

    clients: bool = True  #: whether somebody waits; matters on demand only


@dataclass(frozen=True, slots=True)
class Explained:
    """Why the last attempt failed, or why this one gets nowhere, is known better now."""

    error: TunnelsError


@dataclass(frozen=True, slots=True)
class Offline:
    """There is no route to the host."""


@dataclass(frozen=True, slots=True)
class PathChanged:
    """There is a route to the host again, or another one, or the machine has slept."""


@dataclass(frozen=True, slots=True)
class Unused:
    """The connection has had no clients for ``idle_timeout``."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The time set by `SetSettle` has come."""


@dataclass(frozen=True, slots=True)
class ClientWaiting:
    """A client is being held; it makes no sense to let it wait for a long delay."""


@dataclass(frozen=True, slots=True)
class Closed:
    """All that `CloseAll` began has ended."""


# fmt: off
Event = (
    Start | Stop | Connected | Ready | ForwardsRefused | ConnectFailed | InputNeeded | Answered
    | ConnectionLost | RetryDue | Settled | ClientWaiting | Explained | Offline | PathChanged | Unused
    | Closed
)
# fmt: on
