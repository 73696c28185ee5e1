"""The state machine of a tunnel: whole stories, and every cell that is impossible.

In the stories half of every bound is drawn (``random`` is 0.5), so the delays are 0.5, 1, 2, 4 … s, and 225 s
after a refused login.
"""

from __future__ import annotations

import itertools
import math
from typing import get_args

import pytest

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
    Explained,
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
    IllegalEvent,
    Lifecycle,
)
from tunnels.core.profile import Retry
from tunnels.core.state import TunnelState
from tunnels.errors import (
    BadSetting,
    CaptivePortal,
    GaveUp,
    HandshakeFailed,
    HostKeyRejected,
    HostKeyUnknown,
    HostUnreachable,
    ListenError,
    LoginRefused,
    NameNotResolved,
    TunnelsError,
)
from tunnels.errors import ConnectionLost as LostError

STOPPED, CONNECTING, UP = TunnelState.STOPPED, TunnelState.CONNECTING, TunnelState.UP
BACKOFF, NEEDS_INPUT = TunnelState.BACKOFF, TunnelState.NEEDS_INPUT
FAILED, STOPPING, IDLE = TunnelState.FAILED, TunnelState.STOPPING, TunnelState.IDLE

ALMOST_ONE = math.nextafter(1.0, 0.0)

UNREACHABLE = HostUnreachable("bastion refused the connection")
LOST = LostError("the connection was reset")
REFUSED = LoginRefused("bastion accepted none of the keys")
WRONG_KEY = HostKeyRejected("the host key of bastion has changed", hint="compare the fingerprints")
PORT_TAKEN = ListenError("port 5432 is in use")
PORTAL = CaptivePortal("Wi-Fi login page at http://login.hotel/", hint="open it in a browser")
WRONG_PORT = HandshakeFailed("bastion is no SSH server but a web server")
QUESTION = HostKeyUnknown("the host key of bastion is not known")

EVENTS: list[Event] = [
    Start(),
    Stop(),
    Connected(),
    Ready(),
    ForwardsRefused(PORT_TAKEN),
    ConnectFailed(UNREACHABLE),
    InputNeeded(QUESTION),
    Answered(),
    ConnectionLost(LOST),
    RetryDue(),
    Settled(),
    ClientWaiting(),
    Explained(PORTAL),
    Offline(),
    PathChanged(),
    Unused(),
    Closed(),
]


def machine(retry: Retry | None = None, *, part: float = 0.5, on_demand: bool = False) -> Lifecycle:
    return Lifecycle(retry or Retry(), random=lambda: part, on_demand=on_demand, hangs_up=on_demand)


def after(
    *events: Event,
    now: float = 0.0,
    retry: Retry | None = None,
    part: float = 0.5,
    on_demand: bool = False,
) -> Lifecycle:
    """A machine that has been through some events, all at one moment."""
    found = machine(retry, part=part, on_demand=on_demand)
    for event in events:
        found.handle(event, now)
    return found


def last_error(tunnel: Lifecycle) -> TunnelsError | None:
    return tunnel.error


TO_UP: list[Event] = [Start(), Connected(), Ready()]

WAYS: dict[TunnelState, list[Event]] = {
    STOPPED: [],
    CONNECTING: [Start()],
    UP: TO_UP,
    IDLE: [Start()],
    BACKOFF: [Start(), ConnectFailed(UNREACHABLE)],
    NEEDS_INPUT: [Start(), InputNeeded(QUESTION)],
    FAILED: [Start(), ConnectFailed(WRONG_KEY)],
    STOPPING: [Start(), Stop()],
}


def at(state: TunnelState) -> Lifecycle:
    """A machine in this state."""
    return after(*WAYS[state], on_demand=state is IDLE)


@pytest.mark.parametrize("state", TunnelState, ids=lambda state: state.value)
def test_every_state_can_be_reached(state: TunnelState) -> None:
    assert at(state).state is state


# --- stories --------------------------------------------------------------------------------------


def test_a_day() -> None:
    """From the first refused connection in the morning to the wrong host key in the evening."""
    day = machine()
    assert (day.state, day.attempt, day.error, day.retry_at) == (STOPPED, 0, None, None)

    # The ports are bound first, so that no client is refused while the first attempt is under way.
    assert day.handle(Start(), 0.0) == [BindListeners(), Connect()]
    assert (day.state, day.attempt) == (CONNECTING, 1)

    # Nobody listens there yet.
    assert day.handle(ConnectFailed(UNREACHABLE), 0.1) == [SetRetry(0.6)]
    assert (day.state, day.error, day.retry_at) == (BACKOFF, UNREACHABLE, 0.6)
    assert day.handle(RetryDue(), 0.6) == [CancelTimer(), Connect()]
    assert (day.state, day.attempt, day.retry_at) == (CONNECTING, 2, None)

    # Now it does. Connected is not up: the forwards are still to be asked for.
    assert day.handle(Connected(), 1.0) == [OpenForwards()]
    assert (day.state, day.ever_up) == (CONNECTING, False)
    assert day.handle(Ready(), 1.1) == [SetSettle(11.1)]
    assert (day.state, day.reconnects, day.ever_up) == (UP, 0, True)

    # It drops us at once. The delay goes on from where it was: two attempts were made.
    assert day.handle(ConnectionLost(LOST), 2.0) == [CancelTimer(), DropConnection(), SetRetry(3.0)]
    assert (day.state, day.error, day.attempt) == (BACKOFF, LOST, 2)
    assert day.handle(RetryDue(), 3.0) == [CancelTimer(), Connect()]
    assert day.handle(Connected(), 3.1) == [OpenForwards()]
    assert day.handle(Ready(), 3.2) == [SetSettle(13.2)]
    assert (day.state, day.attempt, day.reconnects) == (UP, 3, 1)
    assert last_error(day) == LOST  # what a status shows beside "up" is why it was away

    # It stays.
    assert day.handle(Settled(), 13.2) == []
    assert (day.state, day.attempt) == (UP, 0)

    # The lid is closed, and opened an hour later: the shortest delay again.
    assert day.handle(ConnectionLost(LOST), 3600.0) == [CancelTimer(), DropConnection(), SetRetry(3600.5)]
    assert day.handle(RetryDue(), 3600.5) == [CancelTimer(), Connect()]
    assert day.attempt == 1

    # The server's home folders are not mounted yet: the login that worked is refused. Slowly, then.
    assert day.handle(ConnectFailed(REFUSED), 3601.0) == [SetRetry(3826.0)]
    assert (day.state, day.error) == (BACKOFF, REFUSED)
    assert day.handle(RetryDue(), 3826.0) == [CancelTimer(), Connect()]
    assert day.handle(Connected(), 3826.1) == [OpenForwards()]
    assert day.handle(Ready(), 3826.2) == [SetSettle(3836.2)]
    assert day.handle(Settled(), 3836.2) == []
    assert day.reconnects == 2

    # It reboots, and refuses connections for some seconds.
    assert day.handle(ConnectionLost(LOST), 5000.0) == [CancelTimer(), DropConnection(), SetRetry(5000.5)]
    assert day.handle(RetryDue(), 5000.5) == [CancelTimer(), Connect()]
    assert day.handle(ConnectFailed(UNREACHABLE), 5000.5) == [SetRetry(5001.0)]
    assert day.handle(RetryDue(), 5001.0) == [CancelTimer(), Connect()]
    assert day.handle(ConnectFailed(UNREACHABLE), 5001.0) == [SetRetry(5002.0)]
    assert day.handle(RetryDue(), 5002.0) == [CancelTimer(), Connect()]

    # It was installed anew, or it is somebody else. That is for a person, and the ports are let go.
    assert day.handle(ConnectFailed(WRONG_KEY), 5002.5) == [ReleaseListeners(WRONG_KEY)]
    assert (day.state, day.error, day.retry_at) == (FAILED, WRONG_KEY, None)

    assert day.handle(Stop(), 6000.0) == [CancelTimer(), CloseAll()]
    assert day.state is STOPPING
    assert day.handle(Closed(), 6000.1) == []
    assert (day.state, day.error, day.attempt) == (STOPPED, None, 0)


def test_a_question_parks_the_tunnel_until_it_is_answered() -> None:
    tunnel = after(Start())

    assert tunnel.handle(InputNeeded(QUESTION), 1.0) == []
    assert (tunnel.state, tunnel.error, tunnel.retry_at) == (NEEDS_INPUT, QUESTION, None)
    assert tunnel.handle(ClientWaiting(), 2.0) == []  # the port is still ours: clients may come
    assert tunnel.handle(Answered(), 3600.0) == [Connect()]
    assert (tunnel.state, tunnel.error) == (CONNECTING, None)


def test_a_question_may_be_settled_by_other_means() -> None:
    """For example with `ssh bastion`, and `tunnels up` again."""
    tunnel = after(*WAYS[NEEDS_INPUT])

    assert tunnel.handle(Start(), 5.0) == [Connect()]
    assert (tunnel.state, tunnel.error) == (CONNECTING, None)


def test_up_again_while_waiting_dials_at_once() -> None:
    tunnel = after(*WAYS[BACKOFF])

    assert tunnel.handle(Start(), 0.1) == [CancelTimer(), Connect()]
    assert (tunnel.state, tunnel.attempt) == (CONNECTING, 2)


@pytest.mark.parametrize("state", [CONNECTING, UP, STOPPING], ids=lambda state: state.value)
def test_up_again_changes_nothing_where_there_is_nothing_to_do(state: TunnelState) -> None:
    tunnel = at(state)
    before = dict(vars(tunnel))

    assert tunnel.handle(Start(), 1.0) == []
    assert vars(tunnel) == before


def test_up_after_a_failure_begins_from_nothing() -> None:
    """The ports are bound again, the counters are zero, and a refused login fails as the first time."""
    tunnel = after(*TO_UP, ConnectionLost(LOST), RetryDue(), Connected(), Ready())
    tunnel.handle(ConnectionLost(LOST), 1.0)
    tunnel.handle(RetryDue(), 2.0)
    tunnel.handle(ConnectFailed(WRONG_KEY), 3.0)
    assert tunnel.reconnects == 1

    assert tunnel.handle(Start(), 10.0) == [BindListeners(), Connect()]
    assert (tunnel.state, tunnel.error, tunnel.attempt) == (CONNECTING, None, 1)
    assert (tunnel.reconnects, tunnel.ever_up) == (0, False)
    assert tunnel.handle(ConnectFailed(REFUSED), 11.0) == [ReleaseListeners(REFUSED)]


@pytest.mark.parametrize(
    "state", [CONNECTING, UP, BACKOFF, NEEDS_INPUT, FAILED], ids=lambda state: state.value
)
def test_down_takes_everything_down_from_anywhere(state: TunnelState) -> None:
    tunnel = at(state)

    assert tunnel.handle(Stop(), 1.0) == [CancelTimer(), CloseAll()]
    assert (tunnel.state, tunnel.retry_at) == (STOPPING, None)
    assert tunnel.handle(Closed(), 2.0) == []
    assert tunnel.state is STOPPED


@pytest.mark.parametrize("state", [STOPPED, STOPPING], ids=lambda state: state.value)
def test_down_twice_is_down_once(state: TunnelState) -> None:
    tunnel = at(state)

    assert tunnel.handle(Stop(), 1.0) == []
    assert tunnel.state is state


@pytest.mark.parametrize(
    "late",
    [
        Connected(),
        Ready(),
        ForwardsRefused(PORT_TAKEN),
        ConnectFailed(UNREACHABLE),
        InputNeeded(QUESTION),
        ConnectionLost(LOST),
        ClientWaiting(),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_is_reported_while_it_is_taken_down_is_not_listened_to(late: Event) -> None:
    tunnel = after(*WAYS[STOPPING])
    before = dict(vars(tunnel))

    assert tunnel.handle(late, 1.0) == []
    assert vars(tunnel) == before


def test_a_connection_lost_before_the_forwards_are_open_is_an_attempt_that_failed() -> None:
    tunnel = after(Start(), Connected())

    assert tunnel.handle(ConnectionLost(LOST), 1.0) == [CancelTimer(), DropConnection(), SetRetry(1.5)]
    assert (tunnel.state, tunnel.ever_up) == (BACKOFF, False)


# --- what is retried ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [UNREACHABLE, NameNotResolved("no address")], ids=lambda e: e.code)
def test_what_may_pass_by_itself_is_tried_again_also_the_first_time(error: TunnelsError) -> None:
    tunnel = after(Start())

    assert tunnel.handle(ConnectFailed(error), 0.0) == [SetRetry(0.5)]
    assert tunnel.error is error


PERMANENT = [REFUSED, WRONG_KEY, QUESTION, BadSetting("no such key file")]


@pytest.mark.parametrize("error", PERMANENT, ids=lambda error: error.code)
def test_what_a_person_must_mend_is_not_tried_again(error: TunnelsError) -> None:
    tunnel = after(Start())

    assert tunnel.handle(ConnectFailed(error), 0.0) == [ReleaseListeners(error)]
    assert (tunnel.state, tunnel.error) == (FAILED, error)


@pytest.mark.parametrize("error", PERMANENT[1:], ids=lambda error: error.code)
def test_having_been_up_excuses_only_a_refused_login(error: TunnelsError) -> None:
    tunnel = after(*TO_UP, ConnectionLost(LOST), RetryDue())

    assert tunnel.handle(ConnectFailed(error), 0.0) == [ReleaseListeners(error)]


@pytest.mark.parametrize(("part", "delay"), [(0.0, 150.0), (0.5, 225.0), (ALMOST_ONE, 300.0)])
def test_a_refused_login_is_tried_slowly_after_having_been_up(part: float, delay: float) -> None:
    tunnel = after(*TO_UP, ConnectionLost(LOST), RetryDue(), part=part)

    (action,) = tunnel.handle(ConnectFailed(REFUSED), 1000.0)

    assert isinstance(action, SetRetry)
    assert action.at - 1000.0 == pytest.approx(delay)


def test_delays_grow_to_the_users_maximum() -> None:
    tunnel = after(Start(), retry=Retry(initial=2.0, max=10.0), part=ALMOST_ONE)
    delays = []
    for _ in range(5):
        tunnel.handle(ConnectFailed(UNREACHABLE), 0.0)
        assert tunnel.retry_at is not None
        delays.append(round(tunnel.retry_at, 6))
        tunnel.handle(RetryDue(), 0.0)

    assert delays == [2.0, 4.0, 8.0, 10.0, 10.0]


def test_a_server_that_accepts_and_drops_is_not_hammered() -> None:
    """It is up each time; only a connection that has settled sets the delays back."""
    tunnel = after(Start(), part=ALMOST_ONE)
    delays = []
    for _ in range(6):
        for event in (Connected(), Ready(), ConnectionLost(LOST)):
            tunnel.handle(event, 0.0)
        assert tunnel.retry_at is not None
        delays.append(round(tunnel.retry_at, 6))
        tunnel.handle(RetryDue(), 0.0)

    assert delays == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]


def test_only_a_settled_connection_sets_the_counter_back() -> None:
    tunnel = after(Start(), ConnectFailed(UNREACHABLE), RetryDue(), Connected())
    assert tunnel.attempt == 2
    tunnel.handle(Ready(), 0.0)
    assert tunnel.attempt == 2

    tunnel.handle(Settled(), 10.0)

    assert tunnel.attempt == 0


# --- give_up_after --------------------------------------------------------------------------------


def try_until(tunnel: Lifecycle, now: float) -> list[Action]:
    """Let one more attempt fail at a time."""
    tunnel.handle(RetryDue(), now)
    return tunnel.handle(ConnectFailed(UNREACHABLE), now)


def test_without_give_up_after_it_never_gives_up() -> None:
    tunnel = after(Start(), ConnectFailed(UNREACHABLE))

    for day in range(1, 400):
        (action,) = try_until(tunnel, 86_400.0 * day)
        assert isinstance(action, SetRetry)


def test_give_up_after_ends_the_attempts() -> None:
    tunnel = after(Start(), ConnectFailed(UNREACHABLE), retry=Retry(give_up_after=600.0))

    (action,) = try_until(tunnel, 599.9)
    assert isinstance(action, SetRetry)
    (action,) = try_until(tunnel, 600.0)

    assert isinstance(action, ReleaseListeners)
    assert isinstance(action.error, GaveUp)
    assert (tunnel.state, tunnel.error) == (FAILED, action.error)
    assert "600 s" in action.error.message
    assert UNREACHABLE.message in action.error.message  # why, and not only how long


def test_give_up_after_counts_from_the_loss_of_a_settled_connection() -> None:
    tunnel = after(*TO_UP, Settled(), retry=Retry(give_up_after=600.0))

    tunnel.handle(ConnectionLost(LOST), 10_000.0)
    assert tunnel.state is BACKOFF
    try_until(tunnel, 10_599.0)
    assert tunnel.state is BACKOFF
    try_until(tunnel, 10_600.0)

    assert tunnel.state is FAILED


def test_after_giving_up_on_a_loss_the_connection_is_dropped_before_the_ports_are() -> None:
    """A connection that does not last does not count: it was never settled."""
    tunnel = after(*TO_UP, retry=Retry(give_up_after=5.0))

    drop, *rest = [action for action in tunnel.handle(ConnectionLost(LOST), 6.0) if action != CancelTimer()]

    assert drop == DropConnection()
    assert [type(action) for action in rest] == [ReleaseListeners]


def test_up_after_giving_up_has_all_the_time_again() -> None:
    tunnel = after(Start(), ConnectFailed(UNREACHABLE), retry=Retry(give_up_after=600.0))
    try_until(tunnel, 600.0)

    tunnel.handle(Start(), 700.0)
    tunnel.handle(ConnectFailed(UNREACHABLE), 1299.0)

    assert tunnel.state is BACKOFF


# --- exit_on_forward_failure ----------------------------------------------------------------------


def test_a_refused_forward_fails_a_tunnel_that_has_never_been_up() -> None:
    tunnel = after(Start(), Connected())

    assert tunnel.handle(ForwardsRefused(PORT_TAKEN), 1.0) == [
        CancelTimer(),
        DropConnection(),
        ReleaseListeners(PORT_TAKEN),
    ]
    assert (tunnel.state, tunnel.error) == (FAILED, PORT_TAKEN)


def test_a_refused_forward_is_tried_again_after_having_been_up() -> None:
    """Most likely our own old session still holds the port on the server."""
    tunnel = after(*TO_UP, Settled(), ConnectionLost(LOST), RetryDue(), Connected())

    assert tunnel.handle(ForwardsRefused(PORT_TAKEN), 1.0) == [
        CancelTimer(),
        DropConnection(),
        SetRetry(1.5),
    ]
    assert (tunnel.state, tunnel.error, tunnel.reconnects) == (BACKOFF, PORT_TAKEN, 0)


# --- a waiting client -----------------------------------------------------------------------------


def test_a_waiting_client_shortens_the_delay_to_a_second_after_the_last_attempt() -> None:
    tunnel = after(Start(), ConnectFailed(UNREACHABLE), part=ALMOST_ONE)
    for _ in range(6):
        tunnel.handle(RetryDue(), 100.0)
        tunnel.handle(ConnectFailed(UNREACHABLE), 100.2)
    assert tunnel.retry_at == pytest.approx(160.2)

    assert tunnel.handle(ClientWaiting(), 100.3) == [SetRetry(101.0)]
    assert tunnel.retry_at == 101.0
    assert tunnel.handle(ClientWaiting(), 100.4) == []  # the second one changes nothing


def test_a_waiting_client_dials_at_once_where_the_last_attempt_is_long_ago() -> None:
    tunnel = after(*WAYS[BACKOFF], part=ALMOST_ONE)
    for _ in range(6):
        tunnel.handle(RetryDue(), 100.0)
        tunnel.handle(ConnectFailed(UNREACHABLE), 105.0)

    assert tunnel.handle(ClientWaiting(), 110.0) == [SetRetry(110.0)]


def test_a_waiting_client_never_makes_the_delay_longer() -> None:
    tunnel = after(Start(), ConnectFailed(UNREACHABLE), part=0.1)

    assert tunnel.handle(ClientWaiting(), 0.0) == []
    assert tunnel.retry_at == 0.1


@pytest.mark.parametrize("duration", [0.0, 0.4, 1.0, 7.0], ids="an attempt takes {} s".format)
def test_while_a_client_waits_attempts_start_at_most_a_second_apart(duration: float) -> None:
    """Or one right after the other, where an attempt itself takes longer than that."""
    tunnel = machine(part=ALMOST_ONE)
    now = 0.0
    tunnel.handle(Start(), now)
    started = [now]
    for _ in range(40):
        now += duration
        tunnel.handle(ConnectFailed(UNREACHABLE), now)
        tunnel.handle(ClientWaiting(), now)
        assert tunnel.retry_at is not None
        now = tunnel.retry_at
        tunnel.handle(RetryDue(), now)
        started.append(now)

    gaps = [later - earlier for earlier, later in itertools.pairwise(started)]
    assert gaps == pytest.approx([max(1.0, duration)] * 40)


def test_a_waiting_client_does_not_hurry_a_refused_login() -> None:
    tunnel = after(*TO_UP, ConnectionLost(LOST), RetryDue(), ConnectFailed(REFUSED))

    assert tunnel.handle(ClientWaiting(), 100.0) == []
    assert tunnel.retry_at == 225.0


def test_a_waiting_client_hurries_again_when_the_refusal_has_become_something_else() -> None:
    tunnel = after(*TO_UP, ConnectionLost(LOST), RetryDue(), ConnectFailed(REFUSED), part=ALMOST_ONE)
    tunnel.handle(RetryDue(), 300.0)
    tunnel.handle(ConnectFailed(UNREACHABLE), 300.0)

    assert tunnel.handle(ClientWaiting(), 300.5) == [SetRetry(301.0)]


# --- the network ----------------------------------------------------------------------------------


def test_while_there_is_no_route_attempts_are_rare_and_do_not_count() -> None:
    tunnel = after(Start(), Offline())
    for attempt_at in (0.0, 30.0, 60.0, 90.0):
        assert tunnel.handle(ConnectFailed(UNREACHABLE), attempt_at) == [SetRetry(attempt_at + 30.0)]
        assert tunnel.handle(RetryDue(), attempt_at + 30.0) == [CancelTimer(), Connect()]
        assert tunnel.attempt == 1


def test_no_time_without_a_route_brings_the_end_nearer() -> None:
    tunnel = after(Start(), ConnectFailed(UNREACHABLE), retry=Retry(give_up_after=60.0))
    tunnel.handle(Offline(), 10.0)
    tunnel.handle(RetryDue(), 40.0)
    tunnel.handle(ConnectFailed(UNREACHABLE), 3600.0)
    tunnel.handle(PathChanged(), 4000.0)
    tunnel.handle(RetryDue(), 4000.0)

    tunnel.handle(ConnectFailed(UNREACHABLE), 4049.0)
    assert tunnel.state is BACKOFF
    tunnel.handle(RetryDue(), 4050.0)
    tunnel.handle(ConnectFailed(UNREACHABLE), 4050.0)
    assert tunnel.state is FAILED


def test_no_time_that_a_person_takes_brings_the_end_nearer() -> None:
    tunnel = after(Start(), InputNeeded(QUESTION), retry=Retry(give_up_after=60.0))
    tunnel.handle(Answered(), 3600.0)
    tunnel.handle(ConnectFailed(UNREACHABLE), 3659.0)
    assert tunnel.state is BACKOFF


def test_when_there_is_a_route_again_it_dials_at_once_however_long_it_would_have_waited() -> None:
    tunnel = after(Start(), ConnectFailed(UNREACHABLE), Offline())
    assert tunnel.retry_at == 30.0

    assert tunnel.handle(PathChanged(), 5.0) == [SetRetry(5.0)]
    assert tunnel.online


def test_a_burst_of_changes_makes_no_burst_of_attempts() -> None:
    tunnel = after(Start(), ConnectFailed(UNREACHABLE), now=5.0)

    assert tunnel.handle(PathChanged(), 5.05) == [SetRetry(5.2)]
    assert tunnel.handle(PathChanged(), 5.1) == []


def test_another_network_does_not_hurry_a_refused_login() -> None:
    tunnel = after(*TO_UP, ConnectionLost(LOST), RetryDue(), ConnectFailed(REFUSED))

    assert tunnel.handle(PathChanged(), 100.0) == []
    assert tunnel.retry_at == 225.0


def test_an_attempt_over_the_old_network_is_replaced_and_counts_once() -> None:
    tunnel = after(Start())

    assert tunnel.handle(PathChanged(), 3.0) == [CancelTimer(), DropConnection(), Connect()]
    assert (tunnel.state, tunnel.attempt) == (CONNECTING, 1)


def test_what_is_up_is_kept_while_there_is_no_route_and_probed_when_there_is_one() -> None:
    tunnel = after(*TO_UP)

    assert tunnel.handle(Offline(), 1.0) == []
    assert (tunnel.state, tunnel.online) == (UP, False)
    assert tunnel.handle(PathChanged(), 4.0) == [Probe()]
    assert (tunnel.state, tunnel.online) == (UP, True)


def test_what_was_lost_with_its_network_is_dialled_at_once() -> None:
    tunnel = after(*TO_UP)

    actions = tunnel.handle(ConnectionLost(LOST, network_changed=True), 100.0)

    assert actions == [CancelTimer(), DropConnection(), SetRetry(100.0)]


def test_what_was_lost_without_a_route_waits_for_one() -> None:
    tunnel = after(*TO_UP, Offline())

    assert tunnel.handle(ConnectionLost(LOST, network_changed=True), 100.0)[-1] == SetRetry(130.0)


def test_a_waiting_client_is_a_reason_to_try_also_without_a_route() -> None:
    """The machine may be wrong about its routes."""
    tunnel = after(Start(), Offline(), ConnectFailed(UNREACHABLE))

    assert tunnel.handle(ClientWaiting(), 0.5) == [SetRetry(1.0)]


def test_a_connection_that_is_made_proves_that_there_is_a_route() -> None:
    assert after(Start(), Offline(), Connected()).online


def test_a_tunnel_that_is_started_again_thinks_nothing_of_the_old_network() -> None:
    assert after(Start(), Offline(), Stop(), Closed(), Start()).online


# --- a login page -----------------------------------------------------------------------------------


def test_behind_a_login_page_attempts_are_rare_and_cost_nothing() -> None:
    tunnel = machine(Retry(give_up_after=60.0))
    tunnel.handle(Start(), 0.0)
    tunnel.handle(ConnectFailed(UNREACHABLE), 1.0)

    assert tunnel.handle(Explained(PORTAL), 2.0) == [CancelTimer(), SetRetry(32.0)]
    assert (tunnel.state, tunnel.error, tunnel.attempt) == (BACKOFF, PORTAL, 0)
    for now in range(32, 32 + 3000, 30):
        tunnel.handle(RetryDue(), now)
        assert tunnel.handle(ConnectFailed(PORTAL), now) == [SetRetry(now + 30.0)]
        assert (tunnel.state, tunnel.attempt) == (BACKOFF, 0)

    # Who waits at the port cannot hurry it: its end is looked for all the time.
    assert tunnel.handle(ClientWaiting(), 3003.0) == []
    assert tunnel.handle(PathChanged(), 3004.0) == [SetRetry(3004.0)]
    tunnel.handle(RetryDue(), 3004.0)
    tunnel.handle(ConnectFailed(UNREACHABLE), 3005.0)
    assert (tunnel.state, tunnel.attempt) == (BACKOFF, 1)  # now it is the host's own fault, and counts
    tunnel.handle(ClientWaiting(), 3005.0)
    assert tunnel.retry_at == 3005.0


def test_an_attempt_goes_on_although_there_is_a_login_page_for_it_may_get_through() -> None:
    tunnel = after(Start())

    assert tunnel.handle(Explained(PORTAL), 3.0) == []
    assert (tunnel.state, tunnel.error) == (CONNECTING, PORTAL)
    assert tunnel.handle(Connected(), 4.0) == [OpenForwards()]
    assert tunnel.online

    tunnel = after(Start(), Explained(PORTAL))
    assert tunnel.handle(PathChanged(), 5.0) == [CancelTimer(), DropConnection(), Connect()]


def test_the_wrong_port_is_for_a_person_unless_it_was_right_before() -> None:
    tunnel = after(Start(), ConnectFailed(UNREACHABLE))
    assert tunnel.handle(Explained(WRONG_PORT), 1.0) == [CancelTimer(), ReleaseListeners(WRONG_PORT)]
    assert tunnel.state is FAILED

    tunnel = after(*TO_UP, ConnectionLost(LOST), RetryDue(), ConnectFailed(UNREACHABLE))
    retry_at = tunnel.retry_at
    assert tunnel.handle(Explained(WRONG_PORT), 1.0) == []
    assert (tunnel.state, tunnel.error, tunnel.retry_at) == (BACKOFF, UNREACHABLE, retry_at)


# --- on demand ------------------------------------------------------------------------------------

IN_USE: list[Event] = [Start(), ClientWaiting(), Connected(), Ready()]


def test_on_demand_the_ports_are_bound_and_nothing_is_dialled() -> None:
    tunnel = machine(on_demand=True)

    assert tunnel.handle(Start(), 0.0) == [BindListeners()]
    assert tunnel.state is IDLE


def test_the_first_client_has_the_connection_made() -> None:
    tunnel = after(Start(), on_demand=True)

    assert tunnel.handle(ClientWaiting(), 5.0) == [Connect()]
    tunnel.handle(Connected(), 6.0)
    assert tunnel.handle(Ready(), 6.0) == [SetSettle(16.0), WatchClients()]


def test_an_unused_connection_is_ended_and_the_ports_stay() -> None:
    tunnel = after(*IN_USE, on_demand=True)

    assert tunnel.handle(Unused(), 600.0) == [CancelTimer(), DropConnection()]
    assert (tunnel.state, tunnel.error) == (IDLE, None)


def test_to_be_wanted_again_is_no_reconnect() -> None:
    tunnel = after(*IN_USE, Unused(), *IN_USE[1:], on_demand=True)

    assert (tunnel.state, tunnel.reconnects) == (UP, 0)


def test_a_lost_connection_that_nobody_waits_for_is_left_alone() -> None:
    tunnel = after(*IN_USE, ConnectionLost(LOST), on_demand=True)

    assert tunnel.handle(RetryDue(clients=False), 1.0) == []
    assert (tunnel.state, last_error(tunnel)) == (IDLE, LOST)


def test_a_lost_connection_that_a_client_waits_for_is_dialled_again() -> None:
    tunnel = after(*IN_USE, ConnectionLost(LOST), on_demand=True)

    assert tunnel.handle(RetryDue(clients=True), 1.0) == [CancelTimer(), Connect()]


def test_all_or_nothing_holds_before_the_first_client_too() -> None:
    tunnel = after(Start(), on_demand=True)

    assert tunnel.handle(ForwardsRefused(PORT_TAKEN), 0.0)[-1] == ReleaseListeners(PORT_TAKEN)
    assert tunnel.state is FAILED


# --- a whole day ----------------------------------------------------------------------------------


def test_a_day_with_sleep_roaming_a_reboot_and_a_changed_password() -> None:
    tunnel = machine()
    story: list[tuple[str, Event, float, TunnelState]] = [
        ("in the morning", Start(), 0.0, CONNECTING),
        ("at home", Connected(), 0.3, CONNECTING),
        ("it works", Ready(), 0.4, UP),
        ("and goes on working", Settled(), 10.4, UP),
        ("the lid is closed", Offline(), 1800.0, UP),
        ("on the train, another address", ConnectionLost(LOST, network_changed=True), 5400.0, BACKOFF),
        ("no network yet", RetryDue(), 5430.0, CONNECTING),
        ("none", ConnectFailed(UNREACHABLE), 5430.1, BACKOFF),
        ("a network", PathChanged(), 5437.0, BACKOFF),
        ("at once", RetryDue(), 5437.0, CONNECTING),
        ("through a tunnel of the railway", Offline(), 5437.2, CONNECTING),
        ("out of it", PathChanged(), 5441.0, CONNECTING),
        ("connected", Connected(), 5441.4, CONNECTING),
        ("up", Ready(), 5441.5, UP),
        ("settled", Settled(), 5451.5, UP),
        ("a short tunnel", Offline(), 5500.0, UP),
        ("it survives", PathChanged(), 5503.0, UP),
        ("at noon the server is restarted", ConnectionLost(LOST), 9000.0, BACKOFF),
        ("try", RetryDue(), 9000.5, CONNECTING),
        ("not yet", ConnectFailed(UNREACHABLE), 9000.6, BACKOFF),
        ("a client asks", ClientWaiting(), 9000.7, BACKOFF),
        ("try", RetryDue(), 9001.5, CONNECTING),
        ("there", Connected(), 9001.9, CONNECTING),
        ("up", Ready(), 9002.0, UP),
        ("and lost", ConnectionLost(LOST), 9100.0, BACKOFF),
        ("try", RetryDue(), 9101.0, CONNECTING),
        ("the account is being moved", ConnectFailed(REFUSED), 9101.5, BACKOFF),
        ("a client does not hurry that", ClientWaiting(), 9102.0, BACKOFF),
        ("nor does another network", PathChanged(), 9110.0, BACKOFF),
        ("minutes later", RetryDue(), 9326.5, CONNECTING),
        ("the key of the new machine", ConnectFailed(WRONG_KEY), 9327.0, FAILED),
        ("the person has looked", Start(), 9400.0, CONNECTING),
        ("asked", InputNeeded(QUESTION), 9400.5, NEEDS_INPUT),
        ("answered", Answered(), 9460.0, CONNECTING),
        ("in", Connected(), 9460.5, CONNECTING),
        ("up", Ready(), 9460.6, UP),
        ("good night", Stop(), 30_000.0, STOPPING),
        ("gone", Closed(), 30_000.1, STOPPED),
    ]
    for what, event, now, expected in story:
        tunnel.handle(event, now)
        assert tunnel.state is expected, what


# --- what cannot happen ---------------------------------------------------------------------------

#: Written down a second time on purpose: what is added to the machine is added here, with a story above.
POSSIBLE: dict[TunnelState, set[type[Event]]] = {
    STOPPED: {Start, Stop},
    CONNECTING: {
        *(Start, Stop, Connected, Ready, ForwardsRefused),
        *(ConnectFailed, InputNeeded, ConnectionLost, ClientWaiting, Explained, Offline, PathChanged),
    },
    UP: {Start, Stop, ConnectionLost, Settled, ClientWaiting, Offline, PathChanged, Unused},
    IDLE: {Start, Stop, ClientWaiting, ForwardsRefused, Offline, PathChanged},
    BACKOFF: {Start, Stop, RetryDue, ClientWaiting, Explained, Offline, PathChanged},
    NEEDS_INPUT: {Start, Stop, Answered, ClientWaiting, Offline, PathChanged},
    FAILED: {Start, Stop},
    STOPPING: {
        *(Start, Stop, Connected, Ready, ForwardsRefused),
        *(ConnectFailed, InputNeeded, ConnectionLost, ClientWaiting, Closed),
    },
}

CELLS = [(state, event) for state in TunnelState for event in EVENTS]


def cell_id(value: TunnelState | Event) -> str:
    return value.value if isinstance(value, TunnelState) else type(value).__name__


def test_no_event_is_left_out() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(Event))


@pytest.mark.parametrize(
    ("state", "event"), [cell for cell in CELLS if type(cell[1]) not in POSSIBLE[cell[0]]], ids=cell_id
)
def test_an_impossible_event_raises_and_changes_nothing(state: TunnelState, event: Event) -> None:
    tunnel = at(state)
    before = dict(vars(tunnel))

    with pytest.raises(IllegalEvent) as caught:
        tunnel.handle(event, 5.0)

    assert str(caught.value) == f"{type(event).__name__} is not possible while {state.value}"
    assert vars(tunnel) == before


@pytest.mark.parametrize(
    ("state", "event"), [cell for cell in CELLS if type(cell[1]) in POSSIBLE[cell[0]]], ids=cell_id
)
def test_a_possible_event_is_taken(state: TunnelState, event: Event) -> None:
    tunnel = at(state)

    actions = tunnel.handle(event, 5.0)

    assert all(isinstance(action, get_args(Action)) for action in actions)


def test_a_machine_says_where_it_stands() -> None:
    assert repr(after(*WAYS[BACKOFF])) == "<Lifecycle backoff, attempt 1>"
