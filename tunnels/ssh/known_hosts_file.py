"""The known hosts files on the disk: read within bounds, added to, and rewritten without a moment of damage.

What is there is never reordered, and comments, blank lines, junk and ends of lines stay as they are. Two
daemons do not lose each other's lines: both lock the file (flock(2)). OpenSSH's programs do not.

A link is followed, and the file it leads to is rewritten; OpenSSH's UpdateHostKeys puts a file in the place
of the link (``hostfile_replace_entries``), which would cut a folder of dot files off.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import stat
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from tunnels.errors import BadSetting
from tunnels.ssh import known_hosts
from tunnels.ssh.known_hosts import Marker, NewHostKey

#: Bytes that a file of keys may have: some 300,000 lines. A file that grows without end must not take the
#: daemon's memory with it.
MAX_FILE: Final = 64 * 1024 * 1024

_LOCK_TRIES: Final = 20
_LOCK_PAUSE: Final = 0.01  # seconds; whoever has the lock needs a few milliseconds

_SALT_BYTES: Final = 20


def read(file: str) -> str:
    """Read a file of keys; a missing one is an empty one.

    Raises BadSetting: it is there and cannot be read, and may say which keys are revoked.
    """
    try:
        return read_existing(file)
    except (FileNotFoundError, NotADirectoryError):
        return ""


def read_existing(file: str) -> str:
    """Read a file of keys. Raises BadSetting, and FileNotFoundError or NotADirectoryError if it is not there."""
    try:
        with open(file, "rb", opener=_never_waiting) as opened:
            found = os.fstat(opened.fileno())
            if file != os.devnull and not stat.S_ISREG(found.st_mode):
                raise BadSetting(f"{file} is not a file", hint="known hosts and revoked keys are plain files")
            content = opened.read(MAX_FILE + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise BadSetting(
            f"{file} cannot be read: {error.strerror}", hint=f"run: ls -l {shlex.quote(file)}"
        ) from error
    if len(content) > MAX_FILE:
        raise BadSetting(
            f"{file} is larger than {MAX_FILE // 1024 // 1024} MiB, which is no list of keys",
            hint=f"run: ls -l {shlex.quote(file)}",
        )
    return content.decode(errors="surrogateescape")


def append(new_key: NewHostKey) -> None:
    """Add the line of a new key at the end of its file, unless it is there by now.

    The file and its folder are made for the user alone. Where the line does not fit on the disk, the file is
    what it was. Raises OSError.
    """
    assert new_key.file is not None
    path = Path(new_key.file)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path, _appending, patient=False) as file:
        before = file.read()
        there = known_hosts.parse(before.decode(errors="surrogateescape"), names=(new_key.name,))
        if any(entry.marker is Marker.HOST and entry.blob == new_key.blob for entry in there):
            return
        line = _line(new_key).encode(errors="surrogateescape")
        # Without this, a last line that nobody has ended would swallow ours (as it does with ssh 9.2).
        newline = b"" if not before or before.endswith(b"\n") else b"\n"
        try:
            _write_all(file, newline + line)
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(len(before))
            raise


def rewrite(file: str, remove: Collection[int], add: Sequence[NewHostKey], *, before: str) -> None:
    """Take lines out of a file and add new ones at its end, all of it or nothing.

    Args:
        file: the file.
        remove: the lines to leave out, counted from 1.
        add: the keys to add.
        before: what the file said when that was decided.

    Raises:
        OSError: it cannot be written (read-only, no room), or somebody has changed it meanwhile.

    """
    path = Path(os.path.realpath(file))
    with _locked(path, _reading, patient=True) as current:
        if not os.access(path, os.W_OK):  # a rename would not care, but somebody has meant it
            raise PermissionError(f"{file} is read-only")
        content = current.read()
        if content != before.encode(errors="surrogateescape"):
            raise OSError(f"{file} has been changed by somebody else meanwhile")
        found = os.fstat(current.fileno())
        lines = content.split(b"\n")
        kept = b"\n".join(line for number, line in enumerate(lines, 1) if number not in remove)
        if add and kept and not kept.endswith(b"\n"):
            kept += b"\n"
        kept += "".join(map(_line, add)).encode(errors="surrogateescape")
        _replace(path, kept, found)


def _line(key: NewHostKey) -> str:
    return known_hosts.new_line(key.name, key.blob, salt=os.urandom(_SALT_BYTES) if key.hashed else None)


def _replace(path: Path, content: bytes, like: os.stat_result) -> None:
    """Put another content into the place of a file, with the same owner and mode."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            made = os.fstat(descriptor)
            if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                os.fchown(descriptor, like.st_uid, like.st_gid)
            _write_all(file, content)
        os.rename(name, path)  # noqa: PTH104 - a path as text
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108 - a path as text
        raise
    with contextlib.suppress(OSError):  # some file systems do not sync folders
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write_all(file: BinaryIO, content: bytes) -> None:
    """Write everything, down to the disk. A full disk takes a part first, and says so at the second call."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(path: Path, opener: Callable[[str, int], int], *, patient: bool) -> Iterator[BinaryIO]:
    """Open a file with a lock on it.

    Who waited for the lock may have got the lock of a file that has been replaced; then it is opened again.
    A patient one does without nothing: it raises OSError if the lock is not to be had. An impatient one goes
    on without it, because a single write at the end of a file damages nothing.
    """
    for left in reversed(range(_LOCK_TRIES)):
        with open(path, "rb" if opener is _reading else "r+b", buffering=0, opener=opener) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(f"{path} is not a file")
            if _lock(file) and _is_still(path, file):
                yield file
                return
            if not left and not patient:
                yield file
                return
        time.sleep(_LOCK_PAUSE)
    raise OSError(f"{path} is locked by another program")


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_still(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))  # noqa: PTH116 - as fstat
    except FileNotFoundError:
        return False


def _never_waiting(path: str, flags: int) -> int:
    # Opening a named pipe would wait for its other side, and the daemon with it.
    return os.open(path, flags | os.O_NONBLOCK)


def _reading(path: str, flags: int) -> int:
    return _never_waiting(path, flags)


def _appending(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)
