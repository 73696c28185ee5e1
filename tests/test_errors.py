"""The tree of errors is the one that is drawn, and an error is the same on both sides of the wire."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import tunnels
from tunnels import errors
from tunnels.errors import ErrorInfo, Problem, ProfileError, TunnelsError, from_info


def every_class() -> list[type[TunnelsError]]:
    """All errors of the whole program, also those that only one room knows."""
    for module in pkgutil.walk_packages(tunnels.__path__, "tunnels."):
        importlib.import_module(module.name)
    return [cls for cls in _below(TunnelsError) if cls.__module__.startswith("tunnels.")]


def _below(root: type[TunnelsError]) -> Iterator[type[TunnelsError]]:
    yield root
    for child in root.__subclasses__():
        yield from _below(child)


CLASSES = every_class()
IN_THE_TREE = [cls for cls in CLASSES if cls.__module__ == errors.__name__]


# --- the drawing ----------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """One line of the tree in the docstring."""

    name: str
    parent: str | None
    said: str


def drawing() -> list[Drawn]:
    assert errors.__doc__ is not None
    path: list[tuple[int, str]] = []  # the column and the name of every class above
    found = []
    for line in errors.__doc__.splitlines():
        match = re.fullmatch(r"( {4}(?:[│├└─ ]*))(\w+)( .*)?", line)
        if match is None:
            continue
        column, name, said = len(match[1]), match[2], (match[3] or "").strip()
        while path and path[-1][0] >= column:
            path.pop()
        found.append(Drawn(name, path[-1][1] if path else None, said))
        path.append((column, name))
    return found


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = {(line.name, line.parent) for line in drawing()}
    real = {(cls.__name__, cls.__base__.__name__ if cls.__base__ else "") for cls in IN_THE_TREE}

    assert drawn == {(name, None if name == "TunnelsError" else parent) for name, parent in real}
    assert len(drawing()) == len(IN_THE_TREE)


def test_the_drawing_says_the_right_exit_codes() -> None:
    drawn = {line.name: re.search(r"exit (\d+)", line.said) for line in drawing()}

    assert {name: int(said[1]) if said else 1 for name, said in drawn.items()} == {
        cls.__name__: cls.exit_code for cls in IN_THE_TREE
    }


def test_the_drawing_says_truly_what_is_retried() -> None:
    """A forward that cannot listen is tried again too, by itself and not by its tunnel."""
    drawn = {line.name for line in drawing() if line.said.endswith(("retried", "that forward only"))}

    assert drawn == {cls.__name__ for cls in IN_THE_TREE if cls.retryable}


# --- codes ----------------------------------------------------------------------------------------


def test_every_class_has_its_own_code() -> None:
    codes = Counter(cls.code for cls in IN_THE_TREE)

    assert [code for code, count in codes.items() if count > 1] == []


def test_a_code_is_a_word_for_scripts() -> None:
    assert [cls.code for cls in CLASSES if not re.fullmatch(r"[a-z]+(-[a-z]+)*", cls.code)] == []


def test_a_code_means_one_exit_code_wherever_it_is_raised() -> None:
    """A class outside the tree may borrow a code, but only if it means the same."""
    meanings: defaultdict[str, set[tuple[int, bool]]] = defaultdict(set)
    for cls in CLASSES:
        meanings[cls.code].add((cls.exit_code, cls.retryable))

    assert {code: meaning for code, meaning in meanings.items() if len(meaning) > 1} == {}


def test_every_class_says_what_it_is_for() -> None:
    assert [cls.__name__ for cls in CLASSES if not cls.__doc__] == []


# --- over the wire --------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", IN_THE_TREE, ids=lambda cls: cls.__name__)
def test_an_error_is_the_same_on_the_other_side(cls: type[TunnelsError]) -> None:
    info = ErrorInfo(cls.code, "what happened", "what to do")

    error = from_info(info)

    assert isinstance(error, cls)
    assert error.exit_code == cls.exit_code
    assert error.info == info
    assert str(error) == "what happened"


def test_a_code_that_is_not_known_here_is_an_error_nevertheless() -> None:
    error = from_info(ErrorInfo("from-the-future", "what happened", None))

    assert type(error) is TunnelsError
    assert error.exit_code == 1
    assert (error.message, error.hint) == ("what happened", None)


def test_the_problems_of_a_file_are_told_on_the_other_side() -> None:
    sent = ProfileError(
        "/c.toml", [Problem(3, "profiles.a.host", "is missing"), Problem(None, "", "is empty")]
    )

    error = from_info(sent.info)

    assert type(error) is ProfileError
    assert error.message == sent.message
    assert error.exit_code == 2


# --- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem(None, "", "is empty"), "is empty"),
        (Problem(7, "", "is empty"), "line 7: is empty"),
        (
            Problem(7, "profiles.a.hots", "unknown key", "did you mean host?"),
            "line 7: profiles.a.hots: unknown key (did you mean host?)",
        ),
    ],
)
def test_a_problem_says_where_what_and_how_to_mend_it(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_one_problem_takes_one_line() -> None:
    error = ProfileError("/c.toml", [Problem(3, "profiles.a.host", "is missing")])

    assert error.message == "/c.toml: line 3: profiles.a.host: is missing"


def test_many_problems_are_all_listed() -> None:
    error = ProfileError("/c.toml", [Problem(3, "a", "is missing"), Problem(5, "b", "is wrong", "try c")])

    assert error.message == "/c.toml: 2 problems\n  line 3: a: is missing\n  line 5: b: is wrong (try c)"
    assert len(error.problems) == 2
