"""One running tunnel: performs what its `Lifecycle` decides, and tells it what happened.

The decisions are all in ``core.lifecycle``; in here are the things it decides about: the forwards, the
attempt or the connection of the moment, one timer, the door.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tunnels.core import actions as do
from tunnels.core import events as ev
from tunnels.core import lifecycle as lc
from tunnels.core.backoff import Random
from tunnels.core.lifecycle import Lifecycle
from tunnels.core.path import NetworkChange
from tunnels.core.profile import Profile
from tunnels.core.question import Answer, PersonNeeded, Question
from tunnels.core.state import TunnelState
from tunnels.core.status import TunnelStatus
from tunnels.core.transition import Transition, transition
from tunnels.errors import ConnectionLost, HostUnreachable, ListenError, NeedsPerson, TunnelsError
from tunnels.forwarding.door import Door
from tunnels.supervisor.alarm import Alarm
from tunnels.supervisor.attempt import attempt
from tunnels.supervisor.connector import Connection, Connector
from tunnels.supervisor.forwards import Forwards
from tunnels.supervisor.idle import IdleWatch
from tunnels.supervisor.portal_probe import PortalProbe
from tunnels.supervisor.portal_watch import ON_ITS_WAY, PortalWatch
from tunnels.supervisor.probe import Probe
from tunnels.supervisor.questions import OnProved, Questions
from tunnels.supervisor.reach import Reach
from tunnels.supervisor.routes import ALWAYS_ONLINE, Routes
from tunnels.supervisor.tunnel_log import TunnelLog
from tunnels.supervisor.tunnel_status import status_of
from tunnels.tasks import TaskScope

#: Told of every change of a tunnel's state. It must not raise, and not take long.
Observer = Callable[[Profile, Transition], None]

#: What happens to the network is of no interest in these.
_AT_REST = frozenset({TunnelState.STOPPED, TunnelState.STOPPING, TunnelState.FAILED})

#: Seconds for a connection to close; `ssh.connection` allows itself less, and another connector may hang.
CLOSE_TIMEOUT = 6.0


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
        routes: Routes = ALWAYS_ONLINE,
        portals: PortalProbe | None = None,
        on_proved: OnProved = lambda _subject, _secret: None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.profile = profile
        self._connector = connector
        self._wall_clock = wall_clock
        self._on_change = on_change
        self._observer = observer
        self._reach = Reach(routes)
        self._log = TunnelLog(profile.name)
        self._loop = loop or asyncio.get_running_loop()
        self._lifecycle = Lifecycle(
            profile.retry,
            random=random,
            on_demand=profile.on_demand,
            hangs_up=profile.on_demand and profile.idle_timeout is not None,
        )
        self._since = wall_clock()
        self._scope = TaskScope(profile.name)
        self._door = Door(profile.hold, on_waiting=self._client_waits)
        self._forwards = Forwards(
            profile.forwards,
            self._door,
            self._scope,
            on_change=on_change,
            on_refused=self._log.client_refused,
            on_failed=self._log.forward_failed,
            on_healed=self._log.forward_healed,
            on_bound=self._bound,
            on_probed=self._log.destination,
        )
        self.each_client = self._forwards.each_client  #: who uses them now
        self._connection: Connection | None = None
        self._attempt: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer = Alarm(self._loop)
        self._idle = IdleWatch(
            self._forwards, profile.idle_timeout or 0.0, lambda: self._feed(ev.Unused()), loop=self._loop
        )
        self._probe = Probe(
            lambda: self._scope, lambda error: self._connection_lost(error, network_changed=True)
        )
        probe = portals if profile.captive_portal else None
        self._portals = PortalWatch(
            probe, lambda: self._scope, self._lifecycle, self._feed, self._log, self._loop
        )
        self._questions = Questions(profile.name, on_proved)
        self._stopped = asyncio.Event()
        self._stopped.set()
        self._queue: list[ev.Event] = []
        self._handling = False

    def __repr__(self) -> str:
        return f"<Tunnel {self.profile.name}: {self.state.value}, {len(self._forwards)} forwards>"

    @property
    def state(self) -> TunnelState:
        """Where the tunnel stands."""
        return self._lifecycle.state

    # --- what others want of it -------------------------------------------------------------------

    def start(self) -> None:
        """Bring it up, or dial at once if it is waiting to. Returns at once."""
        self._stopped.clear()
        self._feed(ev.Start())

    async def stop(self) -> None:
        """Take it down; when this returns its ports are free."""
        self._feed(ev.Stop())
        await self._stopped.wait()

    @property
    def question(self) -> Question | None:
        """What a person should answer."""
        return self._questions.current if self.state is TunnelState.NEEDS_INPUT else None

    def answer(self, question_id: str, answer: Answer) -> None:
        """Take a person's answer. Raises UsageError where nothing, or something else, is asked."""
        release = self._questions.answer(question_id, answer)
        self._feed(ev.Answered())
        release()

    def tell(self, subject: str, secret: str) -> None:
        """A secret has proved good elsewhere; if this tunnel waits for it, it has been answered."""
        question = self.question
        if question is None or question.subject != subject or not question.lasting:
            return
        if question.stale:
            self._questions.secrets.remember(subject, secret)
            self._feed(ev.Start())
        else:
            self.answer(question.id, Answer(secret))

    def status(self) -> TunnelStatus:
        """The tunnel as it stands now."""
        return status_of(
            self.profile,
            self._lifecycle,
            self._connection,
            since=self._since,
            offset=self._wall_clock() - self._loop.time(),
            forwards=self._forwards.statuses(),
            question=self.question,
        )

    # --- the machine ------------------------------------------------------------------------------

    def _feed(self, event: ev.Event) -> None:
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

    def _handle(self, event: ev.Event) -> None:
        before, known = self.state, self._lifecycle.error
        try:
            now = self._loop.time()
            actions = self._lifecycle.handle(event, now)
        except lc.IllegalEvent as exc:  # a bug of ours: say so, and keep what works working
            self._log.error("%s", exc, exc_info=exc)
            return
        error = self._lifecycle.error
        if self.state is not before:
            if self.state not in ON_ITS_WAY:
                self._portals.stop()
            self._since = self._wall_clock()
            self._log.state(self.profile.host, self._lifecycle, now)
        if self.state is not before or (self.state is TunnelState.BACKOFF and error is not known):
            self._observer(
                self.profile, transition(self.profile.name, before, self.state, self._since, error)
            )
        for action in actions:
            self._perform(action)

    def _perform(self, action: do.Action) -> None:
        match action:
            case do.BindListeners():
                self._door.shut()
                self._forwards.bind()
            case do.ReleaseListeners(error):
                self._release(error)
            case do.Connect():
                self._questions.clear()
                self._attempt = self._scope.spawn(self._connect(), name="connect")
            case do.OpenForwards():
                self._opening = self._scope.spawn(self._open_forwards(), name="open forwards")
            case do.DropConnection():
                self._drop_connection()
            case do.CloseAll():
                self._scope.spawn(self._close_all(), name="close")
            case do.SetRetry(at):
                self._timer.set(at, lambda: self._feed(ev.RetryDue(clients=self._door.waiting > 0)))
            case do.SetSettle(at):
                self._timer.set(at, lambda: self._feed(ev.Settled()))
            case do.CancelTimer():
                self._timer.cancel()
            case do.Probe():
                assert self._connection is not None
                self._probe.start(self._connection)
            case do.WatchClients():
                self._idle.start()

    # --- connecting -------------------------------------------------------------------------------

    async def _connect(self) -> None:
        me = asyncio.current_task()
        lost: list[TunnelsError] = []

        def on_lost(error: TunnelsError) -> None:
            lost.append(error)
            if connection is not None and self._connection is connection:
                self._connection_lost(error)

        connection: Connection | None = None
        dialogue = self._questions.dialogue(lambda: self._attempt is me, self._asked)
        try:
            outcome = await attempt(self._connector, self.profile, on_lost, self._found, dialogue, self._log)
        except asyncio.CancelledError:
            # We cancel an attempt only after letting go of it; this one was broken off from within.
            self._attempt_failed(me, HostUnreachable("the attempt was broken off"))
            raise
        if isinstance(outcome, PersonNeeded):
            if self._attempt is me:
                self._attempt = None
                self._questions.park(outcome)
                self._feed(ev.InputNeeded(outcome.error))
            return
        if isinstance(outcome, TunnelsError):
            self._attempt_failed(me, outcome)
            return
        connection = outcome
        if self._attempt is not me:  # nobody waits for it any more
            await connection.aclose()
            return
        self._attempt = None
        self._connection = connection
        self._reach.connected(connection)
        self._portals.reached()
        self._feed(ev.Connected())
        if lost:
            self._connection_lost(lost[0])

    def _found(self, addresses: tuple[str, ...]) -> None:
        self._reach.found(addresses)
        self._portals.found(addresses)

    def _asked(self, question: Question) -> None:
        """The attempt waits for a person."""
        error = NeedsPerson(question.headline, hint=f"tunnels auth {self.profile.name}")
        self._feed(ev.InputNeeded(error, waits=True))

    def _attempt_failed(self, attempt: asyncio.Task[object] | None, error: TunnelsError) -> None:
        if self._attempt is not attempt:
            return
        self._attempt = None
        self._went_wrong(ev.ConnectFailed(self._portals.failed(error)))

    def _connection_lost(self, error: TunnelsError, *, network_changed: bool = False) -> None:
        self._reach.disconnected()
        self._went_wrong(ev.ConnectionLost(error, network_changed))

    def _went_wrong(self, event: ev.ConnectFailed | ev.ConnectionLost) -> None:
        """Say first whether there is any route, because that decides what follows."""
        if self.state not in _AT_REST and not self._reach.look():
            self._feed(ev.Offline())
        self._feed(event)
        if self._door.waiting:
            self._client_waits()

    def _drop_connection(self) -> None:
        """End the attempt or the connection, in the background: what comes of it is of no interest."""
        self._door.shut()
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        self._probe.stop()
        self._idle.stop()
        self._forwards.link_lost()
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._scope.spawn(connection.aclose(), name="close connection")

    def _client_waits(self) -> None:
        # STOPPED and FAILED are possible for a client that was accepted in the very moment of the change.
        if self.state not in (TunnelState.STOPPED, TunnelState.FAILED):
            self._feed(ev.ClientWaiting())

    # --- the network ------------------------------------------------------------------------------

    def network_changed(self, change: NetworkChange) -> None:
        """The network of this machine is not what it was; perhaps that concerns this tunnel."""
        if self.state in _AT_REST:
            return
        changed = self._reach.changed(change)
        cut = None if self._connection is None else self._reach.cut_off(self._connection)
        if cut is not None and self.state is TunnelState.UP:
            error = ConnectionLost(f"the network has changed: {cut}")
            self._connection_lost(error, network_changed=True)
        if changed is None:
            self._go_offline()
        elif changed or not self._lifecycle.online:
            self._log.back_online(self.profile.host, self.state, was_offline=not self._lifecycle.online)
            self._feed(ev.PathChanged())

    def _go_offline(self) -> None:
        if not self._lifecycle.online:
            return
        self._log.offline(self.profile.host, self.state)
        self._probe.stop()
        if self._connection is not None:
            self._connection.expect_outage(True)
        self._feed(ev.Offline())
        if self._door.waiting:  # the machine may be wrong about its routes
            self._client_waits()

    # --- forwards ---------------------------------------------------------------------------------

    def _bound(self) -> None:
        if self.state is TunnelState.IDLE:
            self._refuse_forwards()

    def _refuse_forwards(self) -> bool:
        """Say so if a forward cannot listen, for those who want all or nothing."""
        error = self._forwards.first_error if self.profile.exit_on_forward_failure else None
        if error is None:
            return False
        self._feed(ev.ForwardsRefused(ListenError(error.message, hint=error.hint)))
        return True

    async def _open_forwards(self) -> None:
        """Try every forward on the new connection, then say so."""
        connection = self._connection
        assert connection is not None
        self._door.admit(connection)
        await self._forwards.bound()
        await self._forwards.open(connection)
        self._opening = None
        if not self._refuse_forwards():
            self._feed(ev.Ready())

    # --- the end ----------------------------------------------------------------------------------

    def _release(self, error: TunnelsError) -> None:
        self._door.close(error)
        self._forwards.release()

    async def _close_all(self) -> None:
        connection, self._connection = self._connection, None
        try:
            self._drop_connection()
            self._release(ConnectionLost("the tunnel was taken down"))
            self._forwards.reset_remote_clients()
            if connection is not None:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await connection.aclose()
        except TimeoutError:
            self._log.error("the connection did not close within %g s", CLOSE_TIMEOUT)
        except Exception as exc:  # noqa: BLE001 - whatever goes wrong here, the tunnel ends
            self._log.error("closing ended with a bug", exc_info=exc)
        finally:
            self._questions.clear()
            self._questions.secrets.wipe()
            # A scope is closed once; what the tunnel does after the next start gets a new one.
            await self._scope.aclose()
            self._feed(ev.Closed())
            self._stopped.set()
