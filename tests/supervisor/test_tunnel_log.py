"""What a tunnel writes into the log, in words that its user can read later."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.fakes import local
from tunnels.core.address import TcpAddress
from tunnels.core.lifecycle import Lifecycle
from tunnels.core.state import TunnelState
from tunnels.errors import ConnectionLost, DialError, ListenError
from tunnels.supervisor.tunnel_log import MOST_REFUSED, REFUSED_INTERVAL, TunnelLog

LOST = ConnectionLost("the server did not answer the keepalives")
INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> TunnelLog:
    caplog.set_level(logging.DEBUG)
    return TunnelLog("work-db")


def machine(state: TunnelState, **rest: Any) -> Lifecycle:
    facts = {"state": state, "error": LOST, "retry_at": 112.0, "online": True, "attempt": 3}
    return cast("Lifecycle", SimpleNamespace(**(facts | rest)))


@pytest.mark.parametrize(
    ("state", "rest", "level", "text"),
    [
        (TunnelState.BACKOFF, {}, WARNING, "the server did not answer the keepalives; attempt 4 in 12.0 s"),
        (
            TunnelState.BACKOFF,
            {"retry_at": 99.0},
            WARNING,
            "the server did not answer the keepalives; attempt 4 in 0.0 s",
        ),
        (
            TunnelState.BACKOFF,
            {"online": False},
            WARNING,
            "the server did not answer the keepalives; offline, waits for the network; attempt 4 in 12.0 s",
        ),
        (TunnelState.FAILED, {}, ERROR, "failed: the server did not answer the keepalives"),
        (TunnelState.NEEDS_INPUT, {}, WARNING, "needs input: the server did not answer the keepalives"),
        (TunnelState.CONNECTING, {}, INFO, "connecting to bastion (attempt 3)"),
        (TunnelState.CONNECTING, {"error": None}, INFO, "connecting to bastion (attempt 3)"),
        (TunnelState.UP, {}, INFO, "up"),
        (TunnelState.IDLE, {}, INFO, "idle"),
        (TunnelState.STOPPING, {}, INFO, "stopping"),
        (TunnelState.STOPPED, {}, INFO, "stopped"),
    ],
)
def test_each_state_is_one_line(
    log: TunnelLog,
    caplog: pytest.LogCaptureFixture,
    state: TunnelState,
    rest: dict[str, Any],
    level: int,
    text: str,
) -> None:
    log.state("bastion", machine(state, **rest), 100.0)
    assert caplog.record_tuples == [("tunnels.tunnel", level, text)]


def test_every_line_carries_the_name_of_its_tunnel(log: TunnelLog, caplog: pytest.LogCaptureFixture) -> None:
    log.info("anything")
    assert caplog.records[0].__dict__["tunnel"] == "work-db"


def test_a_client_and_a_forward_that_fail_are_said_with_where_they_lead(
    log: TunnelLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.client_refused(TcpAddress("db.internal", 5432), DialError("connection refused"))
    forward = local(5432)
    log.forward_failed(forward, ListenError("the port is taken"))
    assert caplog.record_tuples == [
        ("tunnels.tunnel", WARNING, "a client could not reach db.internal:5432: connection refused"),
        ("tunnels.tunnel", ERROR, f"{forward}: the port is taken"),
    ]


def test_going_offline_is_said_by_those_who_want_to_be_connected(
    log: TunnelLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.offline("bastion", TunnelState.UP)
    log.offline("bastion", TunnelState.IDLE)
    assert caplog.messages == ["offline: no route to bastion"]


@pytest.mark.parametrize(
    ("was_offline", "text"),
    [(True, "there is a route to bastion again"), (False, "the way to bastion has changed")],
)
def test_coming_back_is_told_from_a_change(
    log: TunnelLog, caplog: pytest.LogCaptureFixture, was_offline: bool, text: str
) -> None:
    log.back_online("bastion", TunnelState.IDLE, was_offline=was_offline)  # nothing of it is to be seen
    log.back_online("bastion", TunnelState.BACKOFF, was_offline=was_offline)
    assert caplog.messages == [text]


def test_an_answer_is_logged_as_one_with_how_long_it_took_and_nothing_of_what_it_was(
    log: TunnelLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.state("bastion", machine(TunnelState.NEEDS_INPUT), 100.0)
    log.state("bastion", machine(TunnelState.CONNECTING), 112.5)
    assert caplog.messages[-1] == "goes on with an answer, after 12.5 s"


def test_an_attempt_after_a_question_is_another_attempt(
    log: TunnelLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.state("bastion", machine(TunnelState.NEEDS_INPUT), 100.0)
    log.state("bastion", machine(TunnelState.CONNECTING, attempt=4), 112.5)
    assert caplog.messages[-1] == "connecting to bastion (attempt 4)"


def test_a_program_that_tries_again_and_again_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    log = TunnelLog("work-db", lambda: now)
    database, web, error = TcpAddress("db", 5432), TcpAddress("web", 80), DialError("connection refused")
    for _ in range(1000):
        log.client_refused(database, error)
        now += REFUSED_INTERVAL / 2000
    log.client_refused(web, error)
    log.client_refused(database, DialError("timed out"))
    now += REFUSED_INTERVAL
    log.client_refused(database, error)
    now += REFUSED_INTERVAL
    log.client_refused(database, error)
    assert caplog.messages == [
        "a client could not reach db:5432: connection refused",
        "a client could not reach web:80: connection refused",
        "a client could not reach db:5432: timed out",
        "a client could not reach db:5432: connection refused (999 more since it was last said)",
        "a client could not reach db:5432: connection refused",
    ]


def test_a_client_of_a_proxy_that_tries_every_destination_costs_no_memory(log: TunnelLog) -> None:
    for port in range(1, 10 * MOST_REFUSED):
        log.client_refused(TcpAddress("db", port), DialError("connection refused"))
    assert len(log._refused) == MOST_REFUSED
