"""Bytes a second of the last minute, from counters that only ever grow. Pure: the time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tunnels.core.status import ForwardStatus, TunnelStatus

#: Seconds that are kept, one value for each.
KEPT = 60

#: A graph is at least this many bytes a second high: a keystroke is no mountain.
_FLOOR = 1000.0

_BARS = " ▁▂▃▄▅▆▇█"

#: A tunnel, or with its place a forward of it.
Key = tuple[str, int | None]


class Rate(NamedTuple):
    """Bytes a second: now, towards the clients and away from them, and both together for the last minute."""

    to_clients: float = 0.0
    from_clients: float = 0.0
    history: tuple[float, ...] = ()  #: the oldest first


class _Series:
    """What one counter pair did."""

    __slots__ = ("at", "both", "last", "now")

    def __init__(self, at: float, counters: tuple[int, int]) -> None:
        self.at = at
        self.last = counters
        self.now = (0.0, 0.0)
        self.both: deque[float] = deque(maxlen=KEPT)

    def add(self, at: float, counters: tuple[int, int]) -> None:
        """Take the counters of a moment; those within the same second wait for its end."""
        passed = at - self.at
        if passed < 0.95:
            if passed < 0:  # the clock was set back
                self.at, self.last = at, counters
            return
        # A counter that is smaller than it was has begun anew, with a new tunnel.
        grown = [new - old if new >= old else new for new, old in zip(counters, self.last, strict=True)]
        self.now = (grown[0] / passed, grown[1] / passed)
        self.both.extend([sum(self.now)] * min(max(1, round(passed)), KEPT))
        self.at, self.last = at, counters


class Rates:
    """The rates of every tunnel and every forward."""

    def __init__(self) -> None:
        self._series: dict[Key, _Series] = {}

    def add(self, tunnels: Iterable[TunnelStatus], at: float) -> None:
        """Take the counters of a snapshot; ``at`` is in seconds. What is not in it is forgotten."""
        seen: dict[Key, _Series] = {}
        for tunnel in tunnels:
            self._take(seen, (tunnel.name, None), at, total(tunnel.forwards))
            if len(tunnel.forwards) > 1:
                for place, forward in enumerate(tunnel.forwards):
                    self._take(seen, (tunnel.name, place), at, (forward.bytes_in, forward.bytes_out))
        self._series = seen

    def _take(self, seen: dict[Key, _Series], key: Key, at: float, counters: tuple[int, int]) -> None:
        series = seen[key] = self._series.get(key) or _Series(at, counters)
        series.add(at, counters)

    def of(self, name: str, place: int | None = None) -> Rate:
        """The rates of a tunnel, or of one of its forwards. A tunnel with one forward has its rates."""
        series = self._series.get((name, place)) or self._series.get((name, None))
        return Rate() if series is None else Rate(*series.now, tuple(series.both))


def total(forwards: Iterable[ForwardStatus]) -> tuple[int, int]:
    """Bytes towards the clients, and away from them."""
    to_clients = from_clients = 0
    for forward in forwards:
        to_clients += forward.bytes_in
        from_clients += forward.bytes_out
    return to_clients, from_clients


def graph(history: Sequence[float], width: int) -> str:
    """The last ``width`` values as bars, the newest at the right; what has not been yet is empty."""
    shown = history[-width:] if width > 0 else ()
    high = max(_FLOOR, *shown) if shown else _FLOOR
    bars = "".join(_BARS[_height(value, high)] for value in shown)
    return bars.rjust(max(width, 0))


def _height(value: float, high: float) -> int:
    """Of a bar, from 1; something is never shown as nothing."""
    steps = len(_BARS) - 1
    return 1 if value <= 0 else min(steps, 2 + int(value / high * (steps - 2)))
