from __future__ import annotations

import pytest

from tests.cli.console import Result, tunnels
from tunnels.cli.app import VERBS
from tunnels.cli.mistyped import NEIGHBOURS


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("upp", "`tunnels up`"),
        ("lsit work", "`tunnels list`"),
        ("ls", "`tunnels list` or `tunnels status`"),
        ("start work-db", "`tunnels up`"),
        ("stop work-db", "`tunnels down`"),
        ("rm work-db", "`tunnels edit` or `tunnels down`"),
        ("version", "`tunnels --version`"),
        ("help", "`tunnels --help`"),
        ("help up", "`tunnels up --help`"),
    ],
)
def test_a_word_that_is_no_command_leads_to_the_one_that_was_meant(line: str, meant: str) -> None:
    words = line.split()
    assert tunnels(*words) == Result(
        2, "", f'error: there is no command "{words[0]}"\nhint: did you mean {meant}?\n'
    )


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ("frobnicate", 'there is no command "frobnicate"', "`tunnels --help` shows what there is"),
        (
            "daemon stp",
            'there is no command "stp" of `tunnels daemon`',
            "did you mean `tunnels daemon stop`?",
        ),
        (
            "daemon x",
            'there is no command "x" of `tunnels daemon`',
            "`tunnels daemon --help` shows what there is",
        ),
        ("-V", "`tunnels` has no option -V", "did you mean `tunnels --version`?"),
        ("up --timeuot 3s", "`tunnels up` has no option --timeuot", "did you mean `tunnels up --timeout`?"),
        ("up --frob", "`tunnels up` has no option --frob", "`tunnels up --help` shows what there is"),
        (
            "up --timeout",
            "option '--timeout' requires an argument",
            "`tunnels up --help` shows what there is",
        ),
        ("harden", "missing argument 'NAME'", "`tunnels harden --help` shows what there is"),
    ],
)
def test_whatever_is_wrong_with_a_command_line_looks_like_every_other_error(
    line: str, error: str, hint: str
) -> None:
    assert tunnels(*line.split()) == Result(2, "", f"error: {error}\nhint: {hint}\n")


def test_with_json_it_is_a_document_like_every_other_error() -> None:
    result = tunnels("up", "--frob", "--json")
    assert (result.code, result.err) == (2, "")
    assert result.json["error"]["message"] == "`tunnels up` has no option --frob"
    assert tunnels("up", "--frob", "--", "--json").out == ""


def test_a_group_alone_still_shows_its_help() -> None:
    result = tunnels("daemon")
    assert result.code == 2
    assert "stop" in result.out + result.err
    assert "error:" not in result.err


def test_a_command_that_others_have_leads_to_one_that_there_is_and_is_none_itself() -> None:
    assert not set(NEIGHBOURS) & set(VERBS)
    assert {each for meant in NEIGHBOURS.values() for each in meant} <= {*VERBS, "--version", "--help"}
