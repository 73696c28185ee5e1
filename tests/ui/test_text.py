from __future__ import annotations

import pytest
from rich.console import Console

from tests.daemon.served import FILE, NOW, forward, profile_file, tunnel
from tunnels import profiles
from tunnels.core.client_status import Clients, ClientStatus
from tunnels.core.question import Question
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import DaemonStatus, Snapshot, TunnelStatus
from tunnels.errors import ErrorInfo
from tunnels.programs import Program
from tunnels.ui import text
from tunnels.ui.feed import News
from tunnels.ui.rates import Rate, Rates
from tunnels.ui.rows import Row, rows

BUSY = Rate(1_200_000, 3000, (0, 500_000, 1_203_000))
QUESTION = Question("q1", "password", "me@bastion wants a password", "Password:", secret=True)
REFUSED = ErrorInfo("login-refused", "bastion refused the login", "set identity_file")


def line(one: TunnelStatus, rate: Rate = BUSY, width: int = 120) -> str:
    return text.row_text(Row(tunnel=one), rate, NOW + 60, width=width, names=8).plain


NOTHING = News(Snapshot(None))


def about(one: TunnelStatus, news: News = NOTHING) -> str:
    row = Row(tunnel=one)
    return "\n".join(it.plain for it in text.details(row, news, Rates(), NOW + 60, width=78))


def test_a_row_says_state_since_when_round_trip_rates_and_clients() -> None:
    words = line(tunnel("work-db", rtt_ms=23.4, forwards=(forward(clients=3, bytes_in=9),)))
    for part in ("● work-db", "up 1m", "23 ms", "▁▄█", "↓1.2 MB/s ↑3.0 kB/s", "3 clients"):
        assert part in words


def test_where_there_is_little_room_the_least_important_goes_first() -> None:
    up = tunnel("work-db", rtt_ms=23.4, forwards=(forward(clients=3, bytes_in=9),))
    assert "↓" not in line(up, width=60)
    assert "23 ms" in line(up, width=60)
    for width in range(1, 100):
        assert len(line(up, width=width)) <= width


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (tunnel(state=TunnelState.FAILED, error=REFUSED), "refused the login"),
        (tunnel(state=TunnelState.NEEDS_INPUT, question=QUESTION), "wants a password"),
        (tunnel(state=TunnelState.BACKOFF, error=REFUSED, attempt=2, retry_at=NOW + 70), "attempt 3 in 10s"),
        (tunnel(forwards=(forward(state=ForwardState.FAILED, error=REFUSED),)), "1 forward failed"),
        (tunnel(offline=True), "offline"),
    ],
)
def test_a_row_says_why_something_does_not_work(one: TunnelStatus, words: str) -> None:
    assert words in line(one)


def test_what_a_stranger_has_written_cannot_command_the_terminal() -> None:
    evil = ErrorInfo("x", "bad \x1b[2J\x07thing", "hint\x1b]0;x\x07")
    one = tunnel(state=TunnelState.FAILED, error=evil)
    question = QUESTION._replace(text="\x1b[2J evil\x07")
    asked = tunnel(state=TunnelState.NEEDS_INPUT, question=question)
    shown = [
        line(one),
        about(one),
        line(asked),
        about(asked),
        text.log_line("2026-11-20T09:00:00.000Z INFO a \x1b[2J").plain,
    ]
    assert not any(char in words for words in shown for char in "\x1b\x07")


def test_details_name_the_programs_and_where_the_clients_of_a_proxy_go() -> None:
    one = ClientStatus("cafe", 0, "dynamic", ("127.0.0.1", 51234), "example.org:443", 61.0)
    clients = Clients((one, one._replace(tunnel="other", connect="elsewhere:1")), 4)
    proxy = forward("localhost:1080", None, kind="dynamic")
    news = News(Snapshot(None), clients=clients, programs={one: Program("firefox", 4711)})
    words = about(tunnel("cafe", forwards=(proxy,)), news)
    assert "firefox (pid 4711) from 127.0.0.1:51234  → example.org:443 · 1m 1s" in words
    assert "elsewhere" not in words
    assert "4 more clients" in words


def test_details_of_one_at_rest_say_how_to_start_it() -> None:
    file = profiles.load(profile_file(FILE))
    row = next(row for row in rows(file.profiles.values(), Snapshot(None)) if row.name == "work-db")
    words = "\n".join(it.plain for it in text.details(row, News(Snapshot(None)), Rates(), NOW, width=78))
    assert "tunnels up work-db" in words
    assert "localhost:5432 → db.internal:5432" in words


def test_the_first_line_counts_and_says_who_waits() -> None:
    asked = tunnel("home", TunnelState.NEEDS_INPUT, question=QUESTION)
    words = text.head(News(Snapshot(None, (tunnel(), asked))), "work").plain
    assert "1 of 2 up" in words
    assert "home: waits for an answer (a)" in words
    assert "only 'work'" in words


def test_the_first_line_says_that_there_is_no_daemon() -> None:
    assert "not running" in text.head(News(Snapshot(None), trouble="the daemon is not running"), "").plain


def test_a_problem_of_the_file_is_said_once_and_short() -> None:
    daemon = DaemonStatus(1, "0", NOW, "/p.toml", "p.toml: 3 problems\nline 1\nline 2\nline 3")
    words = text.notice(News(Snapshot(daemon))).plain
    assert "p.toml: 3 problems line 1 (and 2 more lines; `tunnels check`)" in words
    assert (
        "turned away" in text.notice(News(Snapshot(daemon._replace(config_error=None, turned_away=3)))).plain
    )
    assert text.notice(News(Snapshot(None))).plain == ""


def test_a_line_that_is_none_of_ours_is_shown_as_it_is() -> None:
    assert text.log_line("    Traceback").plain == "    Traceback"
    assert text.log_line("2026-99-99T09:00:00.000Z INFO a b").plain.endswith("a b")


def test_a_heading_stands_out() -> None:
    line = text.row_text(Row(heading="office"), Rate(), NOW, width=40, names=8)
    styles = [segment.style for segment in line.render(Console()) if segment.text == "office"]
    assert [style and style.bold for style in styles] == [True]
