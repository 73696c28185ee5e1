"""Tunnels without a profile in the file: `tunnels open` brings their tables, which then count as if they were in it.

They inherit ``[defaults]`` as a profile does, so that ``open --save`` changes nothing of what they mean. A
profile of the file wins over an opened one of its name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from tunnels import profiles
from tunnels.core.profile import Profile, check_name, parse_host_spec
from tunnels.core.profile_fields import make_profile, read_profile
from tunnels.core.reading import Notes, dotted
from tunnels.errors import ProfileError, TunnelsError, UsageError
from tunnels.profiles import ProfileFile

#: A profile as TOML has it.
Table = Mapping[str, Any]

#: Bytes of all tables of one daemon together, as JSON: it is part of the state that is written at every change.
MOST_BYTES = 512 * 1024


def profile_of(name: str, table: Table, file: ProfileFile) -> Profile:
    """Read and check the table of one profile, with the defaults of the file.

    Raises:
        UsageError: every problem of it.

    """
    check_name(name)
    notes = Notes()
    defaults = read_profile(dict(file.defaults), ("defaults",), Notes())
    entry = make_profile(name, read_profile(table, (), notes), defaults, (), notes)
    if entry is None:
        found = list(notes)
        lines = [f"{dotted(note.path)}: {note.message}" if note.path else note.message for note in found]
        raise UsageError("\n".join(lines), hint=next((note.hint for note in found if note.hint), None))
    return entry.profile


def load(path: Any, opened: Mapping[str, Table]) -> ProfileFile:
    """Read a profile file, which need not exist, with what has been opened.

    Raises:
        ProfileError: every problem of the file, or that there is none and nothing has been opened.

    """
    try:
        file = profiles.load(path)
    except ProfileError as error:
        if not opened or not profiles.is_missing(error):
            raise
        file = ProfileFile(path, {}, is_missing=True)
    return with_opened(file, opened)


def with_opened(file: ProfileFile, opened: Mapping[str, Table]) -> ProfileFile:
    """The file with these tunnels in it. One that the defaults of the file have made impossible is left out."""
    found = {}
    for name, table in opened.items():
        if name not in file.profiles:
            try:
                found[name] = profile_of(name, table, file)
            except TunnelsError:
                continue
    if not found:
        return file
    return replace(file, profiles=MappingProxyType({**file.profiles, **found}), opened=frozenset(found))


def choose_name(host: str, taken: Collection[str]) -> str:
    """A name for a tunnel to ``host``: that of the host, with a number where there is one already."""
    spec = parse_host_spec(host)
    letters = [char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in spec.host]
    base = "".join(letters).strip("-._")[:56] or "tunnel"
    if not base[0].isalnum():
        base = f"tunnel-{base}"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def check_size(opened: Mapping[str, Table]) -> None:
    """Refuse what would make the state of the daemon grow without bounds. Raises UsageError."""
    if len(json.dumps(opened)) > MOST_BYTES:
        raise UsageError(
            "there are too many tunnels without a profile",
            hint="`tunnels down NAME` ends one; `tunnels open --save NAME` writes one into the profile file",
        )
