"""The profile file: TOML becomes frozen profiles, or every problem at once, each with its line."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tunnels.core.address import describe_listen, quoted
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.profile import Profile, check_name
from tunnels.core.profile_fields import PROFILE_FIELDS, PlacedProfile, Values, make_profile, read_profile
from tunnels.core.reading import Note, Notes, dotted, likely, wrong_type
from tunnels.errors import NoSuchProfile, Problem, ProfileError, UsageError

#: Thousands of profiles. Whatever is larger is not a profile file, and should not be read into memory.
LARGEST_FILE = 1024 * 1024

_NO_FILE = "there is no such file"

#: The end of what tomllib says about a text that is not TOML.
_TOML_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")

#: Tells one content of a file from the next: modification time (ns), size, inode and device.
Fingerprint = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class ProfileFile:
    """A profile file that was read and found good."""

    path: Path
    profiles: Mapping[str, Profile]  #: by name, in the order of the file; cannot be changed
    warnings: tuple[Problem, ...] = ()  #: what is allowed, and likely not meant
    fingerprint: Fingerprint | None = field(default=None, compare=False)  #: `None` if no file was read
    defaults: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)  #: as TOML has them
    is_missing: bool = False  #: there is no file, and none is needed
    opened: frozenset[str] = frozenset()  #: the names of those that are not in the file (`tunnels open`)


def load(path: Path) -> ProfileFile:
    """Read and check a profile file.

    The file must belong to the user or root and be writable for nobody else, as ssh demands of its own
    (readconf.c ``read_config_file``): it names commands that we run.

    Raises:
        ProfileError: every problem of the file; `is_missing` tells when there is none to read.

    """
    content, status = _read_file(path)
    try:
        text = content.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        problem = Problem(line, "", "not UTF-8, which TOML is written in")
        raise ProfileError(str(path), [problem]) from exc
    return _parse(text, path, _fingerprint(status))


def parse(text: str, path: str) -> ProfileFile:
    """Check the text of a profile file; ``path`` is for messages.

    Raises:
        ProfileError: every problem of the text.

    """
    return _parse(text.removeprefix("\ufeff"), Path(path), None)  # as `load`


def is_missing(error: ProfileError) -> bool:
    """Whether `load` found no file at all; everything else is a file with something wrong."""
    return isinstance(error.__cause__, FileNotFoundError)


def fingerprint(path: Path) -> Fingerprint | None:
    """Look whether the file may have changed since `load` (compare `ProfileFile.fingerprint`).

    ``None`` if it cannot be looked at.
    """
    try:
        return _fingerprint(path.stat())
    except (OSError, ValueError):
        return None


def template() -> str:
    """Give what ``tunnels init`` writes: a short file with everything commented out."""
    from importlib.resources import files  # noqa: PLC0415 - slow to import, and only init needs it

    return files("tunnels").joinpath("template.toml").read_text(encoding="utf-8")


def select(
    file: ProfileFile,
    names: Iterable[str] = (),
    *,
    tags: Iterable[str] = (),
    everything: bool = False,
) -> list[Profile]:
    """Find the profiles that a command line asks for, each once, in the order of the file.

    ``names`` may be globs as in a shell (``work-*``). Names and tags add up.

    Raises:
        NoSuchProfile: a name, glob or tag that stands for no profile; the hint has the close names.
        UsageError: nothing was asked for.

    """
    names, tags = list(names), list(tags)
    if not names and not tags and not everything:
        raise UsageError("which profile?", hint=_offer(file.profiles))
    if not file.profiles:
        raise NoSuchProfile(f"there is no profile in {file.path} yet", hint="tunnels edit")
    chosen = set(file.profiles) if everything else set()
    missing = []
    for name in names:
        found = _matching(name, file.profiles)
        chosen.update(found)
        if not found:
            missing.append(name)
    if missing:
        listed = ", ".join(map(quoted, missing))
        kind = "profiles" if len(missing) > 1 else "profile"
        where = f": {file.path}: {_NO_FILE}" if file.is_missing else f" in {file.path}"
        raise NoSuchProfile(f"no {kind} {listed}{where}", hint=_closest(missing, file.profiles))
    for tag in tags:
        tagged = [name for name, profile in file.profiles.items() if tag in profile.tags]
        chosen.update(tagged)
        if not tagged:
            known = dict.fromkeys(tag for profile in file.profiles.values() for tag in profile.tags)
            hint = _closest([tag], known) if known else "no profile has tags"
            raise NoSuchProfile(f"no profile has the tag {quoted(tag)}", hint=hint)
    return [profile for name, profile in file.profiles.items() if name in chosen]


def _matching(name: str, profiles: Iterable[str]) -> list[str]:
    if not set("*?[") & set(name):
        return [name] if name in profiles else []
    from fnmatch import fnmatchcase  # noqa: PLC0415 - globs are rare

    return [candidate for candidate in profiles if fnmatchcase(candidate, name)]


def _closest(words: Sequence[str], known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 - only after a slip

    known = list(known)
    close: dict[str, None] = {}
    for word in words:
        close.update(dict.fromkeys(difflib.get_close_matches(word, known, n=3)))
    return f"did you mean {' or '.join(close)}?" if close else _offer(known)


def _offer(known: Iterable[str]) -> str:
    """List the names there are, when there is no telling which was meant."""
    known = list(known)
    more = f" and {len(known) - 8} more" if len(known) > 8 else ""
    return f"there are: {', '.join(known[:8])}{more}" if known else "there is none in the file yet"


def _read_file(path: Path) -> tuple[bytes, os.stat_result]:
    """Read what is to be a profile file; checked and read through one descriptor, so that it is one file."""
    try:
        # O_NONBLOCK: a named pipe would make everybody wait for its writer
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as exc:
        hint = "tunnels init writes a first one, with examples"
        raise _unreadable(path, _NO_FILE, hint) from exc
    except (OSError, ValueError) as exc:
        raise _unreadable(path, f"cannot be read: {_reason(exc)}") from exc
    content = bytearray()
    try:
        status = os.fstat(descriptor)
        _check_file(path, status)
        while len(content) <= LARGEST_FILE and (chunk := os.read(descriptor, 65_536)):
            content += chunk
    except OSError as exc:
        raise _unreadable(path, f"cannot be read: {_reason(exc)}") from exc
    finally:
        os.close(descriptor)
    if len(content) > LARGEST_FILE:
        raise _unreadable(path, f"larger than {LARGEST_FILE // 1024} KiB: this is not a profile file")
    return bytes(content), status


def _reason(error: OSError | ValueError) -> str:
    """Say it without the number and the path, which the message around it has."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _unreadable(path: Path, message: str, hint: str | None = None) -> ProfileError:
    return ProfileError(str(path), [Problem(None, "", message)], hint=hint)


def _check_file(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise _unreadable(path, "is a directory, not a profile file")
    if not stat.S_ISREG(status.st_mode):
        raise _unreadable(path, "is not a regular file")
    if status.st_uid not in {0, os.getuid()}:
        raise _unreadable(path, f"belongs to another user ({status.st_uid}), who could have us run anything")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _unreadable(
            path,
            f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o}), and have us run anything",
            f"chmod go-w {path}",
        )


def _fingerprint(status: os.stat_result) -> Fingerprint:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _parse(text: str, path: Path, mark: Fingerprint | None) -> ProfileFile:
    try:
        raw = tomllib.loads(text)
    except RecursionError as exc:
        raise _unreadable(path, "nested too deeply") from exc
    except ValueError as exc:  # TOMLDecodeError is one; so is that of int() for a number of 5,000 digits
        raise ProfileError(str(path), [_syntax_problem(text, str(exc))]) from exc
    notes, warnings = Notes(), Notes()
    placed = _read(raw, notes)
    if len(notes):
        raise ProfileError(str(path), _with_lines(notes, text))
    _warn(placed, warnings)
    profiles = {name: entry.profile for name, entry in placed.items()}
    found = tuple(_with_lines(warnings, text))
    return ProfileFile(path, MappingProxyType(profiles), found, mark, raw.get("defaults", {}))


def _syntax_problem(text: str, said: str) -> Problem:
    """Take the line out of what tomllib says."""
    position = _TOML_POSITION.search(said)
    if position is None:
        return Problem(None, "", said)
    line = int(position[1]) if position[1] else len(text.rstrip().split("\n"))
    message = said[: position.start()]
    hint = 'a text stands in quotes: host = "bastion"' if message == "Invalid value" else None
    return Problem(line, "", f"not TOML: {message}", hint)


def _with_lines(notes: Notes, text: str) -> list[Problem]:
    """Turn notes into problems, in the order of the file. Only a file with notes pays for its lines."""
    if not len(notes):
        return []
    from tunnels.core.toml_lines import scan  # noqa: PLC0415 - see above

    try:
        lines = scan(text)
    except (ValueError, RecursionError):  # TOML that tomllib reads and we do not: better no line than none
        return [Problem(None, dotted(note.path), *note[1:]) for note in notes]

    def problem(note: Note) -> Problem:
        return Problem(lines.line_of(note.path), dotted(note.path), *note[1:])

    return sorted(map(problem, notes), key=lambda problem: problem.line or 0)


def _read(raw: dict[str, Any], notes: Notes) -> dict[str, PlacedProfile]:
    for key, value in raw.items():
        if key not in {"defaults", "profiles"}:
            notes.add((key,), "unknown key", _hint_for_top_level(key, value))
    defaults: Values = {}
    if "defaults" in raw:
        defaults = read_profile(raw["defaults"], ("defaults",), notes)
    tables = raw.get("profiles", {})
    if not isinstance(tables, dict):
        error = wrong_type(tables, "a table for each profile", "[profiles.work-db]")
        notes.add(("profiles",), error.message, error.hint)
        return {}
    placed = {}
    for name, table in tables.items():
        path = ("profiles", name)
        try:
            check_name(name)
        except UsageError as error:
            notes.add(path, error.message, error.hint)
        entry = make_profile(name, read_profile(table, path, notes), defaults, path, notes)
        if entry is not None:
            placed[name] = entry
    return placed


def _hint_for_top_level(key: str, value: object) -> str:
    meant = likely(key, ("defaults", "profiles"))
    if meant:
        return f'did you mean "{meant}"?'
    if isinstance(value, dict):
        return f"a profile begins with [profiles.{dotted((key,))}]"
    if key in PROFILE_FIELDS:
        return "it belongs below [profiles.NAME] or [defaults]"
    return "a file has [defaults] and [profiles.NAME]"


def _warn(placed: Mapping[str, PlacedProfile], warnings: Notes) -> None:
    """Note what each profile may do, but not all of them together; and what has no effect."""
    taken: dict[str, list[tuple[str, Forward]]] = {}
    for name, entry in placed.items():
        profile, path = entry.profile, ("profiles", name)
        kinds = {forward.kind for forward in profile.forwards}
        if profile.idle_timeout is not None and not profile.on_demand:
            warnings.add(
                (*path, "idle_timeout"), "has no effect", "it goes with on_demand = true", profiles=(name,)
            )
        if profile.on_demand and ForwardKind.REMOTE in kinds:
            warnings.add(
                (*path, "on_demand"),
                "a remote forward listens only while the tunnel is connected, and nobody can demand it",
                "give the remote forwards a profile of their own",
                profiles=(name,),
            )
        said = set()  # a range is warned of once
        for place, forward in zip(entry.places, profile.forwards, strict=True):
            # this machine has a port once, and each server has it once
            machine = profile.host if forward.kind is ForwardKind.REMOTE else ""
            others = taken.setdefault(f"{machine} {getattr(forward.listen, 'port', 0)}", [])
            for other_name, other in others:
                if other_name != name and other.clashes(forward) and place not in said:
                    said.add(place)
                    warnings.add(
                        place,
                        f"{other_name} and {name} both listen on {describe_listen(forward.listen)}",
                        "only one of them can be up",
                        profiles=(other_name, name),
                    )
            others.append((name, forward))
