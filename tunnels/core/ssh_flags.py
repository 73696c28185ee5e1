"""The command line of ssh, taken apart as ssh does it: every flag of OpenSSH 9.x, wherever it may stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tunnels.core.address import quoted
from tunnels.errors import UsageError

#: ssh.c ``main``: what it hands to getopt(3). A letter with a colon has a value.
GETOPT = "1246ab:c:e:fgi:kl:m:no:p:qstvxAB:CD:E:F:GI:J:KL:MNO:P:Q:R:S:TVw:W:XYy"

WITH_VALUE = frozenset(GETOPT[index - 1] for index, char in enumerate(GETOPT) if char == ":")
WITHOUT_VALUE = frozenset(GETOPT) - WITH_VALUE - {":"}


class Flag(NamedTuple):
    """One flag as it was given; ``value`` is empty for one that has none."""

    letter: str
    value: str = ""

    def __str__(self) -> str:
        return f"-{self.letter} {self.value}" if self.value else f"-{self.letter}"


class CommandLine(NamedTuple):
    """What ssh would make of its arguments."""

    flags: tuple[Flag, ...]
    destination: str | None
    command: tuple[str, ...]  #: what it would run on the server


def take_apart(arguments: Sequence[str]) -> CommandLine:
    """Take the arguments of ssh apart.

    Flags may stand together (``-NT``), with their value (``-L5432:db:5432``) and after the destination, where
    ssh looks for them once more (ssh.c, ``goto again``); ``--`` ends them for good, and what comes after the
    destination and is no flag begins the remote command, which may have flags of its own.

    Raises:
        UsageError: a flag that ssh has not, or that lacks its value.

    """
    flags: list[Flag] = []
    destination = None
    position, ended = 0, False
    while position < len(arguments):
        word = arguments[position]
        if word == "--" and not ended:
            ended = True
            position += 1
        elif not ended and len(word) > 1 and word[0] == "-":
            position = _read_flags(arguments, position, flags)
        elif destination is None:
            destination = word
            position += 1
        else:
            break
    return CommandLine(tuple(flags), destination, tuple(arguments[position:]))


def _read_flags(arguments: Sequence[str], position: int, flags: list[Flag]) -> int:
    """Read the flags of one word; gives the position of the next one."""
    word = arguments[position]
    for index, letter in enumerate(word[1:], 1):
        if letter in WITHOUT_VALUE:
            flags.append(Flag(letter))
        elif letter in WITH_VALUE:
            if rest := word[index + 1 :]:
                flags.append(Flag(letter, rest))
            elif position + 1 < len(arguments):
                position += 1
                flags.append(Flag(letter, arguments[position]))
            else:
                raise UsageError(f"-{letter} needs a value, and there is none behind it")
            break
        else:
            shown = word if word.startswith("--") else f"-{letter}"
            raise UsageError(f"ssh has no flag {quoted(shown)}", hint="`man ssh` has its flags")
    return position + 1
