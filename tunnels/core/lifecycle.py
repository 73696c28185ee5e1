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
    CONNECTING --InputNeeded--> NEEDS_INPUT --Answered--> CONNECTING
    any --Stop--> STOPPING --Closed--> STOPPED
    on demand: STOPPED --Start--> IDLE --ClientWaiting--> CONNECTING, UP --Unused--> IDLE

Listening sockets are bound when the tunnel leaves STOPPED or FAILED and released when it enters FAILED
or STOPPING; no other transition touches them. That is the whole of "the port is ours until `down`".

"Ready" means: every forward has been tried. One that cannot listen does not hold the tunnel back (its
own retries do that), unless the profile says ``exit_on_forward_failure``: then the shell reports
`ForwardsRefused` instead.

An attempt that waits for an answer (a server has asked for a password) goes on with it; if it ends before,
because the server does not wait for ever, the tunnel goes on needing a person and does not dial by itself:
a server that sees a login begin and end every two minutes takes us for a burglar. A tunnel that came up
without any answer before is tried again, slowly: what it is asked now may be the server's own trouble.

The network
-----------
`Offline` and `PathChanged` say whether there is a way to the host, as far as this machine can tell. While
there is none, attempts neither count nor use up ``give_up_after``; one is made now and then all the same,
because the machine may be wrong, and as often as ever while a client waits. A connection that is up is
kept: most interruptions are shorter than TCP's patience. When there is a way again, or another one, what
waits dials at once, and what is up is probed. A `CaptivePortal` is no way either.

The counter of failures goes back to zero only after the connection has been up for
`backoff.SETTLE_AFTER` seconds, so that a server that accepts and then drops us is not hammered.
"""

from __future__ import annotations

from collections.abc import Callable

from tunnels.core import actions as do
from tunnels.core import events as ev
from tunnels.core.backoff import (
    CHANGE_INTERVAL,
    DEMAND_INTERVAL,
    OFFLINE_RETRY,
    SETTLE_AFTER,
    Random,
    is_retried,
    next_delay,
)
from tunnels.core.patience import Patience
from tunnels.core.profile import Retry
from tunnels.core.state import TunnelState
from tunnels.errors import CaptivePortal, GaveUp, TunnelsError


class IllegalEvent(Exception):
    """The shell reported something that cannot happen in this state: a bug of ours."""

    def __init__(self, state: TunnelState, event: ev.Event) -> None:
        super().__init__(f"{type(event).__name__} is not possible while {state.value}")


class Lifecycle:
    """The state of one tunnel. Its attributes are for reading; only `handle` changes them."""

    def __init__(
        self, retry: Retry, *, random: Random, on_demand: bool = False, hangs_up: bool = False
    ) -> None:
        self.state = TunnelState.STOPPED
        self.error: TunnelsError | None = None  #: the last one; kept while UP, cleared by a new Start
        self.attempt = 0  #: attempts since the connection was last settled
        self.retry_at: float | None = None  #: monotonic; only while BACKOFF
        self.reconnects = 0  #: how often the connection came back after a loss
        self.ever_up = False  #: since the last Start from STOPPED or FAILED
        self.online = True  #: there is a route to the host, as far as this machine can tell
        self._retry = retry
        self._random = random
        self._on_demand = on_demand  # connects only while clients want it
        self._hangs_up = hangs_up  # has an idle_timeout
        self._last_attempt_at = 0.0
        self._lost_since_up = False
        self._patience = Patience()
        self._hurry = True  # may a waiting client shorten this delay?
        self._attempt_waits = False  # for an answer; only while NEEDS_INPUT
        self._answers = 0  # that a person has given since the last Start from STOPPED or FAILED

    def __repr__(self) -> str:
        return f"<Lifecycle {self.state.value}, attempt {self.attempt}>"

    def handle(self, event: ev.Event, now: float) -> list[do.Action]:
        """Take one event; return what to do about it, in order.

        Raises IllegalEvent, with nothing changed, where the table has no cell.
        """
        transition = _TABLE.get((self.state, type(event)))
        if transition is None:
            raise IllegalEvent(self.state, event)
        return transition(self, event, now)

    # --- transitions, in the order of the table ---------------------------------------------------

    def _start(self, _event: ev.Event, now: float) -> list[do.Action]:
        self.error = None
        self.attempt = 0
        self.ever_up = False
        self._answers = 0
        self._lost_since_up = False
        self.reconnects = 0
        self.online = True  # until the shell says otherwise
        self._patience.start(now, counting=True)
        if self._on_demand:
            self.state = TunnelState.IDLE
            return [do.BindListeners()]
        return [do.BindListeners(), *self._dial(now)]

    def _dial(self, now: float) -> list[do.Action]:
        self.state = TunnelState.CONNECTING
        self.attempt += 1
        self.retry_at = None
        self._last_attempt_at = now
        return [do.Connect()]

    def _dial_now(self, _event: ev.Event, now: float) -> list[do.Action]:
        return [do.CancelTimer(), *self._dial(now)]

    def _connected(self, _event: ev.Event, now: float) -> list[do.Action]:
        self.online = True  # whatever this machine thinks of its routes
        self._patience.go_on(now)
        return [do.OpenForwards()]

    def _ready(self, _event: ev.Event, now: float) -> list[do.Action]:
        self.state = TunnelState.UP
        if self._lost_since_up:
            self.reconnects += 1
        self._lost_since_up = False
        self.ever_up = True
        return [do.SetSettle(now + SETTLE_AFTER), *([do.WatchClients()] if self._hangs_up else [])]

    def _unused(self, _event: ev.Event, _now: float) -> list[do.Action]:
        return [do.CancelTimer(), do.DropConnection(), *self._idle()]

    def _idle(self) -> list[do.Action]:
        self.state = TunnelState.IDLE
        self.attempt = 0
        self.retry_at = None
        self._lost_since_up = False
        return []

    def _settled(self, _event: ev.Event, _now: float) -> list[do.Action]:
        self.attempt = 0
        self._patience.end()
        return []

    def _attempt_failed(self, event: ev.Event, now: float) -> list[do.Action]:
        assert isinstance(event, ev.ConnectFailed | ev.Explained)
        if isinstance(event.error, CaptivePortal):
            self._went_offline(event, now)
        if not self.online:
            self.attempt = max(0, self.attempt - 1)
        return self._back_off_or_fail(event.error, now)

    def _lost(self, event: ev.Event, now: float) -> list[do.Action]:
        assert isinstance(event, ev.ConnectionLost)
        if not self._patience.running:
            self._patience.start(now, counting=self.online)
        self._lost_since_up = self.ever_up
        at_once = event.network_changed and self.online
        return [do.CancelTimer(), do.DropConnection(), *self._back_off(event.error, now, at_once=at_once)]

    def _explained(self, event: ev.Event, now: float) -> list[do.Action]:
        assert isinstance(event, ev.Explained)
        if self.state is TunnelState.BACKOFF and (event.error.retryable or not self.ever_up):
            return [do.CancelTimer(), *self._attempt_failed(event, now)]
        if isinstance(event.error, CaptivePortal):  # who knows: the attempt may get through all the same
            self.error = event.error
            self._went_offline(event, now)
        return []

    def _forwards_refused(self, event: ev.Event, now: float) -> list[do.Action]:
        assert isinstance(event, ev.ForwardsRefused)
        self._lost_since_up = self.ever_up
        if self.ever_up:  # most likely our own old session still holds the port: it will let go
            return [do.CancelTimer(), do.DropConnection(), *self._back_off(event.error, now)]
        return [do.CancelTimer(), do.DropConnection(), *self._fail(event.error)]

    def _back_off_or_fail(self, error: TunnelsError, now: float) -> list[do.Action]:
        if is_retried(error, ever_up=self.ever_up):
            return self._back_off(error, now)
        return self._fail(error)

    def _back_off(self, error: TunnelsError, now: float, *, at_once: bool = False) -> list[do.Action]:
        give_up_after = self._retry.give_up_after
        if give_up_after is not None and self._patience.exceeds(give_up_after, now):
            gave_up = GaveUp(
                f"no connection for {give_up_after:.0f} s (retry.give_up_after); the last error: {error.message}",
                hint=error.hint,
            )
            return self._fail(gave_up)
        self.state = TunnelState.BACKOFF
        self.error = error
        self._hurry = error.retryable
        delay = next_delay(error, self.attempt, self._retry, online=self.online, random=self._random)
        self.retry_at = now if at_once else now + delay
        return [do.SetRetry(self.retry_at)]

    def _fail(self, error: TunnelsError) -> list[do.Action]:
        self.state = TunnelState.FAILED
        self.error = error
        self.retry_at = None
        return [do.ReleaseListeners(error)]

    def _ask(self, event: ev.Event, now: float) -> list[do.Action]:
        assert isinstance(event, ev.InputNeeded)
        self.state = TunnelState.NEEDS_INPUT
        self.error = event.error
        self._attempt_waits = event.waits
        self._patience.stop(now)
        return []

    def _answered(self, event: ev.Event, now: float) -> list[do.Action]:
        if isinstance(event, ev.Answered):
            self._answers += 1
        elif self._attempt_waits:  # somebody who wants it up finds the question open
            return []
        self.error = None
        if self.online:
            self._patience.go_on(now)
        if not self._attempt_waits:
            return self._dial(now)
        self._attempt_waits = False
        self.state = TunnelState.CONNECTING
        return []

    def _answered_elsewhere(self, event: ev.Event, now: float) -> list[do.Action]:
        """Others share the attempt; it went on with the answer of one of them as this one began to wait."""
        if not self._attempt_waits:
            raise IllegalEvent(self.state, event)
        return [*self._answered(ev.Answered(), now), *self.handle(event, now)]

    def _waited_in_vain(self, event: ev.Event, now: float) -> list[do.Action]:
        assert isinstance(event, ev.ConnectFailed)
        if not self._attempt_waits:
            raise IllegalEvent(self.state, event)
        self._attempt_waits = False
        if self.ever_up and not self._answers:
            assert self.error is not None
            return self._back_off(self.error, now)
        return []

    def _retry_due(self, event: ev.Event, now: float) -> list[do.Action]:
        assert isinstance(event, ev.RetryDue)
        if self._on_demand and not event.clients:  # whoever wanted it has given up
            return self._idle()
        return self._dial_now(event, now)

    def _client_waiting(self, _event: ev.Event, now: float) -> list[do.Action]:
        if isinstance(self.error, CaptivePortal):  # whose end is looked for all the time
            return []
        return self._sooner(now, DEMAND_INTERVAL)

    def _wanted(self, _event: ev.Event, now: float) -> list[do.Action]:
        self._patience.start(now, counting=self.online)
        return self._dial(now)

    def _sooner(self, now: float, interval: float) -> list[do.Action]:
        """Dial as soon as ``interval`` has passed since the last attempt, unless that might be held against us."""
        assert self.retry_at is not None
        sooner = max(now, self._last_attempt_at + interval)
        if not self._hurry or self.retry_at <= sooner:
            return []
        self.retry_at = sooner
        return [do.SetRetry(sooner)]

    # --- the network ------------------------------------------------------------------------------

    def _went_offline(self, _event: ev.Event, now: float) -> list[do.Action]:
        self.online = False
        self._patience.stop(now)
        return []

    def _wait_for_network(self, event: ev.Event, now: float) -> list[do.Action]:
        assert self.retry_at is not None
        if not self.online:
            return []
        self._went_offline(event, now)
        self.retry_at = max(self.retry_at, now + OFFLINE_RETRY)
        return [do.SetRetry(self.retry_at)]

    def _came_online(self, _event: ev.Event, now: float) -> list[do.Action]:
        if not self.online:
            self.online = True
            if self.state is not TunnelState.NEEDS_INPUT:
                self._patience.go_on(now)
        return []

    def _probe(self, event: ev.Event, now: float) -> list[do.Action]:
        return [*self._came_online(event, now), do.Probe()]

    def _dial_on_new_path(self, event: ev.Event, now: float) -> list[do.Action]:
        self._came_online(event, now)
        return self._sooner(now, CHANGE_INTERVAL)

    def _dial_again(self, event: ev.Event, now: float) -> list[do.Action]:
        """The attempt goes where there is nobody any more, and would wait for its time to be over."""
        self._came_online(event, now)
        self.attempt = max(0, self.attempt - 1)
        return [do.CancelTimer(), do.DropConnection(), *self._dial(now)]

    def _stop(self, _event: ev.Event, _now: float) -> list[do.Action]:
        self.state = TunnelState.STOPPING
        self.retry_at = None
        return [do.CancelTimer(), do.CloseAll()]

    def _closed(self, _event: ev.Event, _now: float) -> list[do.Action]:
        self.state = TunnelState.STOPPED
        self.attempt = 0
        self.error = None
        return []

    def _stay(self, _event: ev.Event, _now: float) -> list[do.Action]:
        return []


_Transition = Callable[[Lifecycle, ev.Event, float], list[do.Action]]
_S = TunnelState
_L = Lifecycle
#: The machine. What is not here cannot happen.
_TABLE: dict[tuple[TunnelState, type[ev.Event]], _Transition] = {
    (_S.STOPPED, ev.Start): _L._start,
    (_S.STOPPED, ev.Stop): _L._stay,
    (_S.CONNECTING, ev.Start): _L._stay,
    (_S.CONNECTING, ev.Stop): _L._stop,
    (_S.CONNECTING, ev.Connected): _L._connected,
    (_S.CONNECTING, ev.Ready): _L._ready,
    (_S.CONNECTING, ev.ForwardsRefused): _L._forwards_refused,
    (_S.CONNECTING, ev.ConnectFailed): _L._attempt_failed,
    (_S.CONNECTING, ev.InputNeeded): _L._ask,
    (_S.CONNECTING, ev.ConnectionLost): _L._lost,
    (_S.CONNECTING, ev.ClientWaiting): _L._stay,
    (_S.CONNECTING, ev.Explained): _L._explained,
    (_S.CONNECTING, ev.Offline): _L._went_offline,
    (_S.CONNECTING, ev.PathChanged): _L._dial_again,
    (_S.UP, ev.Start): _L._stay,
    (_S.UP, ev.Stop): _L._stop,
    (_S.UP, ev.ConnectionLost): _L._lost,
    (_S.UP, ev.Settled): _L._settled,
    (_S.UP, ev.ClientWaiting): _L._stay,
    (_S.UP, ev.Offline): _L._went_offline,
    (_S.UP, ev.PathChanged): _L._probe,
    (_S.UP, ev.Unused): _L._unused,
    (_S.IDLE, ev.Start): _L._stay,
    (_S.IDLE, ev.Stop): _L._stop,
    (_S.IDLE, ev.ClientWaiting): _L._wanted,
    (_S.IDLE, ev.ForwardsRefused): _L._forwards_refused,
    (_S.IDLE, ev.Offline): _L._went_offline,
    (_S.IDLE, ev.PathChanged): _L._came_online,
    (_S.BACKOFF, ev.Start): _L._dial_now,
    (_S.BACKOFF, ev.Stop): _L._stop,
    (_S.BACKOFF, ev.RetryDue): _L._retry_due,
    (_S.BACKOFF, ev.ClientWaiting): _L._client_waiting,
    (_S.BACKOFF, ev.Explained): _L._explained,
    (_S.BACKOFF, ev.Offline): _L._wait_for_network,
    (_S.BACKOFF, ev.PathChanged): _L._dial_on_new_path,
    (_S.NEEDS_INPUT, ev.Start): _L._answered,  # perhaps the person has mended it by other means
    (_S.NEEDS_INPUT, ev.Stop): _L._stop,
    (_S.NEEDS_INPUT, ev.Answered): _L._answered,
    (_S.NEEDS_INPUT, ev.Connected): _L._answered_elsewhere,
    (_S.NEEDS_INPUT, ev.InputNeeded): _L._answered_elsewhere,
    (_S.NEEDS_INPUT, ev.ConnectFailed): _L._waited_in_vain,
    (_S.NEEDS_INPUT, ev.ClientWaiting): _L._stay,
    (_S.NEEDS_INPUT, ev.Offline): _L._went_offline,
    (_S.NEEDS_INPUT, ev.PathChanged): _L._came_online,
    (_S.FAILED, ev.Start): _L._start,
    (_S.FAILED, ev.Stop): _L._stop,
    (_S.STOPPING, ev.Start): _L._stay,  # the supervisor waits for STOPPED before it starts a tunnel again
    (_S.STOPPING, ev.Stop): _L._stay,
    (_S.STOPPING, ev.Connected): _L._stay,
    (_S.STOPPING, ev.Ready): _L._stay,
    (_S.STOPPING, ev.ForwardsRefused): _L._stay,
    (_S.STOPPING, ev.ConnectFailed): _L._stay,
    (_S.STOPPING, ev.InputNeeded): _L._stay,
    (_S.STOPPING, ev.ConnectionLost): _L._stay,
    (_S.STOPPING, ev.ClientWaiting): _L._stay,
    (_S.STOPPING, ev.Closed): _L._closed,
}
