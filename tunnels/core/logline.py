"""One line of the log: ``2026-11-20T09:00:00.000Z INFO work-db connecting to bastion``. Written and read here."""

from __future__ import annotations

from typing import NamedTuple

#: Stands where the line is about the daemon itself; no profile can be called that.
NO_TUNNEL = "-"


class LogLine(NamedTuple):
    """What a line says. ``time`` is RFC 3339 UTC, which sorts as text."""

    time: str
    level: str
    tunnel: str | None
    message: str

    def __str__(self) -> str:
        return f"{self.time} {self.level} {self.tunnel or NO_TUNNEL} {printable(self.message)}"


def printable(text: str) -> str:
    """Text that is one line and cannot command a terminal, whatever a server or a file name has put into it."""
    return "".join(char if char.isprintable() else " " for char in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def shortened(text: str, limit: int) -> str:
    """Text of at most ``limit`` characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def screenful(text: str, *, lines: int = 24, columns: int = 500) -> str:
    """A stranger's text of several lines, for a terminal: harmless, and too short to hide what is above it."""
    found = text.strip("\n").split("\n")
    if len(found) > lines:
        found = [*found[: lines - 1], "…"]
    return "\n".join(shortened(printable(line.rstrip()), columns) for line in found)


def parse(line: str) -> LogLine | None:
    """Read a line back; None where it is something else, such as part of a traceback."""
    parts = line.rstrip("\n").split(" ", 3)
    if len(parts) < 4 or not parts[0].endswith("Z") or not parts[0][:4].isdecimal():
        return None
    time, level, tunnel, message = parts
    return LogLine(time, level, None if tunnel == NO_TUNNEL else tunnel, message)
