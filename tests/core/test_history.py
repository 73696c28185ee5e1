"""Records: what becomes one, what a line says, and what of the past is still open."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.history import MAX_TEXT, Facts, Record, Scribe, What, parse_record, parse_records
from tunnels.core.state import TunnelState as S
from tunnels.core.transition import Transition
from tunnels.errors import ErrorInfo

LOST = ErrorInfo("connection-lost", "the server did not answer")
REFUSED = ErrorInfo("host-unreachable", "refused", "is sshd running?")
NINE = 1_795_165_200.0

RECORDS = [
    Record(NINE, What.STARTED, since=NINE - 60),
    Record(NINE + 1, What.WANTED, "work-db"),
    Record(NINE + 2, What.UP, "work-db", REFUSED, attempts=3),
    Record(NINE + 3.25, What.DOWN, "work-db", LOST),
    Record(NINE + 4, What.SLEPT, seconds=3600.5),
    Record(NINE + 5, What.NEEDS_INPUT, "work-db", LOST),
    Record(NINE + 6, What.STOPPED, "work-db"),
    Record(NINE + 7, What.ENDED),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.what.value)
def test_a_record_is_read_back_as_it_was_written(record: Record) -> None:
    assert parse_record(str(record)) == record


def test_a_line_is_for_people_and_programs() -> None:
    assert str(RECORDS[3]) == (
        '{"at": "2026-11-20T09:00:03.250Z", "what": "down", "tunnel": "work-db", "error": '
        '{"code": "connection-lost", "message": "the server did not answer", "hint": null}}'
    )


def test_a_server_that_says_a_novel_does_not_fill_the_file() -> None:
    line = str(Record(NINE, What.DOWN, "x", ErrorInfo("c", "m" * 100_000, "h\n" * 100_000)))
    assert len(line) < 4 * MAX_TEXT
    assert parse_record(line) is not None


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "null",
        "{}",
        '{"at": "2026-11-20T09:00:00Z"}',
        '{"at": "yesterday", "what": "up"}',
        '{"at": 5, "what": "up"}',
        '{"at": "2026-11-20T09:00:00Z", "what": "exploded"}',
        '{"at": "2026-11-20T09:00:00Z", "what": ["up"]}',
        "[" * 5000,
        str(RECORDS[3])[:-10],
        " " * 10_000 + str(RECORDS[3]),
    ],
)
def test_what_is_no_record_is_none(line: str) -> None:
    assert parse_record(line) is None


@given(st.text(max_size=80) | st.sampled_from([str(record) for record in RECORDS]))
def test_no_line_is_an_error(line: str) -> None:
    parse_record(line)


@pytest.mark.parametrize("seconds", ["1e999", "NaN", "-5", '"long"', "true"])
def test_a_number_that_makes_no_sense_is_none(seconds: str) -> None:
    line = '{"at": "2026-11-20T09:00:00Z", "what": "slept", "seconds": %s}' % seconds  # noqa: UP031
    record = parse_record(line)
    assert record is not None
    assert 0 <= record.seconds <= 1


def test_what_a_new_file_repeats_is_read_once() -> None:
    text = "".join(f"{record}\n" for record in [*RECORDS[:3], *RECORDS[1:]])
    assert parse_records(text) == RECORDS


# --- what becomes a record ------------------------------------------------------------------------


def story(*states: S, error: ErrorInfo | None = None) -> list[tuple[str, int]]:
    """What is written of these states, one second each, and the attempts."""
    scribe, written = Scribe(), []
    for number, (before, after) in enumerate(itertools.pairwise(states)):
        trouble = error or REFUSED if after in {S.BACKOFF, S.FAILED, S.NEEDS_INPUT} else None
        record = scribe.take(Transition("work-db", before, after, NINE + number, trouble))
        if record is not None:
            written.append((record.what.value, record.attempts))
    return written


def test_a_night_of_attempts_is_two_records() -> None:
    night = [S.BACKOFF, S.CONNECTING] * 1000
    assert story(S.STOPPED, S.CONNECTING, S.UP, *night, S.UP) == [
        ("wanted", 0),
        ("up", 1),
        ("down", 0),
        ("up", 1000),
    ]


def test_one_that_never_gets_up_says_once_why() -> None:
    assert story(S.STOPPED, S.CONNECTING, S.BACKOFF, S.CONNECTING, S.BACKOFF) == [("wanted", 0), ("down", 0)]


def test_a_failure_that_somebody_tries_again_is_said_again() -> None:
    assert story(S.STOPPED, S.CONNECTING, S.FAILED, S.CONNECTING, S.FAILED) == [
        *(("wanted", 0), ("failed", 0)),
        *(("wanted", 0), ("failed", 0)),
    ]


def test_a_question_and_its_answer() -> None:
    assert story(S.STOPPED, S.CONNECTING, S.NEEDS_INPUT, S.CONNECTING, S.UP, S.STOPPING, S.STOPPED) == [
        *(("wanted", 0), ("needs-input", 0), ("up", 2), ("stopped", 0)),
    ]


def test_an_idle_tunnel_works_and_dialling_for_its_client_is_nothing_to_write_down() -> None:
    assert story(S.STOPPED, S.IDLE, S.CONNECTING, S.UP, S.IDLE, S.CONNECTING, S.UP) == [("up", 0)]
    assert story(S.STOPPED, S.IDLE, S.CONNECTING, S.BACKOFF) == [("up", 0), ("down", 0)]


# --- what is still open ---------------------------------------------------------------------------


def test_of_an_outage_remain_why_it_began_and_why_it_still_is() -> None:
    failed = [Record(NINE + n, What.FAILED, "work-db", REFUSED) for n in (10, 20)]
    facts = Facts([*RECORDS[:4], *failed])
    assert list(facts.open()) == [*RECORDS[:4], failed[1]]


def test_of_a_tunnel_that_is_down_on_purpose_nothing_remains() -> None:
    assert list(Facts(RECORDS).open()) == [RECORDS[-1]]


def test_of_a_tunnel_that_no_daemon_takes_up_any_more_nothing_remains() -> None:
    started = [Record(NINE + 100 * n, What.STARTED) for n in (1, 2)]
    assert RECORDS[2] in Facts([*RECORDS[:3], started[0]]).open()
    assert list(Facts([*RECORDS[:3], *started]).open()) == [started[1]]


def test_whether_the_last_daemon_ended_on_purpose_is_known() -> None:
    assert Facts().ended
    assert not Facts(RECORDS[:-1]).ended
    assert Facts(RECORDS).ended


def test_what_happened_at_the_same_moment_stays_in_its_order() -> None:
    began = [Record(NINE, What.STARTED), Record(NINE, What.WANTED, "b"), Record(NINE, What.WANTED, "a")]
    assert list(Facts(began).open()) == began
