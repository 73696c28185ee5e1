"""One running tunnel: performs what its `Lifecycle` decides, and tells it what happened.

The decisions are all in ``core.lifecycle``; in here are the things it decides about: the listening
sockets and the remote listeners, the attempt or the connection of the moment, one timer, the door.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tunnels.core import lifecycle as lc
from tunnels.core.address import Address
from tunnels.core.backoff import Random
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.lifecycle import Lifecycle
from tunnels.core.profile import Profile
from tunnels.core.question import PersonNeeded, Question
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import TunnelStatus
from tunnels.core.transition import Transition
from tunnels.errors import (
    AlreadyAnswered,
    ConnectionLost,
    DialError,
    ErrorInfo,
    HostUnreachable,
    InternalError,
    ListenError,
    TunnelsError,
)
from tunnels.forwarding.door import Door
from tunnels.forwarding.dynamic import DynamicForwarder
from tunnels.forwarding.forwarder import Forwarder
from tunnels.forwarding.local import ListeningForwarder, LocalForwarder
from tunnels.forwarding.remote import RemoteForwarder
from tunnels.supervisor.connector import Connection, Connector
from tunnels.tasks import TaskScope

#: Told of every change of a tunnel's state. It must not raise, and not take long.
Observer = Callable[[Profile, Transition], None]

_WITH_A_REASON = frozenset({TunnelState.BACKOFF, TunnelState.FAILED, TunnelState.NEEDS_INPUT})

#: Seconds for a connection to close; `ssh.connection` allows itself less, and another connector may hang.
CLOSE_TIMEOUT = 6.0


class TunnelLog(logging.LoggerAdapter[logging.Logger]):
    """Every line of a tunnel carries its name."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.getLogger("tunnels.tunnel"), {"tunnel": name})


class Tunnel:
    """A profile that is running. All methods are called in the event loop's thread."""

    def __init__(
        self,
        profile: Profile,
        connector: Connector,
        *,
        random: Random,
        wall_clock: Callable[[], float],
        on_change: Callable[[], None],
        observer: Observer = lambda _profile, _transition: None,
    ) -> None:
        self.profile = profile
        self._connector = connector
        self._wall_clock = wall_clock
        self._on_change = on_change
        self._observer = observer
        self._log = TunnelLog(profile.name)
        self._loop = asyncio.get_running_loop()
        self._lifecycle = Lifecycle(profile.retry, random=random)
        self._since = wall_clock()
        self._scope = TaskScope(profile.name)
        self._door = Door(profile.hold, on_waiting=self._client_waits)
        self._listening: list[ListeningForwarder] = []
        self._remote: list[RemoteForwarder] = []
        self._forwarders = [self._forwarder(forward) for forward in profile.forwards]
        self._connection: Connection | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._binding: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._person: PersonNeeded | None = None
        self._stopped = asyncio.Event()
        self._stopped.set()
        self._queue: list[lc.Event] = []
        self._handling = False

    def __repr__(self) -> str:
        return f"<Tunnel {self.profile.name}: {self.state.value}, {len(self._forwarders)} forwards>"

    @property
    def state(self) -> TunnelState:
        """Where the tunnel stands."""
        return self._lifecycle.state

    # --- what others want of it -------------------------------------------------------------------

    def start(self) -> None:
        """Bring it up, or dial at once if it is waiting to. Returns at once."""
        self._stopped.clear()
        self._feed(lc.Start())

    async def stop(self) -> None:
        """Take it down; when this returns its ports are free."""
        self._feed(lc.Stop())
        await self._stopped.wait()

    def answer(self, question_id: str, answer: str) -> None:
        """Take a person's answer. Raises UsageError where nothing, or something else, was asked."""
        person = self._person if self.state is TunnelState.NEEDS_INPUT else None
        if person is None or person.question.id != question_id:
            raise AlreadyAnswered(
                f"{self.profile.name} no longer waits for this answer", hint="look at `tunnels status`"
            )
        person.take(answer)
        self._person = None
        self._feed(lc.Answered())

    def status(self) -> TunnelStatus:
        """The tunnel as it stands now."""
        machine = self._lifecycle
        retry_at = machine.retry_at
        return TunnelStatus(
            name=self.profile.name,
            host=self.profile.host,
            state=machine.state,
            since=self._since,
            attempt=0 if machine.state is TunnelState.UP else machine.attempt,
            retry_at=None if retry_at is None else self._wall_clock() + retry_at - self._loop.time(),
            error=None if machine.error is None else machine.error.info,
            rtt_ms=None if self._connection is None else self._connection.rtt_ms,
            reconnects=machine.reconnects,
            cipher=None if self._connection is None else self._connection.cipher,
            forwards=tuple(forwarder.status() for forwarder in self._forwarders),
            question=self._question(),
        )

    def _question(self) -> Question | None:
        return (
            self._person.question
            if self._person is not None and self.state is TunnelState.NEEDS_INPUT
            else None
        )

    # --- the machine ------------------------------------------------------------------------------

    def _feed(self, event: lc.Event) -> None:
        """Give the machine an event and do what it says. Events that this causes wait for their turn."""
        self._queue.append(event)
        if self._handling:
            return
        self._handling = True
        try:
            while self._queue:
                self._handle(self._queue.pop(0))
        finally:
            self._handling = False
        self._on_change()

    def _handle(self, event: lc.Event) -> None:
        before = self.state
        try:
            actions = self._lifecycle.handle(event, self._loop.time())
        except lc.IllegalEvent as exc:  # a bug of ours: say so, and keep what works working
            self._log.error("%s", exc, exc_info=exc)
            return
        if self.state is not before:
            self._since = self._wall_clock()
            self._log_state()
            self._observer(self.profile, self._transition(before))
        for action in actions:
            self._perform(action)

    def _transition(self, before: TunnelState) -> Transition:
        error = self._lifecycle.error if self.state in _WITH_A_REASON else None
        return Transition(
            self.profile.name, before, self.state, self._since, None if error is None else error.info
        )

    def _log_state(self) -> None:
        machine = self._lifecycle
        error = "" if machine.error is None else machine.error.message
        match machine.state:
            case TunnelState.BACKOFF:
                assert machine.retry_at is not None
                delay = machine.retry_at - self._loop.time()
                self._log.warning("%s; attempt %d in %.1f s", error, machine.attempt + 1, delay)
            case TunnelState.FAILED:
                self._log.error("failed: %s", error)
            case TunnelState.NEEDS_INPUT:
                self._log.warning("needs input: %s", error)
            case TunnelState.CONNECTING:
                self._log.info("connecting to %s (attempt %d)", self.profile.host, machine.attempt)
            case state:
                self._log.info("%s", state.value)

    def _perform(self, action: lc.Action) -> None:
        match action:
            case lc.BindListeners():
                self._door.shut()
                self._binding = self._scope.spawn(self._bind(), name="bind")
            case lc.ReleaseListeners(error):
                self._release(error)
            case lc.Connect():
                self._attempt = self._scope.spawn(self._connect(), name="connect")
            case lc.OpenForwards():
                self._opening = self._scope.spawn(self._open_forwards(), name="open forwards")
            case lc.DropConnection():
                self._drop_connection()
            case lc.CloseAll():
                self._scope.spawn(self._close_all(), name="close")
            case lc.SetRetry(at):
                self._set_timer(at, lc.RetryDue())
            case lc.SetSettle(at):
                self._set_timer(at, lc.Settled())
            case lc.CancelTimer():
                self._cancel_timer()

    def _set_timer(self, at: float, event: lc.Event) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_at(at, self._timer_due, event)

    def _timer_due(self, event: lc.Event) -> None:
        self._timer = None
        self._feed(event)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- connecting -------------------------------------------------------------------------------

    async def _connect(self) -> None:
        me = asyncio.current_task()
        lost: list[TunnelsError] = []

        def on_lost(error: TunnelsError) -> None:
            lost.append(error)
            if connection is not None and self._connection is connection:
                self._connection_lost(error)

        connection: Connection | None = None
        try:
            connection = await self._connector(self.profile, on_lost)
        except PersonNeeded as person:
            if self._attempt is me:
                self._attempt = None
                self._person = person
                self._feed(lc.InputNeeded(person.error))
            return
        except TunnelsError as error:
            self._attempt_failed(me, error)
            return
        except asyncio.CancelledError:
            # We cancel an attempt only after letting go of it; this one was broken off from within.
            self._attempt_failed(me, HostUnreachable("the attempt was broken off"))
            raise
        except Exception as exc:  # noqa: BLE001 - a bug in connecting must not leave the tunnel hanging
            self._log.error("connecting ended with a bug", exc_info=exc)
            self._attempt_failed(
                me, InternalError(f"{type(exc).__name__}: {exc}", hint="`tunnels logs` has the details")
            )
            return
        if self._attempt is not me:  # nobody waits for it any more
            await connection.aclose()
            return
        self._attempt = None
        self._connection = connection
        if lost:
            self._feed(lc.Connected())
            self._connection_lost(lost[0])
        else:
            self._feed(lc.Connected())

    def _attempt_failed(self, attempt: asyncio.Task[object] | None, error: TunnelsError) -> None:
        if self._attempt is not attempt:
            return
        self._attempt = None
        self._feed(lc.ConnectFailed(error))
        if self._door.waiting:
            self._client_waits()

    def _connection_lost(self, error: TunnelsError) -> None:
        self._feed(lc.ConnectionLost(error))
        if self._door.waiting:
            self._client_waits()

    def _drop_connection(self) -> None:
        """End the attempt or the connection, in the background: what comes of it is of no interest."""
        self._door.shut()
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        for forwarder in self._remote:
            forwarder.link_lost()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._scope.spawn(connection.aclose(), name="close connection")

    def _client_waits(self) -> None:
        # STOPPED and FAILED are possible for a client that was accepted in the very moment of the change.
        if self.state not in (TunnelState.STOPPED, TunnelState.FAILED):
            self._feed(lc.ClientWaiting())

    # --- forwards ---------------------------------------------------------------------------------

    def _forwarder(self, forward: Forward) -> Forwarder:
        forwarder: LocalForwarder | DynamicForwarder | RemoteForwarder
        match forward.kind:
            case ForwardKind.LOCAL:
                forwarder = LocalForwarder(
                    forward,
                    self._door,
                    self._scope,
                    on_change=self._on_change,
                    on_refused=self._client_refused,
                )
                self._listening.append(forwarder)
            case ForwardKind.DYNAMIC:
                forwarder = DynamicForwarder(
                    forward,
                    self._door,
                    self._scope,
                    on_change=self._on_change,
                    on_refused=self._client_refused,
                )
                self._listening.append(forwarder)
            case ForwardKind.REMOTE:
                forwarder = RemoteForwarder(
                    forward, self._scope, on_change=self._on_change, on_refused=self._client_refused
                )
                self._remote.append(forwarder)
        forwarder.on_healed = self._healed
        return forwarder

    def _healed(self, forward: Forward, seconds: float) -> None:
        self._log.info("%s: listens after all, %.1f s after it was first refused", forward, seconds)

    def _client_refused(self, connect: Address, error: DialError) -> None:
        self._log.warning("a client could not reach %s: %s", connect, error.message)

    async def _bind(self) -> None:
        await asyncio.gather(*(forwarder.bind() for forwarder in self._listening))
        self._log_failed(self._listening)

    def _log_failed(self, forwarders: list[ListeningForwarder] | list[RemoteForwarder]) -> None:
        for forwarder in forwarders:
            if forwarder.state is ForwardState.FAILED and forwarder.error is not None:
                self._log.error("%s: %s", forwarder.forward, forwarder.error.message)

    async def _open_forwards(self) -> None:
        """Try every forward on the new connection, then say so."""
        connection = self._connection
        assert connection is not None
        self._door.admit(connection)
        if self._binding is not None:
            # Not awaited itself: the end of this connection must not be the end of the binding.
            await asyncio.wait([self._binding])
        await asyncio.gather(*(forwarder.open(connection) for forwarder in self._remote))
        self._log_failed(self._remote)
        self._opening = None
        failed = [forwarder.error for forwarder in self._forwarders if forwarder.error is not None]
        if failed and self.profile.exit_on_forward_failure:
            self._feed(lc.ForwardsRefused(ListenError(failed[0].message, hint=failed[0].hint)))
        else:
            self._feed(lc.Ready())

    # --- the end ----------------------------------------------------------------------------------

    def _release(self, error: TunnelsError) -> None:
        if self._binding is not None:
            self._binding.cancel()
            self._binding = None
        self._door.close(error)
        for forwarder in self._listening:
            forwarder.close()

    async def _close_all(self) -> None:
        connection, self._connection = self._connection, None
        try:
            self._drop_connection()
            self._release(ConnectionLost("the tunnel was taken down"))
            for forwarder in self._remote:
                forwarder.reset_clients()
            if connection is not None:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await connection.aclose()
        except TimeoutError:
            self._log.error("the connection did not close within %g s", CLOSE_TIMEOUT)
        except Exception as exc:  # noqa: BLE001 - whatever goes wrong here, the tunnel ends
            self._log.error("closing ended with a bug", exc_info=exc)
        finally:
            # A scope is closed once; what the tunnel does after the next start gets a new one.
            await self._scope.aclose()
            self._feed(lc.Closed())
            self._stopped.set()


def error_of(status: TunnelStatus) -> ErrorInfo | None:
    """The error that best says why a tunnel is not as it should be: its own, or that of a forward."""
    if status.error is not None:
        return status.error
    return next((forward.error for forward in status.forwards if forward.error is not None), None)
