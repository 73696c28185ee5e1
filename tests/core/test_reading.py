"""Readers: a value that fits is taken, one that does not is described as its writer would describe it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tunnels.core.reading import (
    BAD,
    Notes,
    Reader,
    arguments,
    describe,
    dotted,
    duration,
    file_paths,
    flag,
    integer,
    likely,
    many,
    read_keys,
    table,
    text,
)


def texts(example: str) -> Reader:
    return many(lambda value: text(value, example))


def noted(reader: Reader, value: Any) -> list[str]:
    notes = Notes()
    assert reader(value, ("key",), notes) is BAD
    return [f"{dotted(note.path)}: {note.message} ({note.hint})" for note in notes]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "true"),
        (15, "the integer 15"),
        (10**30, "a very large integer"),
        (1.5, "the number 1.5"),
        ("x", 'the text "x"'),
        ("x" * 100, f'the text "{"x" * 60}…"'),
        ("\x1b[2J", 'the text "\\x1b[2J"'),
        ([], "a list"),
        ({}, "a table"),
        (dt.date(2026, 11, 21), "a date or time"),
        (dt.time(7, 32), "a date or time"),
        (None, "a NoneType"),
    ],
)
def test_values_are_called_what_their_writer_calls_them(value: Any, words: str) -> None:
    assert describe(value) == words


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ((), ""),
        (("profiles", "work-db", "local", 1, "connect"), "profiles.work-db.local[1].connect"),
        (("profiles", "a b"), 'profiles."a b"'),
        (("profiles", 'a"b\n', ""), 'profiles."a\\"b\\n".""'),
    ],
)
def test_a_path_is_shown_as_toml_would_spell_it(path: tuple[str | int, ...], written: str) -> None:
    assert dotted(path) == written


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("keepalive", "keepalive"),
        ("keep_alive", "keepalive"),
        ("KeepAlive", "keepalive"),
        ("keepalvie", "keepalive"),
        ("IdentityFile", "identity_file"),
        ("identity-file", "identity_file"),
        ("ProxyJump", "jump"),
        ("zzz", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_a_slip_another_spelling_and_another_name_are_understood(word: str, meant: str | None) -> None:
    assert likely(word, ["keepalive", "identity_file", "jump"], {"proxyjump": "jump"}) == meant


def test_a_problem_is_noted_once() -> None:
    notes = Notes()
    notes.add(("a",), "wrong")
    notes.add(("a",), "wrong")
    notes.add(("b",), "wrong")

    assert len(notes) == 2


def test_a_list_reports_each_element_that_does_not_fit() -> None:
    assert noted(texts('x = "y"'), ["a", 1, "", "b"]) == [
        'key[1]: expected a text, found the integer 1 (for example x = "y")',
        'key[2]: the text is empty (for example x = "y")',
    ]


def test_a_single_text_is_a_list_of_one() -> None:
    assert texts("")("a,b", (), Notes()) == ("a,b",)
    assert many(str, separator=",")("a, b", (), Notes()) == ("a", "b")


def test_a_number_is_no_duration_but_the_hint_is_the_duration_that_was_likely_meant() -> None:
    reader = duration(1, 60, 'keepalive = "15s"')

    assert noted(reader, 30) == ['key: expected a duration, found the integer 30 (keepalive = "30s")']
    assert noted(reader, True) == [
        'key: expected a duration in quotes, found true (for example keepalive = "15s")'
    ]
    assert noted(reader, "2m") == ["key: 2m is not from 1s to 1m (None)"]


def test_zero_is_a_duration_where_it_means_something() -> None:
    reader = duration(1, 60, 'keepalive = "15s"', zero="turns it off")

    assert reader("0s", (), Notes()) == 0.0
    assert noted(reader, "100ms") == ['key: 100ms is not from 1s to 1m ("0s" turns it off)']


def test_true_is_no_integer_and_1_is_not_true() -> None:
    assert noted(integer(1, 9, "port = 2"), True) == [
        "key: expected an integer, found true (for example port = 2)"
    ]
    assert noted(integer(1, 9, "port = 2"), 10) == [
        "key: the integer 10 is not from 1 to 9 (for example port = 2)"
    ]
    assert noted(flag("x = true"), 1) == [
        "key: expected true or false, found the integer 1 (for example x = true)"
    ]


def test_a_path_says_where_it_begins_because_the_daemon_runs_elsewhere() -> None:
    reader = file_paths('identity_file = "~/.ssh/id"')

    assert reader(["/etc/key", "~/.ssh/id"], (), Notes()) == ("/etc/key", "~/.ssh/id")
    assert noted(reader, "id") == [
        'key: "id" does not begin with / or ~/ (for example identity_file = "~/.ssh/id")'
    ]
    assert noted(reader, "none") == [
        'key: "none" does not begin with / or ~/ (for example identity_file = "~/.ssh/id")'
    ]


def test_none_may_stand_for_no_file() -> None:
    assert file_paths("x", none=True)("none", (), Notes()) == ("none",)


def test_control_characters_never_reach_a_terminal() -> None:
    assert noted(texts("x"), "\x1b[2J") == ["key: the text has a control character in it (it is '\\x1b')"]
    assert text("a\n\tb", "x", several_lines=True) == "a\n\tb"


def test_a_table_reports_what_is_missing_and_what_it_does_not_know() -> None:
    reader = table({"username": texts("x"), "other": texts("x")}, required=("username",), example="x = {}")

    assert noted(reader, {"other": "x", "zzz": 1}) == [
        "key.zzz: unknown key (None)",
        'key: "username" is missing (for example x = {})',
    ]
    assert noted(reader, "me") == ['key: expected a table, found the text "me" (for example x = {})']


def test_a_misspelt_key_is_not_also_called_missing() -> None:
    reader = table({"username": texts("x")}, required=("username",), example="x = {}")

    assert noted(reader, {"user_name": "me"}) == ['key.user_name: unknown key (did you mean "username"?)']


def test_an_unknown_key_that_resembles_none_may_be_explained() -> None:
    notes = Notes()
    values = read_keys({"zzz": 1}, {"a": texts("x")}, (), notes, explain=lambda key, value: f"{key}={value}")

    assert values == {}
    assert [note.hint for note in notes] == ["zzz=1"]


HOOK = arguments('on_up = "page-me"')


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("page-me", ("page-me",)),
        ("echo 'a b' \"c d\" e\\ f", ("echo", "a b", "c d", "e f")),
        ("echo $HOME; ls | wc # no shell", ("echo", "$HOME;", "ls", "|", "wc", "#", "no", "shell")),
        (["sh", "-c", "echo 'a b'"], ("sh", "-c", "echo 'a b'")),
        ([], ()),
    ],
)
def test_a_command_without_a_shell_is_words(value: Any, words: tuple[str, ...]) -> None:
    notes = Notes()
    assert HOOK(value, ("key",), notes) == words
    assert not list(notes)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "the command is empty ([] stands for none)"),
        ("echo 'a", "a quote without its partner"),
        ("'' a", "the command has no name"),
        ("echo \0", "control character"),
        (["", "a"], "the text is empty"),
        (["a", 5], "expected a text, found the integer 5"),
        (True, "expected a command, found true"),
    ],
)
def test_what_is_no_command_is_said(value: Any, said: str) -> None:
    (note,) = noted(HOOK, value)
    assert said in note
