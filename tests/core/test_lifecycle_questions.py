"""The state machine and the person: questions that an attempt waits with, and those that nobody answers."""

from __future__ import annotations

import pytest

from tunnels.core import actions as do
from tunnels.core import events as ev
from tunnels.core.lifecycle import IllegalEvent, Lifecycle
from tunnels.core.profile import Retry
from tunnels.core.state import TunnelState
from tunnels.errors import HostUnreachable, NeedsPerson

ASKED = NeedsPerson("me@bastion asks for a password")
HUNG_UP = HostUnreachable("bastion hung up")


def asking(*, after_up: bool = False, answered: bool = False) -> Lifecycle:
    """A tunnel whose attempt waits for an answer."""
    machine = Lifecycle(Retry(), random=lambda: 0.5)
    machine.handle(ev.Start(), 0.0)
    if answered:
        machine.handle(ev.InputNeeded(ASKED, waits=True), 0.5)
        machine.handle(ev.Answered(), 0.7)
    if after_up:
        machine.handle(ev.Connected(), 1.0)
        machine.handle(ev.Ready(), 1.0)
        machine.handle(ev.ConnectionLost(HUNG_UP), 50.0)
        machine.handle(ev.RetryDue(), 51.0)
    machine.handle(ev.InputNeeded(ASKED, waits=True), 52.0)
    assert state(machine) is TunnelState.NEEDS_INPUT
    return machine


def state(machine: Lifecycle) -> TunnelState:
    """A function, because it changes while a test looks at it."""
    return machine.state


def test_an_attempt_that_waits_goes_on_with_the_answer() -> None:
    machine = asking()
    assert machine.handle(ev.Answered(), 60.0) == []
    assert state(machine) is TunnelState.CONNECTING
    assert machine.attempt == 1
    machine.handle(ev.Connected(), 61.0)
    machine.handle(ev.Ready(), 61.0)
    assert state(machine) is TunnelState.UP


def test_there_may_be_several_questions() -> None:
    machine = asking()
    for now in (60.0, 70.0, 80.0):
        assert machine.handle(ev.Answered(), now) == []
        assert machine.handle(ev.InputNeeded(ASKED, waits=True), now + 1) == []
        assert state(machine) is TunnelState.NEEDS_INPUT


def test_whoever_wants_it_up_finds_the_question_open() -> None:
    machine = asking()
    assert machine.handle(ev.Start(), 60.0) == []
    assert state(machine) is TunnelState.NEEDS_INPUT


def test_a_server_that_stops_waiting_is_not_dialled_until_somebody_is_there() -> None:
    machine = asking()
    assert machine.handle(ev.ConnectFailed(HUNG_UP), 172.0) == []
    assert state(machine) is TunnelState.NEEDS_INPUT
    assert machine.error is ASKED
    assert machine.handle(ev.ClientWaiting(), 173.0) == []
    assert machine.handle(ev.Start(), 9000.0) == [do.Connect()]
    assert state(machine) is TunnelState.CONNECTING


def test_a_tunnel_that_needed_answers_before_is_not_dialled_either() -> None:
    machine = asking(after_up=True, answered=True)
    assert machine.handle(ev.ConnectFailed(HUNG_UP), 172.0) == []
    assert state(machine) is TunnelState.NEEDS_INPUT


def test_a_tunnel_that_never_needed_an_answer_is_tried_again_slowly() -> None:
    machine = asking(after_up=True)
    (retry,) = machine.handle(ev.ConnectFailed(HUNG_UP), 172.0)
    assert isinstance(retry, do.SetRetry)
    assert retry.at >= 172.0 + 60
    assert state(machine) is TunnelState.BACKOFF
    assert machine.error is ASKED
    assert machine.handle(ev.ClientWaiting(), 173.0) == []  # nobody hurries it


def test_an_attempt_that_does_not_wait_cannot_fail() -> None:
    machine = asking()
    machine.handle(ev.ConnectFailed(HUNG_UP), 172.0)
    with pytest.raises(IllegalEvent):
        machine.handle(ev.ConnectFailed(HUNG_UP), 173.0)
