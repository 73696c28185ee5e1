"""Random days of a tunnel: whatever happens, in whatever order, the promises hold."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tunnels.core.actions import (
    Action,
    BindListeners,
    CancelTimer,
    CloseAll,
    Connect,
    DropConnection,
    OpenForwards,
    Probe,
    ReleaseListeners,
    SetRetry,
    SetSettle,
    WatchClients,
)
from tunnels.core.events import (
    Answered,
    ClientWaiting,
    Closed,
    Connected,
    ConnectFailed,
    ConnectionLost,
    Event,
    ForwardsRefused,
    InputNeeded,
    Offline,
    PathChanged,
    Ready,
    RetryDue,
    Settled,
    Start,
    Stop,
    Unused,
)
from tunnels.core.lifecycle import (
    Lifecycle,
)
from tunnels.core.profile import Retry
from tunnels.core.state import TunnelState
from tunnels.errors import ConnectionLost as LostError
from tunnels.errors import (
    HostKeyRejected,
    HostKeyUnknown,
    HostUnreachable,
    ListenError,
    LoginRefused,
    TunnelsError,
)

STOPPED, CONNECTING, UP = TunnelState.STOPPED, TunnelState.CONNECTING, TunnelState.UP
IDLE = TunnelState.IDLE
BACKOFF, NEEDS_INPUT, FAILED = TunnelState.BACKOFF, TunnelState.NEEDS_INPUT, TunnelState.FAILED

UNREACHABLE = HostUnreachable("bastion refused the connection")
LOST = LostError("the connection was reset")
REFUSED = LoginRefused("bastion accepted none of the keys")
WRONG_KEY = HostKeyRejected("the host key of bastion has changed")
PORT_TAKEN = ListenError("port 5432 is in use")
QUESTION = HostKeyUnknown("the host key of bastion is not known")

PARTS = st.floats(0.0, math.nextafter(1.0, 0.0))
"""What ``random.random`` gives."""


class AnyDay(RuleBasedStateMachine):
    """A shell that performs the actions on paper, and reports only what can have happened there.

    So no event here is chosen by looking at the machine's state, and none may be illegal.
    """

    on_demand = False

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.part = 0.0
        self.machine = Lifecycle(
            Retry(give_up_after=500.0),
            random=lambda: self.part,
            on_demand=self.on_demand,
            hangs_up=self.on_demand,
        )
        self.watched = False
        self.listeners = False
        self.attempt = False
        self.connection = False
        self.opening = False
        self.closing = False
        self.question = False
        self.timer: SetRetry | SetSettle | None = None
        self.refused_at: float | None = None  # the last attempt that ended in a refused login

    def feed(self, event: Event) -> None:
        if isinstance(event, Start | Answered):  # a person wants it, and knows of the refusal
            self.refused_at = None
        for action in self.machine.handle(event, self.now):
            self.perform(action)

    def perform(self, action: Action) -> None:
        match action:
            case BindListeners():
                assert not self.listeners
                self.listeners = True
            case ReleaseListeners():
                assert self.listeners
                self.listeners = False
            case Connect():
                assert [self.attempt, self.connection, self.closing] == [False, False, False]
                assert self.timer is None
                if self.refused_at is not None:
                    assert self.now >= self.refused_at + 150.0
                self.refused_at = None
                self.attempt, self.question = True, False
            case OpenForwards():
                assert self.connection
                assert not self.opening
                self.opening = True
            case Probe():
                assert self.connection
            case WatchClients():
                assert self.connection
                self.watched = True
            case DropConnection():
                self.attempt = self.connection = self.opening = self.watched = False
            case CloseAll():
                assert not self.closing
                self.attempt = self.connection = self.opening = self.listeners = self.question = False
                self.watched = False
                self.closing = True
            case SetRetry(at) | SetSettle(at):
                assert at >= self.now
                self.timer = action
            case CancelTimer():
                self.timer = None

    # what people do

    @rule()
    def start(self) -> None:
        self.feed(Start())

    @rule()
    def stop(self) -> None:
        self.feed(Stop())

    @precondition(lambda self: self.question)
    @rule()
    def answer(self) -> None:
        self.feed(Answered())

    @precondition(lambda self: self.listeners or self.closing)
    @rule()
    def client_waits(self) -> None:
        self.feed(ClientWaiting())

    # what becomes of attempts and connections

    @precondition(lambda self: self.attempt)
    @rule()
    def connect(self) -> None:
        self.attempt, self.connection = False, True
        self.feed(Connected())

    @precondition(lambda self: self.attempt)
    @rule(error=st.sampled_from([UNREACHABLE, REFUSED, WRONG_KEY]), part=PARTS)
    def attempt_fails(self, error: TunnelsError, part: float) -> None:
        self.attempt, self.part = False, part
        self.refused_at = self.now if error is REFUSED else None
        self.feed(ConnectFailed(error))

    @precondition(lambda self: self.attempt)
    @rule()
    def attempt_asks(self) -> None:
        self.attempt, self.question = False, True
        self.feed(InputNeeded(QUESTION))

    @precondition(lambda self: self.opening)
    @rule()
    def forwards_are_open(self) -> None:
        self.opening = False
        self.feed(Ready())

    @precondition(lambda self: self.opening)
    @rule(part=PARTS)
    def forwards_are_refused(self, part: float) -> None:
        self.opening, self.part = False, part
        self.feed(ForwardsRefused(PORT_TAKEN))

    @precondition(lambda self: self.connection)
    @rule(part=PARTS)
    def connection_is_lost(self, part: float) -> None:
        self.part = part
        self.feed(ConnectionLost(LOST))

    @precondition(lambda self: self.closing)
    @rule()
    def everything_is_closed(self) -> None:
        self.closing = False
        self.feed(Closed())

    @precondition(lambda self: self.closing)
    @rule(late=st.sampled_from([Connected(), ConnectFailed(REFUSED), ConnectionLost(LOST), Ready()]))
    def something_reports_late(self, late: Event) -> None:
        self.feed(late)

    # the network

    @precondition(lambda self: self.listeners)
    @rule()
    def the_network_goes(self) -> None:
        self.feed(Offline())

    @precondition(lambda self: self.listeners)
    @rule()
    def the_network_comes(self) -> None:
        self.feed(PathChanged())

    @precondition(lambda self: self.watched)
    @rule()
    def nobody_uses_it(self) -> None:
        self.feed(Unused())

    # time

    @rule(seconds=st.floats(0.0, 400.0))
    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        if self.timer is not None and self.timer.at <= until:
            self.timer_rings()
        self.now = max(until, self.now)

    @precondition(lambda self: self.timer is not None)
    @rule(clients=st.booleans())
    def timer_rings(self, clients: bool = True) -> None:
        assert self.timer is not None
        timer, self.timer = self.timer, None
        self.now = max(self.now, timer.at)
        self.feed(RetryDue(clients) if isinstance(timer, SetRetry) else Settled())

    # what must hold after each of them

    @invariant()
    def a_retry_is_planned_in_backoff_and_only_there(self) -> None:
        retry_at = self.machine.retry_at
        assert (retry_at is not None) == (self.machine.state is BACKOFF)
        assert retry_at == (self.timer.at if isinstance(self.timer, SetRetry) else None)

    @invariant()
    def a_connection_settles_only_while_it_is_up(self) -> None:
        assert not isinstance(self.timer, SetSettle) or self.machine.state is UP

    @invariant()
    def the_ports_are_ours_until_down_or_failed(self) -> None:
        assert self.listeners == (self.machine.state in {CONNECTING, UP, IDLE, BACKOFF, NEEDS_INPUT})

    @invariant()
    def there_is_one_attempt_or_one_connection_or_neither(self) -> None:
        assert self.attempt + self.connection == (self.machine.state in {CONNECTING, UP})
        assert self.connection or self.machine.state is not UP
        assert self.connection or not self.opening

    @invariant()
    def it_waits_for_a_person_when_one_was_asked(self) -> None:
        assert self.question == (self.machine.state is NEEDS_INPUT)

    @invariant()
    def it_says_why(self) -> None:
        if self.machine.state in {BACKOFF, NEEDS_INPUT, FAILED}:
            assert self.machine.error is not None
        if self.machine.state is STOPPED:
            assert self.machine.error is None

    @invariant()
    def it_comes_back_only_after_having_been_up(self) -> None:
        assert self.machine.ever_up or self.machine.reconnects == 0
        assert self.machine.attempt >= 0


TestAnyDay = AnyDay.TestCase
TestAnyDay.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


class AnyDayOnDemand(AnyDay):
    """The same for a tunnel that connects only while clients want it."""

    on_demand = True

    @invariant()
    def it_rests_only_without_a_connection(self) -> None:
        assert self.machine.state is not IDLE or not (self.attempt or self.connection or self.timer)


TestAnyDayOnDemand = AnyDayOnDemand.TestCase
TestAnyDayOnDemand.settings = TestAnyDay.settings
