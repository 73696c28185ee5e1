"""The file of what happened to the tunnels, and the sign of life beside it: read by ``why``, written by the daemon.

Two files of `MAX_BYTES` are kept. A line is written in one piece and not forced onto the disk: a power cut
may cost the last seconds, and a broken last line is passed over.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from tunnels.core.history import Facts, Record, parse_records

#: Two files of this size are kept: years of a busy laptop.
MAX_BYTES = 1024 * 1024

#: More than we ever write into a file: whatever else it may be, it is not read for minutes.
_MAX_READ = 16 * MAX_BYTES


def load(path: Path) -> list[Record]:
    """Read what happened, the oldest first. What cannot be read is left out."""
    return parse_records("\n".join(_text(file) for file in (_older(path), path)))


def load_open(path: Path) -> list[Record]:
    """Read what is needed to know what is still open: a new file begins with all of that."""
    return parse_records(_text(path)) if path.exists() else load(path)


def _older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_READ).decode("utf-8", "replace")
    except OSError:
        return ""


def last_sign(*paths: Path) -> float | None:
    """When there was last a sign of life at any of these, in seconds since the epoch; None if there never was."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            found.append(path.stat().st_mtime)
    return max(found, default=None)


def give_sign(path: Path, now: float) -> None:
    """Leave a sign of life. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.utime(fd, (now, now))
    finally:
        os.close(fd)


class Writer:
    """Appends records, and begins a new file when there is enough in the old one."""

    def __init__(self, path: Path, facts: Facts) -> None:
        self._path = path
        self._facts = facts
        self._fd = -1
        self._size = 0
        self._limit = MAX_BYTES

    def write(self, record: Record) -> None:
        """Add a record. Raises OSError; what is open stays known, so the next one may succeed."""
        self._facts.take(record)
        line = f"{record}\n".encode("ascii")
        if self._fd >= 0 and os.fstat(self._fd).st_nlink == 0:  # somebody has deleted it
            self.close()
        if self._fd < 0:
            self._open()
        self._append(line)
        if self._size > self._limit:
            self._rotate()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._append(b"\n")  # a power cut has broken off the last line: it must not swallow the next one

    def _append(self, data: bytes) -> None:
        written = os.write(self._fd, data)
        self._size += written
        if written < len(data):  # the disk is full; what is there of the line ends here
            self.close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _rotate(self) -> None:
        """Begin a new file with what is open."""
        data = "".join(f"{record}\n" for record in self._facts.open()).encode("ascii")
        new = self._path.with_name(self._path.name + ".new")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123 - a file descriptor, not a path
            file.write(data)
        self.close()
        self._path.replace(_older(self._path))
        new.replace(self._path)
        self._limit = max(MAX_BYTES, 2 * len(data))  # thousands of tunnels must not rotate with each record

    def close(self) -> None:
        """Let go of the file; the next record opens it again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
