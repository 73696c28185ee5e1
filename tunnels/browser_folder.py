"""Folders for browser profiles: thrown away after use, or kept by name.

A folder belongs to whoever holds the lock on the file beside it: we and, because it inherits the descriptor,
the browser. So a folder whose lock is free is nobody's any more, whatever became of us, and the next one who
comes here sweeps it away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunnels import paths
from tunnels.errors import TunnelsError, UsageError

#: Times, and seconds between them, that a folder is removed into which a dying process may still write.
_ATTEMPTS, _PAUSE = 40, 0.05

_PREFIX = "once-"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that is ours."""

    path: Path
    lock: int  #: the descriptor that the browser inherits


@contextlib.contextmanager
def throwaway(root: Path) -> Iterator[Folder]:
    """A new folder in ``root``, gone at the end of the block; those that others have left behind go first.

    Raises BadSetting where ``root`` cannot be ours alone, and TunnelsError where nothing can be written.
    """
    paths.make_private(root)
    path = root / f"{_PREFIX}{secrets.token_hex(4)}"
    with _alone_in(root):
        sweep(root)
        lock = _lock(path.with_suffix(".lock"))
    assert lock is not None, "its name is new"
    try:
        _make(path)
        yield Folder(path, lock)
    finally:
        os.close(lock)
        _remove(path)


@contextlib.contextmanager
def kept(root: Path, name: str) -> Iterator[Folder]:
    """The folder of this name in ``root``, which stays. Raises UsageError for one that is in use."""
    if not name or name.startswith((".", "-", _PREFIX)) or not all(c.isalnum() or c in "-_" for c in name):
        raise UsageError(
            f"--keep: {name!r} cannot be the name of a browser profile", hint="letters, digits, - and _"
        )
    paths.make_private(root)
    path = root / name
    lock = _lock(root / f"{name}.lock")
    if lock is None:
        raise UsageError(
            f"the browser profile {name} is in use by another browser",
            hint="close that one, or keep another name",
        )
    try:
        _make(path)
        yield Folder(path, lock)
    finally:
        os.close(lock)


def sweep(root: Path) -> None:
    """Remove the folders that are nobody's any more."""
    for lock_file in root.glob(f"{_PREFIX}*.lock"):
        lock = _lock(lock_file)
        if lock is not None:
            os.close(lock)
            _remove(lock_file.with_suffix(""))


@contextlib.contextmanager
def _alone_in(root: Path) -> Iterator[None]:
    """Keep others from sweeping between the making of a lock file and its locking."""
    try:
        fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise _unwritable(root, exc) from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _lock(file: Path) -> int | None:
    """Lock a file; ``None`` if somebody has it."""
    try:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise _unwritable(file, exc) from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise _unwritable(path, exc) from exc


def _remove(path: Path) -> None:
    """Remove a folder and its lock file; what a process that is just dying writes is waited for, for 2 s."""
    for _ in range(_ATTEMPTS):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            path.with_suffix(".lock").unlink(missing_ok=True)
            return
        time.sleep(_PAUSE)


def _unwritable(path: Path, exc: OSError) -> TunnelsError:
    return TunnelsError(f"{path} cannot be written: {exc.strerror or exc}", hint="is the disk full?")
