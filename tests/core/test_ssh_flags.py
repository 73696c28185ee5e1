"""The command line of ssh is taken apart as ssh does it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.ssh.test_resolve import real_ssh
from tunnels.core.ssh_flags import WITH_VALUE, WITHOUT_VALUE, Flag, take_apart
from tunnels.errors import UsageError


def flags(*arguments: str) -> list[str]:
    return [str(flag) for flag in take_apart(arguments).flags]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-N", "-T", "-L", "1:a:1", "h"),
        ("-NT", "-L1:a:1", "h"),
        ("-NTL", "1:a:1", "h"),
        ("h", "-N", "-T", "-L1:a:1"),
        ("-N", "h", "-TL1:a:1"),
    ],
)
def test_flags_stand_alone_together_with_their_value_and_behind_the_destination(
    arguments: tuple[str, ...],
) -> None:
    line = take_apart(arguments)
    assert line == ((Flag("N"), Flag("T"), Flag("L", "1:a:1")), "h", ())


def test_what_follows_the_destination_and_is_no_flag_is_the_command_with_flags_of_its_own() -> None:
    assert take_apart(["h", "-N", "ls", "-l", "--", "-x"]) == ((Flag("N"),), "h", ("ls", "-l", "--", "-x"))


def test_two_dashes_end_the_flags() -> None:
    assert take_apart(["-N", "--", "h", "-L"]) == ((Flag("N"),), "h", ("-L",))


def test_a_value_may_look_like_a_flag() -> None:
    assert flags("-l", "-N", "h") == ["-l -N"]


@pytest.mark.parametrize(
    ("argument", "said"), [("-L", "-L"), ("-NL", "-L"), ("-Z", "-Z"), ("--help", "--help")]
)
def test_a_flag_that_ssh_has_not_or_that_lacks_its_value_is_named(argument: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        take_apart([argument])


def test_nothing_is_nothing() -> None:
    assert take_apart([]) == ((), None, ())


@real_ssh
def test_ssh_itself_has_these_flags() -> None:
    usage = subprocess.run(["ssh"], capture_output=True, text=True, check=False).stderr
    together = re.search(r"\[-([0-9A-Za-z]+)\]", usage)
    assert together is not None
    assert set(together[1]) <= WITHOUT_VALUE
    assert set(re.findall(r"\[-([A-Za-z]) \w", usage)) <= WITH_VALUE


@real_ssh
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-p", "1", "h", "-p", "2"], {"port": "1"}),
        (["h", "-p2", "-lann"], {"port": "2", "user": "ann"}),
        (["-NTp3", "bob@h", "-l", "ann", "ls", "-p4"], {"port": "3", "user": "bob"}),
    ],
)
def test_ssh_itself_reads_them_so(arguments: list[str], expected: dict[str, str], tmp_path: Path) -> None:
    said = subprocess.run(
        ["ssh", "-F", "none", "-G", *arguments], capture_output=True, text=True, check=True
    ).stdout
    found = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    assert {key: found[key] for key in expected} == expected
    line = take_apart(arguments)
    assert line.destination in {"h", "bob@h"}
