"""The last lines of the log for each tunnel, so that choosing another one reads no file."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable

from tunnels.core.logline import parse
from tunnels.log_file import LogFile

#: Lines that are kept of each tunnel: more than anybody scrolls through in a corner of the screen.
KEPT = 200


class LogBook:
    """Reads the log once, and then what is new."""

    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._of: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._last = ""  # whose line it was; what is indented belongs to it
        self._begun = False

    def read(self) -> None:
        """Take what is new."""
        if not self._begun:
            self._begun = True
            self._take(list(self._log.older()))
        self._take(self._log.read())

    def _take(self, lines: Iterable[str]) -> None:
        for line in lines:
            found = parse(line)
            if found is not None:
                self._last = found.tunnel or ""
            self._of[self._last].append(line.rstrip("\n"))

    def of(self, name: str) -> tuple[str, ...]:
        """The last lines about a tunnel, the oldest first; with no name, about the daemon itself."""
        return tuple(self._of[name]) if name in self._of else ()
