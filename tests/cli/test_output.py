from __future__ import annotations

import io
import json
import sys

import pytest
from rich.text import Text

from tests.cli.console import forget_consoles, streams
from tunnels.cli import output
from tunnels.errors import NoSuchProfile, UsageError

ERROR = NoSuchProfile("no profile work-dbb in /p.toml", hint="did you mean work-db?")
LONG = "a sentence that goes on and on " * 10


def test_results_go_to_stdout_and_everything_else_to_stderr() -> None:
    with streams() as (out, err):
        output.out().print("result")
        output.print_lines([Text("line")])
        output.print_json({"version": 1})
        output.note("by the way")
        output.show_error(ERROR)
    assert out.getvalue() == 'result\nline\n{\n  "version": 1\n}\n'
    assert err.getvalue() == (
        "by the way\nerror: no profile work-dbb in /p.toml\nhint: did you mean work-db?\n"
    )


def test_an_error_without_a_hint_is_one_line() -> None:
    with streams() as (_, err):
        output.show_error(UsageError("no"))
    assert err.getvalue() == "error: no\n"


def test_an_error_as_json_is_one_document_on_stdout_and_nothing_else() -> None:
    with streams() as (out, err):
        output.show_error(ERROR, as_json=True)
    assert json.loads(out.getvalue()) == {
        "version": 1,
        "error": {
            "code": "no-such-profile",
            "message": "no profile work-dbb in /p.toml",
            "hint": "did you mean work-db?",
        },
    }
    assert err.getvalue() == ""


def test_what_is_in_brackets_is_text_and_not_a_style() -> None:
    with streams(is_terminal=True) as (_, err):
        output.note("forward [::1]:80 [bold]")
        output.show_error(UsageError("[red]", hint="[/red]"))
    for part in ("forward [::1]:80 [bold]", "[red]", "[/red]"):
        assert part in err.getvalue()


def test_what_is_between_colons_is_text_and_not_a_picture() -> None:
    with streams(is_terminal=True) as (out, err):
        output.out().print("5432:fire:5432")
        output.err().print("5432:a:5432")
    assert ":fire:" in out.getvalue()
    assert ":a:" in err.getvalue()


# --- colours --------------------------------------------------------------------------------------


def error_shown(*, is_terminal: bool) -> str:
    with streams(is_terminal=is_terminal) as (_, err):
        output.show_error(ERROR)
    return str(err.getvalue())


def test_there_are_colours_on_a_terminal_only() -> None:
    assert "\x1b[" in error_shown(is_terminal=True)
    assert "\x1b" not in error_shown(is_terminal=False)


def test_no_color_takes_the_colours_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in error_shown(is_terminal=True)


def test_each_stream_is_looked_at_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with streams(is_terminal=True) as (out, err):
        pipe = io.StringIO()
        monkeypatch.setattr(sys, "stdout", pipe)
        output.out().print(Text("result", "red"))
        output.show_error(ERROR)
        assert pipe.getvalue() == "result\n"
    assert "\x1b" in err.getvalue()
    assert out.getvalue() == ""


# --- width ----------------------------------------------------------------------------------------


def test_a_long_line_is_one_line_where_a_program_reads_and_folded_on_a_terminal() -> None:
    for is_terminal in (False, True):
        with streams(is_terminal=is_terminal) as (out, err):
            output.print_lines([Text(LONG)])
            output.note(LONG)
            output.show_error(UsageError(LONG))
        longest = max(len(line) for text in (out, err) for line in text.getvalue().splitlines())
        assert (longest <= 80 + len("\x1b[1;31m\x1b[0m")) is is_terminal
        assert (len(out.getvalue().splitlines()) == 1) is not is_terminal


# --- what cannot be printed -----------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_stream_that_cannot_take_every_character_gets_what_it_can(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, write_through=True))
    forget_consoles()
    try:
        output.print_lines([Text("● work-db  up")])
        output.print_json({"description": "☕"})
    finally:
        forget_consoles()
    assert b"work-db  up" in raw.getvalue()


def test_a_path_that_is_not_unicode_can_be_printed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8", write_through=True))
    output.print_json({"config": "/caf\udce9/profiles.toml"})
    assert json.loads(raw.getvalue()) == {"config": "/caf\udce9/profiles.toml"}


def test_a_character_beyond_ascii_is_readable_in_json() -> None:
    with streams() as (out, _):
        output.print_json({"description": "café"})
    assert "café" in out.getvalue()


def test_an_error_from_a_server_cannot_command_the_terminal() -> None:
    with streams(is_terminal=True) as (_, err):
        output.show_error(UsageError("bye \x1b]0;owned\x07\x1b[2J", hint="\x1b[2J"))
        output.note("\x1b[2J")
    assert "\x1b]0" not in err.getvalue()
    assert "\x1b[2J" not in err.getvalue()


# --- asking a person --------------------------------------------------------------------


def test_a_question_is_asked_on_stderr_and_answered_with_what_was_typed() -> None:
    with streams(is_terminal=True, typed="yes \nno\n") as (out, err):
        assert output.ask("Trust [it]?") == "yes "
    assert "Trust [it]? " in err.getvalue()
    assert out.getvalue() == ""


def test_the_end_of_the_input_is_no_answer() -> None:
    with streams(is_terminal=True) as (_, err):
        assert output.ask("Trust it?") is None
    assert err.getvalue().endswith("\n"), "the shell goes on in the line of the question"


def test_a_question_from_a_server_cannot_command_the_terminal() -> None:
    with streams(is_terminal=True, typed="123456\n") as (_, err):
        output.ask("one-time password \x1b]0;owned\x07\x1b[2J")
    assert "\x1b]0" not in err.getvalue()
    assert "\x1b[2J" not in err.getvalue()


# --- is there a person ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stdin", "stderr", "interactive"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_a_person_is_there_who_can_both_read_the_question_and_type(
    stdin: bool, stderr: bool, interactive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with streams():
        monkeypatch.setattr(sys.stdin, "isatty", lambda: stdin)
        monkeypatch.setattr(sys.stderr, "isatty", lambda: stderr)
        assert output.interactive() is interactive
