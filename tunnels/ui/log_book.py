"""The last lines of the log for each tunnel, so that choosing another one reads no file."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from pathlib import Path

from tunnels.core.logline import parse
from tunnels.log_file import LogFile

#: Lines that are kept of each tunnel: more than anybody scrolls through in a corner of the screen.
KEPT = 200


class LogBook:
    """Reads the log once, and then what is new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log: LogFile | None = None
        self._of: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._last = ""  # whose line it was; what is indented belongs to it

    def read(self) -> None:
        """Take what is new."""
        if self._log is None:
            self._log = LogFile(self._path)
            self._take(self._log.older())
        self._take(self._log.read())

    def _take(self, lines: Iterable[str]) -> None:
        for line in lines:
            found = parse(line)
            if found is not None:
                self._last = found.tunnel or ""
            self._of[self._last].append(line.rstrip("\n"))

    def close(self) -> None:
        """Let go of the file."""
        if self._log is not None:
            self._log.close()

    def of(self, name: str) -> tuple[str, ...]:
        """The last lines about a tunnel, the oldest first; with no name, about the daemon itself."""
        return tuple(self._of[name]) if name in self._of else ()
