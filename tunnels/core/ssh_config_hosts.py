"""Which hosts of an ssh_config have forwards of their own: names only, what they mean is ssh's to say.

Read are Host, Match, Include and the three forwards; a name with ``*``, ``?`` or ``!`` is a pattern, not a host.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from typing import NamedTuple

#: ssh_config(5): a keyword, then blanks or one ``=``, then its arguments.
_LINE = re.compile(r"\s*([A-Za-z]+)(?:\s*=\s*|\s+)(.*?)\s*")

_FORWARDS = frozenset({"localforward", "remoteforward", "dynamicforward"})

#: readconf.c READCONF_MAX_DEPTH.
MAX_DEPTH = 16


class Hosts(NamedTuple):
    """What stands behind Host, where the block has a forward, in the order of the file."""

    named: list[str]
    patterns: list[str]  #: they stand for any number of hosts


def hosts_with_forwards(text: str, include: Callable[[str], Iterable[str]]) -> Hosts:
    """The hosts that are named in a Host block with a forward, and the patterns there.

    ``include`` gives the texts of the files that one argument of Include stands for. What a file includes within
    a block belongs to that block.
    """
    found: dict[str, None] = {}
    _walk(text, (), include, found, 0)
    patterns = [name for name in found if set(name) & set("*?")]
    return Hosts([name for name in found if name not in patterns], patterns)


def _walk(
    text: str,
    block: tuple[str, ...],
    include: Callable[[str], Iterable[str]],
    found: dict[str, None],
    depth: int,
) -> None:
    for line in text.splitlines():
        parts = _LINE.fullmatch(line)
        if parts is None:
            continue
        keyword, value = parts[1].lower(), parts[2]
        if keyword == "host":
            block = tuple(name for name in _words(value) if "!" not in name)
        elif keyword == "match":
            block = ()
        elif keyword in _FORWARDS:
            found.update(dict.fromkeys(block))
        elif keyword == "include" and depth < MAX_DEPTH:
            for word in _words(value):
                for inner in include(word):
                    _walk(inner, block, include, found, depth + 1)


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value, comments=True)
    except ValueError:  # ssh will say what is wrong with it
        return []
