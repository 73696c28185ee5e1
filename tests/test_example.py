"""The files that people begin with: they are right, they are complete, and they do what they say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tunnels import profiles
from tunnels.core.forward import ForwardKind
from tunnels.core.profile_fields import PROFILE_FIELDS

EXAMPLE = Path(__file__).parent.parent / "profiles.example.toml"


@pytest.fixture(scope="module")
def example() -> str:
    return EXAMPLE.read_text(encoding="utf-8")


def test_the_example_is_right_and_gives_nothing_to_warn_of(example: str) -> None:
    file = profiles.parse(example, "profiles.example.toml")

    assert list(file.profiles) == ["work-db", "staging", "home", "cafe"]
    assert file.warnings == ()


def test_the_example_has_every_key_of_a_profile(example: str) -> None:
    data = tomllib.loads(example)
    tables = [data["defaults"], *data["profiles"].values()]

    assert PROFILE_FIELDS.keys() == {key for table in tables for key in table}


def test_the_example_has_every_key_of_the_tables_in_a_profile(example: str) -> None:
    data = tomllib.loads(example)
    tables = [data["defaults"], *data["profiles"].values()]
    retries = {key for table in tables for key in table.get("retry", {})}
    forwards = {
        key
        for table in tables
        for kind in ForwardKind
        for forward in table.get(kind.value, [])
        if isinstance(forward, dict)
        for key in forward
    }

    assert retries == {"initial", "max", "give_up_after"}
    assert forwards >= {"name", "listen", "connect", "auth"}
    assert "expose = true" in example


def test_the_example_says_who_can_reach_what(example: str) -> None:
    file = profiles.parse(example, "profiles.example.toml")
    reachable = {
        str(forward)
        for profile in file.profiles.values()
        for forward in profile.forwards
        if forward.reachable_by_others
    }

    assert reachable == {"*:8443:nas.local:443", "*:1081"}


def test_the_template_is_right_as_it_is_written() -> None:
    file = profiles.parse(profiles.template(), "profiles.toml")

    assert dict(file.profiles) == {}
    assert file.warnings == ()


def test_the_template_is_right_when_its_lines_are_taken_into_use() -> None:
    text = re.sub(r"^# (?=\[|\w+ = )", "", profiles.template(), flags=re.MULTILINE)
    file = profiles.parse(text, "profiles.toml")

    assert list(file.profiles) == ["work-db", "home", "cafe"]
    assert file.warnings == ()


@pytest.mark.parametrize("text", [EXAMPLE.read_text(encoding="utf-8"), profiles.template()])
def test_the_files_fit_into_a_terminal(text: str) -> None:
    assert max(map(len, text.splitlines())) <= 110
