"""Reads the log of the daemon as it is written, across its rotation. Needs no daemon."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO

from tunnels.core.logline import parse

#: Seconds between two looks at a log that is followed.
POLL = 0.2


class LogFile:
    """The log from its beginning on; what is new each time it is asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = ""
        self._file = open_log(path)

    def older(self) -> Iterator[str]:
        """The lines of the file that was rotated away, if there is one."""
        file = open_log(self._path.with_name(self._path.name + ".1"))
        if file is not None:
            with file:
                yield from file

    def read(self) -> Iterator[str]:
        """The lines that have come since the last time."""
        replaced = self._file is None or replaced_by_another(
            self._path, self._file
        )  # first: what it still got is read below
        yield from self._rest()
        if replaced and (newer := open_log(self._path)) is not None:
            self.close()
            self._file, self._partial = newer, ""
            yield from self._rest()

    def _rest(self) -> Iterator[str]:
        while self._file is not None and (line := self._file.readline()):
            self._partial += line
            if self._partial.endswith("\n"):
                line, self._partial = self._partial, ""
                yield line

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def open_log(path: Path) -> TextIO | None:
    """The file; None where there is none."""
    try:
        return path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def replaced_by_another(path: Path, file: TextIO) -> bool:
    """Whether the path leads to another file than this one, which was there before."""
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


class Selection:
    """The lines about one tunnel, and what is indented below them."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._shown = name is None

    def of(self, lines: Iterable[str]) -> Iterator[str]:
        """Those of some lines, which follow on those that it was asked for before."""
        for line in lines:
            found = None if self._name is None else parse(line)
            if found is not None:
                self._shown = found.tunnel == self._name
            if self._shown:
                yield line.rstrip("\n")
