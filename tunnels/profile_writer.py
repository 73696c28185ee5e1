"""Changes the profile file and leaves alone what a person wrote in it: comments, order, layout, line endings.

A new profile is put at the end. What would come of a change is read by our own loader before it replaces
the file, in one step, so that nothing bad and nothing half ever lands; two that change it wait for each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from tunnels import profiles
from tunnels.core.profile import check_name
from tunnels.errors import Problem, ProfileError, UsageError

#: A profile as TOML has it.
Table = Mapping[str, Any]

#: Seconds to wait for another command that is changing the file; it needs milliseconds.
PATIENCE = 5.0


def render(name: str, table: Table) -> str:
    """A profile as a piece of TOML: ``[profiles.NAME]`` and its keys."""
    body = tomlkit.table()
    for key, value in table.items():
        body.add(key, _item(value))
    above = tomlkit.table(is_super_table=True)
    above.add(tomlkit.key(name), body)
    document = tomlkit.document()
    document.add("profiles", above)
    return tomlkit.dumps(document)


def _item(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return tomlkit.item(value)
    array = tomlkit.array()
    array.extend(list(value))
    return array.multiline(len(value) > 1)


def add(path: Path, tables: Mapping[str, Table], *, replace: bool = False) -> None:
    """Write profiles into the file, which is made if there is none; a profile that is there stays.

    With ``replace`` it is replaced, with its comments.

    Raises:
        ProfileError: the file has problems, or would have them; every one of them.
        UsageError: there is such a profile already, or the file cannot be written.

    """
    for name in tables:
        check_name(name)

    def change(text: str) -> str:
        known = profiles.parse(text, str(path)).profiles
        there = [name for name in tables if name in known]
        if there and not replace:
            raise UsageError(
                f"{path} has a profile {there[0]} already",
                hint="take another name; --replace puts this one in its place",
            )
        for name in there:
            text = _without(text, name, path)
        for name, table in tables.items():
            text = _with(text, name, table, path)
        return text

    rewrite(path, change)


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    """Give the text of the file to ``change``, and take what it returns if it is a good profile file.

    Raises:
        ProfileError: the text has problems, or others could write the file.
        UsageError: it cannot be written. And whatever ``change`` raises. Then nothing has changed.

    """
    target = path.resolve()  # a link, as dotfile managers make them, stays one
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(target.parent):
            before = read(path)
            mark = "\ufeff" if before and before.startswith("\ufeff") else ""
            after = mark + change((before or "").removeprefix(mark))
            profiles.parse(after, str(path))
            if after != before:
                _replace(target, after, is_new=before is None)
    except OSError as exc:
        raise UsageError(f"{path} cannot be written: {exc.strerror or exc}") from exc


def put(path: Path, after: str, *, before: str | None) -> None:
    """Write the whole text, which has been found good, if the file is still what it was ``before``.

    Raises:
        UsageError: somebody else has changed it, or it cannot be written. Then it stays as it is.

    """
    target = path.resolve()
    try:
        with _alone(target.parent):
            there = target.read_bytes().decode("utf-8", "replace") if target.exists() else None
            if there != before:
                raise UsageError(f"{path} has been changed by somebody else meanwhile")
            _replace(target, after, is_new=before is None)
    except OSError as exc:
        raise UsageError(f"{path} cannot be written: {exc.strerror or exc}") from exc


def read(path: Path) -> str | None:
    """The text of the file, with its own line ends; None if there is none. Raises ProfileError."""
    try:
        profiles.load(path)
    except ProfileError as error:
        if profiles.is_missing(error):
            return None
        raise
    return path.read_bytes().decode("utf-8")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one of us that changes files here. The folder is locked: the file itself is replaced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as exc:
                if time.monotonic() >= deadline:
                    raise UsageError(f"another command is changing files in {folder}") from exc
                time.sleep(0.02)
            except OSError:  # a file system without locks; what is written is still whole
                break
        yield
    finally:
        os.close(descriptor)


def _replace(target: Path, text: str, *, is_new: bool) -> None:
    mode = 0o600 if is_new else target.stat().st_mode & 0o7777
    descriptor, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=".toml", dir=target.parent)
    copy = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a file descriptor, not a path
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        copy.chmod(mode)
        copy.replace(target)
    finally:
        copy.unlink(missing_ok=True)


def _with(text: str, name: str, table: Table, path: Path) -> str:
    """The text with one more profile: at its end, or in the inline table that holds the others."""
    wanted = _parsed(text, path)
    wanted.setdefault("profiles", {})[name] = _plain(table)
    end = "\r\n" if "\r\n" in text else "\n"
    piece = render(name, table).replace("\n", end)
    gap = "" if not text.strip() else end if text.endswith("\n") else end * 2
    appended = f"{text}{gap}{piece}"
    if _same(appended, wanted):
        return appended
    with contextlib.suppress(TOMLKitError, ValueError, KeyError):
        document: Any = tomlkit.parse(text)
        inline = tomlkit.inline_table()
        inline.update(_plain(table))
        document["profiles"][name] = inline
        changed = tomlkit.dumps(document)
        if _same(changed, wanted):
            return changed
    raise _by_hand(path)


def _without(text: str, name: str, path: Path) -> str:
    """The text without one of its profiles."""
    wanted = _parsed(text, path)
    del wanted["profiles"][name]
    with contextlib.suppress(TOMLKitError, ValueError, KeyError):
        document: Any = tomlkit.parse(text)
        del document["profiles"][name]
        changed = tomlkit.dumps(document)
        if _same(changed, wanted):
            return changed
    raise _by_hand(path)


def _parsed(text: str, path: Path) -> dict[str, Any]:
    profiles.parse(text, str(path))
    return tomllib.loads(text)


def _plain(table: Table) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}


def _same(text: str, wanted: dict[str, Any]) -> bool:
    """Whether the text says this and nothing else; an empty table of profiles is the same as none."""
    try:
        said = tomllib.loads(text)
    except ValueError:
        return False
    return {**said, "profiles": said.get("profiles", {})} == {
        **wanted,
        "profiles": wanted.get("profiles", {}),
    }


def _by_hand(path: Path) -> ProfileError:
    problem = Problem(None, "", "it is laid out so that it cannot be changed without touching the rest")
    return ProfileError(
        str(path), [problem], hint="`tunnels add --dry-run` prints the profile; `tunnels edit` opens the file"
    )
