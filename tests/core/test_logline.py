"""A line of the log is one line, whatever is put into it, and comes out as it went in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.logline import LogLine, parse, screenful, shortened

TIME = "2026-11-20T09:00:00.000Z"

LEVELS = st.sampled_from(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
NAMES = st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
PRINTABLE = st.text().map(lambda text: "".join(char for char in text if char.isprintable()))


def test_a_line_has_time_level_tunnel_and_message() -> None:
    line = LogLine(TIME, "INFO", "work-db", "connecting to bastion")

    assert str(line) == "2026-11-20T09:00:00.000Z INFO work-db connecting to bastion"


def test_a_line_about_the_daemon_itself_has_a_dash_for_the_tunnel() -> None:
    assert str(LogLine(TIME, "INFO", None, "ready")) == f"{TIME} INFO - ready"
    assert parse(f"{TIME} INFO - ready\n") == LogLine(TIME, "INFO", None, "ready")


@given(level=LEVELS, tunnel=NAMES, message=PRINTABLE)
def test_what_was_written_is_read_back(level: str, tunnel: str | None, message: str) -> None:
    line = LogLine(TIME, level, tunnel, message)

    assert parse(f"{line}\n") == line


@given(st.text())
def test_a_message_stays_one_line_and_sends_nothing_to_the_terminal(message: str) -> None:
    """Line breaks of every kind, escape sequences, marks that turn the text around: all become blanks."""
    text = str(LogLine(TIME, "INFO", "work-db", message))

    assert text.splitlines() == [text]
    assert text.isprintable()


@pytest.mark.parametrize("char", ["\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u202e", "\ud800"])
def test_a_control_character_becomes_a_blank(char: str) -> None:
    assert str(LogLine(TIME, "INFO", None, f"a{char}b")) == f"{TIME} INFO - a b"


def test_a_forged_line_in_a_message_is_no_line_of_its_own() -> None:
    """A server chooses its banner; it does not choose what our log says."""
    text = str(LogLine(TIME, "INFO", "work-db", f"banner\n{TIME} ERROR home stolen"))

    assert [parse(line) for line in text.splitlines()] == [
        LogLine(TIME, "INFO", "work-db", f"banner {TIME} ERROR home stolen")
    ]


def test_a_message_keeps_its_blanks() -> None:
    line = LogLine(TIME, "INFO", "work-db", "  two  blanks  ")

    assert parse(str(line)) == line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "Traceback (most recent call last):",
        '    File "/x/tunnels/tasks.py", line 1, in spawn',
        "2026-11-20T09:00:00.000Z INFO work-db",  # cut off
        "2026-11-20 09:00:00 INFO work-db something",
        "notatimeZ INFO work-db something",
    ],
)
def test_something_else_is_no_line(text: str) -> None:
    assert parse(text) is None


@given(st.text() | st.text().map(lambda text: f"{TIME} {text}"))
def test_reading_never_fails(text: str) -> None:
    found = parse(text)

    assert found is None or isinstance(found, LogLine)


# --- text by strangers ----------------------------------------------------------------------------


def test_a_text_that_is_too_long_is_cut_and_says_so() -> None:
    assert shortened("Password:", 9) == "Password:"
    assert shortened("Password: ", 9) == "Password…"


def test_a_servers_novel_does_not_hide_what_is_above_it_and_commands_nothing() -> None:
    novel = "\n".join(["\x1b[2Jhello  ", *["x" * 10_000] * 10_000])
    shown = screenful(novel, lines=3, columns=10).split("\n")
    assert shown == [" [2Jhello", "xxxxxxxxx…", "…"]


def test_a_short_text_is_shown_whole() -> None:
    assert screenful("one\n\ntwo\n") == "one\n\ntwo"
