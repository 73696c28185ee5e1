"""What happened to the tunnels, as records: one JSON line each, in the order in which they happened.

Only what changes the answer to "was it up, and if not, why" becomes a record: an outage of a night is a
`DOWN` and an `UP`, however many attempts lie between them. What follows from the records is in
``core.account``.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tunnels.core.state import TunnelState
from tunnels.core.status import error_from_json, error_to_json, format_time, parse_time
from tunnels.core.transition import Transition
from tunnels.errors import ErrorInfo

#: Characters of a message or a hint that are kept: a server may put a novel into its last words.
MAX_TEXT = 500

#: Bytes of a line that are looked at. Ours are shorter; what is longer is no line of ours.
MAX_LINE = 8192


class What(enum.Enum):
    """What a record says."""

    STARTED = "daemon-started"
    ENDED = "daemon-ended"  #: on purpose: `tunnels daemon stop`, or the machine was shut down
    SLEPT = "slept"  #: the machine, for the seconds before the record
    CLOCK_SET = (
        "clock-set"  #: forward, by the seconds of the record: the clock had been slow since the daemon began
    )
    WANTED = "wanted"  #: the tunnel should be up from now on
    UP = "up"  #: it works; an idle tunnel on demand works as well
    DOWN = "down"  #: it does not, and dials again by itself
    FAILED = "failed"
    NEEDS_INPUT = "needs-input"
    STOPPED = "stopped"  #: a person has taken it down


class Record(NamedTuple):
    """One thing that happened."""

    at: float  #: seconds since the epoch
    what: What
    tunnel: str | None = None
    error: ErrorInfo | None = None  #: why; of an `UP`, what went wrong last before it
    attempts: int = 0  #: of an `UP`: how many it took since the tunnel was down
    seconds: float = 0.0  #: of a `SLEPT`: for how long
    since: float | None = None  #: of a `STARTED`: when the last sign of the daemon before it was

    def __str__(self) -> str:
        """The record as a line of the file, without its end."""
        line: dict[str, object] = {"at": format_time(self.at, precise=True), "what": self.what.value}
        if self.tunnel is not None:
            line["tunnel"] = self.tunnel
        if self.error is not None:
            line["error"] = error_to_json(_shortened(self.error))
        if self.attempts:
            line["attempts"] = self.attempts
        if self.seconds:
            line["seconds"] = round(self.seconds, 1)
        if self.since is not None:
            line["since"] = format_time(self.since, precise=True)
        return json.dumps(line)  # ASCII: half of a character cannot be written


def _shortened(error: ErrorInfo) -> ErrorInfo:
    return ErrorInfo(error.code, error.message[:MAX_TEXT], error.hint and error.hint[:MAX_TEXT])


def parse_record(line: str) -> Record | None:
    """Read a line back; None where it is none of ours, such as one that a power cut has broken off."""
    try:
        data = json.loads(line) if len(line) <= MAX_LINE else None
        if not isinstance(data, dict):
            return None
        tunnel, attempts, seconds = data.get("tunnel"), data.get("attempts", 0), data.get("seconds", 0.0)
        return Record(
            at=parse_time(data["at"]),
            what=What(data["what"]),
            tunnel=tunnel if isinstance(tunnel, str) else None,
            error=error_from_json(data.get("error")),
            attempts=attempts if isinstance(attempts, int) and attempts > 0 else 0,
            # A year at most, which also does away with what is no number.
            seconds=float(seconds) if isinstance(seconds, int | float) and 0 < seconds < 31_622_400 else 0.0,
            since=parse_time(data["since"]) if "since" in data else None,
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def parse_records(text: str) -> list[Record]:
    """Read all lines of the files, the older file first. What is no record is left out.

    A new file begins with what was still open in the one before; what has been seen is not read twice.
    """
    seen: set[str] = set()
    found = []
    for line in text.split("\n"):
        if not line or line in seen:
            continue
        seen.add(line)
        record = parse_record(line)
        if record is not None:
            found.append(record)
    return found


def corrected(records: Iterable[Record]) -> list[Record]:
    """Put right the times of what the daemon told before the clock was put forward.

    On a machine without a battery the clock goes on where it was when the power went, until a time server is
    reached.
    """
    found: list[Record] = []
    began = 0
    for record in records:
        match record.what:
            case What.CLOCK_SET:
                found[began:] = [each._replace(at=each.at + record.seconds) for each in found[began:]]
            case What.STARTED:
                began = len(found)
                found.append(record)
            case _:
                found.append(record)
    return found


_TROUBLE = frozenset({What.DOWN, What.FAILED, What.NEEDS_INPUT})


class Facts:
    """What is still open: the few records from which everything that is true now can be told again."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._count = 0
        self._daemon: tuple[int, Record] | None = None
        self._tunnels: dict[str, dict[str, tuple[int, Record]]] = {}  # numbered: two may have the same time
        self._before: set[str] = set()  # of the daemon before, and not taken up again by this one so far
        for record in records:
            self.take(record)

    @property
    def ended(self) -> bool:
        """Whether the last daemon ended on purpose, or there never was one."""
        return self._daemon is None or self._daemon[1].what is What.ENDED

    def take(self, record: Record) -> None:
        """Count one more record in."""
        self._count += 1
        name = record.tunnel
        if name is None:
            self._take_of_daemon(record)
            return
        self._before.discard(name)
        if record.what is What.STOPPED:
            self._tunnels.pop(name, None)
            return
        facts = self._tunnels.setdefault(name, {})
        if record.what is What.UP:
            for key in ("down", "trouble"):
                facts.pop(key, None)
        key = record.what.value
        if record.what in _TROUBLE:  # the first one says why it went down, the last one why it still is
            key = "trouble" if "down" in facts else "down"
        elif record.what is What.WANTED and "wanted" in facts:
            key = "again"  # since when it is wanted at all says the first one, and that it still is, the last
        facts[key] = (self._count, record)

    def _take_of_daemon(self, record: Record) -> None:
        if record.what in {What.SLEPT, What.CLOCK_SET}:
            return
        for name in self._before:  # the daemon that ends here, or has ended, did not want them
            self._tunnels.pop(name, None)
        self._before = set(self._tunnels) if record.what is What.STARTED else set()
        self._daemon = (self._count, record)
        for facts in self._tunnels.values():
            if "up" in facts:
                facts.setdefault("down", self._daemon)

    def open(self) -> Iterator[Record]:
        """The records to begin a new file with, in the order in which they happened."""
        found = {number: record for facts in self._tunnels.values() for number, record in facts.values()}
        if self._daemon is not None:
            found[self._daemon[0]] = self._daemon[1]
        return (found[number] for number in sorted(found))


class _Course:
    """What a tunnel has been through since it was last up."""

    def __init__(self) -> None:
        self.works = False
        self.attempts = 0
        self.error: ErrorInfo | None = None
        self.said: What | None = None


class Scribe:
    """Turns changes of state into records, and leaves out those that say nothing new."""

    def __init__(self) -> None:
        self._courses: dict[str, _Course] = {}

    def take(self, change: Transition) -> Record | None:
        """The record of one change of state, if it deserves one."""
        name, error = change.tunnel, change.error
        course = self._courses.setdefault(name, _Course())
        match change.after:
            case TunnelState.CONNECTING:
                course.attempts += 1
                if change.before in {TunnelState.STOPPED, TunnelState.FAILED}:
                    course.said = None
                    return Record(change.at, What.WANTED, name)
            case TunnelState.UP | TunnelState.IDLE:
                return self._works(change, course)
            case TunnelState.BACKOFF:
                course.error = error
                return self._trouble(change, course, What.DOWN)
            case TunnelState.FAILED:
                return self._trouble(change, course, What.FAILED)
            case TunnelState.NEEDS_INPUT:
                return self._trouble(change, course, What.NEEDS_INPUT)
            case TunnelState.STOPPING:
                self._courses.pop(name)
                return Record(change.at, What.STOPPED, name)
            case TunnelState.STOPPED:
                self._courses.pop(name)
        return None

    @staticmethod
    def _works(change: Transition, course: _Course) -> Record | None:
        if change.after is TunnelState.IDLE and course.said is None and not course.works:
            course.attempts = 0  # nothing has been dialled yet
        record = Record(change.at, What.UP, change.tunnel, course.error, course.attempts)
        worked, course.works = course.works, True
        course.attempts, course.error, course.said = 0, None, None
        return None if worked else record

    @staticmethod
    def _trouble(change: Transition, course: _Course, what: What) -> Record | None:
        if course.works:
            course.attempts = 0  # those that count come after it
        course.works = False
        if course.said is what:
            return None
        course.said = what
        return Record(change.at, what, change.tunnel, change.error)
