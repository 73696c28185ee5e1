"""What history, hooks and notifications are told of a change, and when an error is its reason."""

from __future__ import annotations

import pytest

from tunnels.core.state import TunnelState
from tunnels.core.transition import Transition, transition
from tunnels.errors import ConnectionLost, ErrorInfo

LOST = ConnectionLost("the server did not answer the keepalives", hint="tunnels why work-db")


@pytest.mark.parametrize("after", [TunnelState.BACKOFF, TunnelState.FAILED, TunnelState.NEEDS_INPUT])
def test_a_change_for_the_worse_says_why(after: TunnelState) -> None:
    assert transition("work-db", TunnelState.UP, after, 17.0, LOST) == Transition(
        "work-db",
        TunnelState.UP,
        after,
        17.0,
        ErrorInfo("connection-lost", "the server did not answer the keepalives", "tunnels why work-db"),
    )


@pytest.mark.parametrize(
    "after",
    [
        *(TunnelState.UP, TunnelState.CONNECTING, TunnelState.IDLE),
        *(TunnelState.STOPPED, TunnelState.STOPPING),
    ],
)
def test_an_error_of_the_past_is_no_reason_for_a_change_for_the_better(after: TunnelState) -> None:
    assert transition("work-db", TunnelState.BACKOFF, after, 17.0, LOST).error is None


@pytest.mark.parametrize("after", TunnelState)
def test_without_an_error_there_is_none(after: TunnelState) -> None:
    assert transition("work-db", TunnelState.UP, after, 17.0, None).error is None
