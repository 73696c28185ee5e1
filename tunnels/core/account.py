"""What follows from the records of a tunnel: how much of the time it was up, and each time it was not, and why.

How it is counted, so that nothing looks better than it was:

* The share is the time the tunnel was up, of the time it was wanted: from ``up`` until a person's ``down``.
* Time in which no daemon ran, because it was ended or killed or the machine was off, counts as not up.
  Time in which the machine slept counts as not up as well. Both are named beside the share.
* A drop is what begins when a working tunnel stops to work and nobody has asked for ``down``, and ends when
  it works again or is no longer wanted. The end of the daemon makes a drop: clients were interrupted.
* When a daemon was killed is known from the signs that it leaves (`supervisor.history`), so at best to some
  seconds and at worst to `SIGNS`. The share takes all of that for time that it was away, and what is not
  known is given beside it (``unsure``): nobody is told that a daemon was away for longer than it was.
* A clock that was slow since the daemon started, as after a power cut on a machine without a battery, is
  corrected when it is put forward. One that was wrong in another way makes times shorter and never negative:
  records are in the order in which they happened, and those whose times do not fit into the order of most of
  the others are taken to be of the same time as the one before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from tunnels.core.history import Record, What, corrected
from tunnels.errors import ErrorInfo

#: Seconds that the share is about.
WEEK = 7 * 86_400.0

#: A link is found dead at most so many seconds after the machine has woken up: the default keepalives, and some.
AFTER_SLEEP = 90.0

#: Seconds between two signs of life of a daemon, at most. A restart of the machine leaves only the rarest of them.
SIGNS = 60.0

#: Seconds by which the begin of a sleep may be guessed too late.
_BEFORE_SLEEP = 5.0

KILLED = ErrorInfo("daemon-not-running", "the daemon was not running: it was killed, or the machine was off")
ENDED = ErrorInfo("daemon-ended", "the daemon was ended, or the machine was shut down")


class Drop(NamedTuple):
    """One time that a tunnel was not up although it should have been."""

    begin: float  #: seconds since the epoch
    end: float | None  #: up again, or no longer wanted; None: still going on
    cause: ErrorInfo | None
    slept: float = 0.0  #: it is because the machine slept for so many seconds
    attempts: int = 0  #: that it took to come back
    then: ErrorInfo | None = None  #: what went wrong last before it came back, if that is not the cause
    stuck: What | None = None  #: `FAILED` or `NEEDS_INPUT`, if a person had to do something
    back: bool = False  #: it ended because the tunnel was up again
    daemon: bool = False  #: it came back with a new daemon
    unsure: float = 0.0  #: seconds by which it may have begun later


class Account(NamedTuple):
    """All that is known about one tunnel."""

    known: bool  #: there is a record of it
    wanted: bool  #: it should be up now
    works: bool  #: it is up now, as far as the records say
    since: float  #: seconds since the epoch since when it is so
    trouble: Record | None  #: why it is not up now
    wanted_for: float  #: seconds of the window in which it was wanted
    up_for: float  #: seconds of these in which it was up
    off_for: float  #: seconds of these in which no daemon ran
    asleep_for: float  #: seconds of these in which the machine slept
    drops: tuple[Drop, ...]  #: all of them, the oldest first
    window: float = WEEK
    unsure_for: float = 0.0  #: seconds of ``off_for`` in which a daemon may have run

    @property
    def share(self) -> float | None:
        """Of the time it was wanted, the part it was up, from 0 to 1; None if it was not wanted."""
        return min(1.0, self.up_for / self.wanted_for) if self.wanted_for > 0 else None

    def recent(self, now: float) -> int:
        """How many drops there were within the window."""
        return sum(drop.end is None or drop.end > now - self.window for drop in self.drops)


Span = tuple[float, float]


class _Teller:
    """Reads the records of one tunnel in order, and keeps what is open at each moment."""

    def __init__(self, tunnel: str, now: float) -> None:
        self.tunnel = tunnel
        self.now = now
        self.last = float("-inf")
        self.known = False
        self.since = now
        self.wanted: float | None = None
        self.unwanted = now  # since when it is not
        self.up: float | None = None
        self.off: float | None = None
        self.killed = False  # what is off since then
        self.drop: Drop | None = None
        self.trouble: Record | None = None
        self.wanted_spans: list[Span] = []
        self.up_spans: list[Span] = []
        self.off_spans: list[Span] = []
        self.unsure_spans: list[Span] = []  # the part of them before which the last sign was
        self.sleeps: list[Span] = []
        self.drops: list[Drop] = []

    def take(self, record: Record) -> None:
        before, at = self.last, min(max(record.at, self.last), self.now)
        self.last = at
        if record.what in {What.STARTED, What.ENDED} and self.wanted is None:
            self._close_drop(self.unwanted)  # the daemon that ends here, or has ended, did not want it
        match record.what:
            case What.STARTED:
                sign = at if record.since is None else record.since
                self._off(min(max(sign, before), at), KILLED)
                self._started(at)
            case What.ENDED:
                self._off(at, ENDED)
            case What.SLEPT:
                self.sleeps.append((max(0.0, at - record.seconds), at))
            case _ if record.tunnel == self.tunnel:
                self.known = True
                self._of_the_tunnel(at, record)

    def _of_the_tunnel(self, at: float, record: Record) -> None:
        self._close_off(at)
        if record.what is What.STOPPED:
            self._close_up(at)
            self._close_wanted(at)
            self._close_drop(at)
            self.trouble, self.since = None, at
            return
        if self.wanted is None:
            self.wanted, self.since = at, at
        match record.what:
            case What.WANTED:
                self.trouble = None
            case What.UP:
                if self.drop is not None:
                    then = record.error if record.error != self.drop.cause else None
                    self.drop = self.drop._replace(attempts=record.attempts, then=then, back=True)
                    self._close_drop(at)
                if self.up is None:
                    self.up, self.since = at, at
                self.trouble = None
            case What.DOWN | What.FAILED | What.NEEDS_INPUT:
                if self.up is not None:
                    self._close_up(at)
                    self.drop = Drop(at, None, record.error)
                if record.what is not What.DOWN and self.drop is not None:
                    self.drop = self.drop._replace(stuck=record.what)
                self.trouble, self.since = record, at

    def _started(self, at: float) -> None:
        self._close_off(at)
        if self.drop is not None:
            self.drop = self.drop._replace(daemon=True)
        self._close_wanted(at)  # and wanted again at once, if this daemon takes it up

    def _off(self, at: float, why: ErrorInfo) -> None:
        """From now on no daemon runs."""
        if self.off is not None:
            return
        self.off, self.killed = at, why is KILLED
        if self.up is not None:
            self._close_up(at)
            self.drop = Drop(at, None, why)
        if self.wanted is not None and self.trouble is None:
            self.trouble, self.since = Record(at, What.DOWN, self.tunnel, why), at

    def _close_off(self, at: float) -> None:
        if self.off is not None:
            self.off_spans.append((self.off, at))
            if self.killed:
                sure = min(self.off + SIGNS, at)
                self.unsure_spans.append((self.off, sure))
                if self.drop is not None and self.drop.cause is KILLED:
                    self.drop = self.drop._replace(unsure=sure - self.off)
            self.off = None

    def _close_up(self, at: float) -> None:
        if self.up is not None:
            self.up_spans.append((self.up, at))
            self.up = None

    def _close_wanted(self, at: float) -> None:
        if self.wanted is not None:
            self.wanted_spans.append((self.wanted, at))
            self.wanted, self.unwanted = None, at

    def _close_drop(self, at: float) -> None:
        if self.drop is not None:
            self.drops.append(self.drop._replace(end=at))
            self.drop = None

    def finish(self, last_sign: float | None) -> Account:
        now = self.now
        if last_sign is not None:
            self._off(min(max(last_sign, self.last), now), KILLED)
        self._close_off(now)
        unwanted = self.unwanted
        works, wanted = self.up is not None, self.wanted is not None
        self._close_up(now)
        self._close_wanted(now)
        if self.drop is not None:
            self.drops.append(self.drop if wanted else self.drop._replace(end=unwanted))
        window = [(now - WEEK, now)]
        wanted_spans = _common(window, _joined(self.wanted_spans))
        sleeps = _joined(self.sleeps)
        up = _common(wanted_spans, _joined(self.up_spans))
        off = _common(wanted_spans, _joined(self.off_spans))
        asleep = _common(wanted_spans, sleeps)
        return Account(
            known=self.known,
            wanted=wanted,
            works=works,
            since=self.since,
            trouble=self.trouble if wanted else None,
            wanted_for=_length(wanted_spans),
            up_for=_length(up) - _length(_common(up, sleeps)),
            off_for=_length(off),
            unsure_for=_length(_common(off, _joined(self.unsure_spans))),
            asleep_for=_length(asleep) - _length(_common(asleep, off)),
            drops=tuple(_with_sleep(drop, self.sleeps) for drop in self.drops),
        )


def _with_sleep(drop: Drop, sleeps: list[Span]) -> Drop:
    """A connection that ends while the machine sleeps, or is found dead afterwards, ended because of that."""
    if drop.cause in {KILLED, ENDED}:
        return drop
    for begin, end in sleeps:
        if begin - _BEFORE_SLEEP <= drop.begin <= end + AFTER_SLEEP:
            return drop._replace(begin=min(drop.begin, begin), slept=end - begin)
    return drop


def account(records: Iterable[Record], tunnel: str, now: float, *, last_sign: float | None = None) -> Account:
    """Tell what is known about a tunnel at the time ``now`` (seconds since the epoch).

    ``last_sign`` is for when no daemon runs: when there was last a sign of one, or 0 if that is not known.
    """
    teller = _Teller(tunnel, now)
    records = corrected(records)
    for at, record in zip(_in_order([record.at for record in records], now), records, strict=True):
        teller.take(record._replace(at=at))
    return teller.finish(last_sign)


def _in_order(times: list[float], now: float) -> list[float]:
    """Put times right: as many of them as can be right stay, which are a longest sequence that never falls.

    Simply taking none to be earlier than the one before it would believe a clock that once, for a second,
    was years ahead: everything that happens until then would seem to happen at one moment.
    """
    ends: list[float] = []  # the lowest time that a sequence of each length can end with
    places: list[list[int]] = []  # which times can be the first, the second, … of such a sequence
    for i, at in enumerate(times):
        if at > now:
            continue
        place = bisect_right(ends, at)
        if place == len(ends):
            ends.append(at)
            places.append([])
        ends[place] = at
        places[place].append(i)
    kept: set[int] = set()
    limit = now
    for candidates in reversed(places):
        # Where there is a choice, the latest time: clocks are years behind more often than ahead.
        i = next(i for i in candidates if times[i] <= limit)
        kept.add(i)
        limit = times[i]
    last, right = limit, []
    for i, at in enumerate(times):
        last = at if i in kept else last
        right.append(last)
    return right


def _joined(spans: Iterable[Span]) -> list[Span]:
    """The same time as spans that do not overlap, in order."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        elif begin < end:
            joined.append((begin, end))
    return joined


def _common(first: list[Span], second: list[Span]) -> list[Span]:
    """The time that is in both; each has spans in order that do not overlap."""
    found, i, j = [], 0, 0
    while i < len(first) and j < len(second):
        begin, end = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        if begin < end:
            found.append((begin, end))
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return found


def _length(spans: list[Span]) -> float:
    return sum(end - begin for begin, end in spans)
