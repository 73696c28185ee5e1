r"""A line that was copied from notes or a script, as the one command in it.

People paste what they typed: with a prompt before it, over several lines, in the background, its output
thrown away, under nohup. None of that is part of what ssh is asked to do. What cannot be left out without
changing that is refused by name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tunnels.core.address import quoted
from tunnels.errors import UsageError

#: Bytes of a line; a hundred forwards are 5 kB.
LONGEST_LINE = 64 * 1024

_CONTINUED = re.compile(r"\\\r?\n")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=.*", re.DOTALL)
_OPERATOR = re.compile(r"[();<>|&]+")
_DESCRIPTOR = re.compile(r"[0-9]{1,2}")

#: Programs that start another one as it is.
_STARTERS = frozenset({"command", "exec", "nohup", "setsid", "time"})

#: What stands before a command that was copied with its prompt.
_PROMPTS = frozenset({"$", "%", ">"})

#: Variables of a command that make no difference to a connection.
_HARMLESS = re.compile(r"AUTOSSH_\w+|LC_\w+|LANG|TERM")

#: Programs that start ssh with something of their own, and what to do instead.
_WRAPPERS = {
    "sudo": ("runs it as another user", "leave sudo out; the ports of a tunnel are those that you may bind"),
    "doas": ("runs it as another user", "leave doas out; the ports of a tunnel are those that you may bind"),
    "sshpass": (
        "hands a password over",
        'leave it out: password_command = "…" in the profile prints it, or a question asks for it',
    ),
    "env": ("sets variables for it", "leave env out"),
    "proxychains": ("goes through a proxy", 'leave it out; proxy_command = "…" in the profile does that'),
    "torsocks": ("goes through Tor", 'leave it out; proxy_command = "…" in the profile does that'),
}


class Command(NamedTuple):
    """The command that is in a line."""

    program: str  #: ``ssh`` or ``autossh``
    arguments: tuple[str, ...]
    notes: tuple[str, ...] = ()  #: what was left out, where a person may wonder


def parse_line(text: str) -> Command:
    r"""Find the command of ssh or autossh in a pasted line; a ``\`` at an end joins lines.

    Raises:
        UsageError: it is another command, several, or none.

    """
    if len(text) > LONGEST_LINE:
        raise UsageError(f"a command line of more than {LONGEST_LINE // 1024} kB is not one of ssh")
    lines = [line.strip() for line in _CONTINUED.sub(" ", text).splitlines()]
    lines = [line for line in lines if line and not line.startswith("#!")]
    lines = [line for line in lines if not line.startswith("# ")] or lines
    if len(lines) > 1:
        raise UsageError(
            "that is several commands",
            hint=r"one profile is one command; a line that goes on in the next one ends with a \ ",
        )
    lexer = shlex.shlex(lines[0] if lines else "", posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        words = list(lexer)
    except ValueError:
        raise UsageError("a quote has no partner in that line") from None
    return parse_words(_one_command(words))


def _one_command(words: Sequence[str]) -> list[str]:
    """Leave out what a shell does around one command: a comment, redirections, the background."""
    kept: list[str] = []
    waiting = iter(words)
    for word in waiting:
        if word.startswith("#") and kept:
            break
        if not _OPERATOR.fullmatch(word):
            kept.append(word)
        elif word in _PROMPTS and not kept:
            pass
        elif set(word) & set("<>") and not set(word) & set("|;()"):
            if kept and _DESCRIPTOR.fullmatch(kept[-1]):
                kept.pop()
            next(waiting, None)
        elif word in {"&", ";"}:
            rest = [more for more in waiting if more not in {"&", ";"}]
            if rest and not rest[0].startswith("#"):
                raise UsageError("that is more than one command", hint="one profile is one command of ssh")
            break
        else:
            raise UsageError(
                f"{quoted(word)} joins several commands, and a profile is one", hint="paste that of ssh alone"
            )
    return kept


def parse_words(words: Iterable[str]) -> Command:
    """Find the command of ssh or autossh in words that a shell has made already.

    Raises:
        UsageError: it is another command, or none.

    """
    left, notes = list(words), []
    while left and (left[0] in _PROMPTS or (left[0] == "#" and len(left) > 1)):
        del left[0]
    while left:
        first = left.pop(0)
        name = first.rpartition("/")[2].removesuffix(".exe")
        assigned = _ASSIGNMENT.fullmatch(first)
        if assigned is not None:
            if not _HARMLESS.fullmatch(assigned[1]):
                raise UsageError(
                    f"the line sets {assigned[1]}, which a tunnel could not have from it", hint="leave it out"
                )
        elif name in _STARTERS:
            pass
        elif name in {"ssh", "autossh"}:
            arguments = tuple(left if name == "ssh" else _without_autossh(left))
            if name == "autossh":
                notes.append("autossh: not needed, a tunnel is dialled again by itself")
            return Command(name, arguments, tuple(notes))
        elif name in _WRAPPERS:
            what, instead = _WRAPPERS[name]
            raise UsageError(f"{name} {what}, which is not carried over", hint=instead)
        else:
            raise UsageError(
                f"{quoted(name)} is not ssh", hint="for example 'ssh -N -L 5432:db:5432 bastion'"
            )
    raise UsageError("there is no command in that line", hint="for example 'ssh -N -L 5432:db:5432 bastion'")


def _without_autossh(arguments: Sequence[str]) -> list[str]:
    """Take out autossh's own ``-M port[:echo_port]`` (autossh(1)): its other flags are those of ssh."""
    kept: list[str] = []
    waiting = iter(arguments)
    for word in waiting:
        if word == "-M":
            next(waiting, None)
        elif not re.fullmatch(r"-M[0-9:]+", word):
            kept.append(word)
    return kept
