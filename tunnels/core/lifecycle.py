"""The state machine of a tunnel. Everything that decides about states and transitions lives in this file.

Theory of operation
-------------------
``Lifecycle.handle(event, now)`` changes the state and returns the actions that the shell
(``supervisor.tunnel``) must perform, in order. Nothing in here performs anything: time comes in as
``now`` (monotonic seconds), randomness as a function. What happened is an event, what to do is an action.

Two rules:

1. One table, ``_TABLE``, at the end of the file. A cell that is missing is an illegal event: it raises
   `IllegalEvent` and changes nothing.
2. The shell reports facts of the *present* connection only. A report from a connection that has been
   dropped is thrown away by the shell, so late events need no cells here. `STOPPING` is the exception:
   while a tunnel is being taken down an attempt may still report, and is not listened to.

The way of a tunnel::

    STOPPED --Start--> CONNECTING --Connected--> CONNECTING --Ready--> UP
    CONNECTING --ConnectFailed--> BACKOFF, NEEDS_INPUT or FAILED
    UP, CONNECTING --ConnectionLost--> BACKOFF --RetryDue--> CONNECTING
    NEEDS_INPUT --Answered--> CONNECTING
    any --Stop--> STOPPING --Closed--> STOPPED

Listening sockets are bound when the tunnel leaves STOPPED or FAILED and released when it enters FAILED
or STOPPING; no other transition touches them. That is the whole of "the port is ours until `down`".

"Ready" means: every forward has been tried. One that cannot listen does not hold the tunnel back (its
own retries do that), unless the profile says ``exit_on_forward_failure``: then the shell reports
`ForwardsRefused` instead.

The counter of failures goes back to zero only after the connection has been up for
`backoff.SETTLE_AFTER` seconds, so that a server that accepts and then drops us is not hammered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tunnels.core.backoff import DEMAND_INTERVAL, SETTLE_AFTER, Random, refused_delay, retry_delay
from tunnels.core.profile import Retry
from tunnels.core.state import TunnelState
from tunnels.errors import BadSetting, GaveUp, HostKeyRejected, HostKeyUnknown, TunnelsError

#: A person must look at these first, also after the tunnel has been up.
_NEVER_RETRIED = (HostKeyRejected, HostKeyUnknown, BadSetting)

# --- events: what happened ------------------------------------------------------------------------


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
    """The attempt is over because a person must answer something first."""

    error: TunnelsError


@dataclass(frozen=True, slots=True)
class Answered:
    """The person has answered."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection has ended and nobody asked it to."""

    error: TunnelsError


@dataclass(frozen=True, slots=True)
class RetryDue:
    """The time set by `SetRetry` has come."""


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
    | ConnectionLost | RetryDue | Settled | ClientWaiting | Closed
)
# fmt: on

# --- actions: what the shell must do --------------------------------------------------------------


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
    | CancelTimer
)


class IllegalEvent(Exception):
    """The shell reported something that cannot happen in this state: a bug of ours."""

    def __init__(self, state: TunnelState, event: Event) -> None:
        super().__init__(f"{type(event).__name__} is not possible while {state.value}")


class Lifecycle:
    """The state of one tunnel. Its attributes are for reading; only `handle` changes them."""

    def __init__(self, retry: Retry, *, random: Random) -> None:
        self.state = TunnelState.STOPPED
        self.error: TunnelsError | None = None  #: the last one; kept while UP, cleared by a new Start
        self.attempt = 0  #: attempts since the connection was last settled
        self.retry_at: float | None = None  #: monotonic; only while BACKOFF
        self.reconnects = 0  #: how often the connection came back after a loss
        self.ever_up = False  #: since the last Start from STOPPED or FAILED
        self._retry = retry
        self._random = random
        self._last_attempt_at = 0.0
        self._down_since: float | None = None
        self._hurry = True  # may a waiting client shorten this delay?

    def __repr__(self) -> str:
        return f"<Lifecycle {self.state.value}, attempt {self.attempt}>"

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; return what to do about it, in order.

        Raises IllegalEvent, with nothing changed, where the table has no cell.
        """
        transition = _TABLE.get((self.state, type(event)))
        if transition is None:
            raise IllegalEvent(self.state, event)
        return transition(self, event, now)

    # --- transitions, in the order of the table ---------------------------------------------------

    def _start(self, _event: Event, now: float) -> list[Action]:
        self.error = None
        self.attempt = 0
        self.ever_up = False
        self.reconnects = 0
        self._down_since = now
        return [BindListeners(), *self._dial(now)]

    def _dial(self, now: float) -> list[Action]:
        self.state = TunnelState.CONNECTING
        self.attempt += 1
        self.retry_at = None
        self._last_attempt_at = now
        return [Connect()]

    def _dial_now(self, _event: Event, now: float) -> list[Action]:
        return [CancelTimer(), *self._dial(now)]

    def _connected(self, _event: Event, _now: float) -> list[Action]:
        return [OpenForwards()]

    def _ready(self, _event: Event, now: float) -> list[Action]:
        self.state = TunnelState.UP
        if self.ever_up:
            self.reconnects += 1
        self.ever_up = True
        return [SetSettle(now + SETTLE_AFTER)]

    def _settled(self, _event: Event, _now: float) -> list[Action]:
        self.attempt = 0
        self._down_since = None
        return []

    def _attempt_failed(self, event: Event, now: float) -> list[Action]:
        assert isinstance(event, ConnectFailed)
        return self._back_off_or_fail(event.error, now)

    def _lost(self, event: Event, now: float) -> list[Action]:
        assert isinstance(event, ConnectionLost)
        if self._down_since is None:
            self._down_since = now
        return [CancelTimer(), DropConnection(), *self._back_off(event.error, now)]

    def _forwards_refused(self, event: Event, now: float) -> list[Action]:
        assert isinstance(event, ForwardsRefused)
        if self.ever_up:  # most likely our own old session still holds the port: it will let go
            return [CancelTimer(), DropConnection(), *self._back_off(event.error, now)]
        return [CancelTimer(), DropConnection(), *self._fail(event.error)]

    def _back_off_or_fail(self, error: TunnelsError, now: float) -> list[Action]:
        if error.retryable or (self.ever_up and not isinstance(error, _NEVER_RETRIED)):
            return self._back_off(error, now)
        return self._fail(error)

    def _back_off(self, error: TunnelsError, now: float) -> list[Action]:
        give_up_after = self._retry.give_up_after
        if (
            give_up_after is not None
            and self._down_since is not None
            and now - self._down_since >= give_up_after
        ):
            gave_up = GaveUp(
                f"no connection for {give_up_after:.0f} s (retry.give_up_after); the last error: {error.message}",
                hint=error.hint,
            )
            return self._fail(gave_up)
        self.state = TunnelState.BACKOFF
        self.error = error
        if not error.retryable:  # it worked before, so it may again; but each attempt may count against us
            self._hurry = False
            delay = refused_delay(self._random)
        else:
            self._hurry = True
            delay = retry_delay(
                self.attempt, initial=self._retry.initial, ceiling=self._retry.max, random=self._random
            )
        self.retry_at = now + delay
        return [SetRetry(self.retry_at)]

    def _fail(self, error: TunnelsError) -> list[Action]:
        self.state = TunnelState.FAILED
        self.error = error
        self.retry_at = None
        return [ReleaseListeners(error)]

    def _ask(self, event: Event, _now: float) -> list[Action]:
        assert isinstance(event, InputNeeded)
        self.state = TunnelState.NEEDS_INPUT
        self.error = event.error
        return []

    def _answered(self, _event: Event, now: float) -> list[Action]:
        self.error = None
        return self._dial(now)

    def _client_waiting(self, _event: Event, now: float) -> list[Action]:
        assert self.retry_at is not None
        sooner = max(now, self._last_attempt_at + DEMAND_INTERVAL)
        if not self._hurry or self.retry_at <= sooner:
            return []
        self.retry_at = sooner
        return [SetRetry(sooner)]

    def _stop(self, _event: Event, _now: float) -> list[Action]:
        self.state = TunnelState.STOPPING
        self.retry_at = None
        return [CancelTimer(), CloseAll()]

    def _closed(self, _event: Event, _now: float) -> list[Action]:
        self.state = TunnelState.STOPPED
        self.attempt = 0
        self.error = None
        return []

    def _stay(self, _event: Event, _now: float) -> list[Action]:
        return []


_Transition = Callable[[Lifecycle, Event, float], list[Action]]

_S = TunnelState
_L = Lifecycle

#: The machine. What is not here cannot happen.
_TABLE: dict[tuple[TunnelState, type[Event]], _Transition] = {
    (_S.STOPPED, Start): _L._start,
    (_S.STOPPED, Stop): _L._stay,
    (_S.CONNECTING, Start): _L._stay,
    (_S.CONNECTING, Stop): _L._stop,
    (_S.CONNECTING, Connected): _L._connected,
    (_S.CONNECTING, Ready): _L._ready,
    (_S.CONNECTING, ForwardsRefused): _L._forwards_refused,
    (_S.CONNECTING, ConnectFailed): _L._attempt_failed,
    (_S.CONNECTING, InputNeeded): _L._ask,
    (_S.CONNECTING, ConnectionLost): _L._lost,
    (_S.CONNECTING, ClientWaiting): _L._stay,
    (_S.UP, Start): _L._stay,
    (_S.UP, Stop): _L._stop,
    (_S.UP, ConnectionLost): _L._lost,
    (_S.UP, Settled): _L._settled,
    (_S.UP, ClientWaiting): _L._stay,
    (_S.BACKOFF, Start): _L._dial_now,
    (_S.BACKOFF, Stop): _L._stop,
    (_S.BACKOFF, RetryDue): _L._dial_now,
    (_S.BACKOFF, ClientWaiting): _L._client_waiting,
    (_S.NEEDS_INPUT, Start): _L._answered,  # perhaps the person has mended it by other means
    (_S.NEEDS_INPUT, Stop): _L._stop,
    (_S.NEEDS_INPUT, Answered): _L._answered,
    (_S.NEEDS_INPUT, ClientWaiting): _L._stay,
    (_S.FAILED, Start): _L._start,
    (_S.FAILED, Stop): _L._stop,
    (_S.STOPPING, Start): _L._stay,  # the supervisor waits for STOPPED before it starts a tunnel again
    (_S.STOPPING, Stop): _L._stay,
    (_S.STOPPING, Connected): _L._stay,
    (_S.STOPPING, Ready): _L._stay,
    (_S.STOPPING, ForwardsRefused): _L._stay,
    (_S.STOPPING, ConnectFailed): _L._stay,
    (_S.STOPPING, InputNeeded): _L._stay,
    (_S.STOPPING, ConnectionLost): _L._stay,
    (_S.STOPPING, ClientWaiting): _L._stay,
    (_S.STOPPING, Closed): _L._closed,
}
