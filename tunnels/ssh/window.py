"""How much a server may send on one channel before it has to wait: the window of RFC 4254 section 5.2.

A window costs memory when the reader stops, and speed when it is smaller than what is on its way: a window
of 2 MiB, OpenSSH's own, on a path of 100 ms is the end at 20 MB/s. So a window begins with 2 MiB, and
doubles as long as it, and not the reader, is what the server waits for: when half of it is used up in less
than two round trips. QUIC implementations size their windows the same way.

A window is also what the server reads from its side before anybody here wants it. OpenSSH keeps that in
buffers that it copies to make them larger: two hundred windows of 2 MiB keep a core of the server busy for
many seconds, and nothing else gets through. So the more channels a connection has, the smaller their windows
begin, and the more slowly used ones are filled up only to that.

What has been granted cannot be taken back, and a reader may stop at any time. So all channels of a connection
share what they may grow by (`Budget`); where it is used up, a window is what OpenSSH's is.
"""

from __future__ import annotations

from collections.abc import Callable

#: Bytes of a new window among a few; OpenSSH's CHAN_TCP_WINDOW_DEFAULT.
INITIAL = 2 * 1024 * 1024

#: Bytes of a new window among very many: two of the largest reads of a socket.
SMALLEST = 128 * 1024

#: Bytes that all new windows of a connection have together, as far as they are between those two.
TOGETHER = 32 * 1024 * 1024

#: Bytes that no window grows beyond: 1.3 Gbit/s on a path of 100 ms.
LARGEST = 16 * 1024 * 1024

#: Bytes that all windows of a connection may have grown by, together: four of the largest.
RESERVE = 64 * 1024 * 1024

#: Seconds of a round trip for which 2 MiB are enough: 1.7 Gbit/s at most. What is used up in less than two
#: shorter ones has only filled the buffers of the reader's socket.
_SHORT = 0.010

#: Round trips within which half a window has to be used up before it grows.
_ROUND_TRIPS = 2.0


class Budget:
    """What the windows of a connection share."""

    __slots__ = ("reserve", "windows")

    def __init__(self, reserve: int = RESERVE) -> None:
        self.reserve = reserve  #: bytes that they may still grow by
        self.windows = 0  #: how many there are

    @property
    def share(self) -> int:
        """Bytes that each of them begins with."""
        return max(SMALLEST, min(INITIAL, TOGETHER // max(1, self.windows)))

    def take(self, wanted: int) -> int:
        """Take so many bytes of the reserve, or as many as there are; returns how many."""
        taken = min(wanted, self.reserve)
        self.reserve -= taken
        return taken


class Window:
    """One channel's window. It is opened again only for what the reader has taken."""

    __slots__ = ("_budget", "_clock", "_granted_at", "_grown", "_round_trip", "left", "size")

    def __init__(
        self,
        clock: Callable[[], float],
        round_trip: Callable[[], float | None],
        budget: Budget | None = None,
        size: int | None = None,
    ) -> None:
        """``clock`` is in seconds, and ``round_trip`` the shortest one of the connection, if there is any.

        The latest may have waited for a busy machine; a burst into a reader's buffers would look like a long path.
        Without a ``size``, in bytes, it is what the budget has for each.
        """
        self._clock = clock
        self._round_trip = round_trip
        self._granted_at = clock()
        self._budget = budget = budget or Budget()
        budget.windows += 1
        self._grown = 0  # bytes that are from the reserve
        self.size = size or budget.share  #: bytes
        self.left = self.size  #: bytes that the server may still send

    def grant(self) -> int:
        """All that came has been read: return how many more bytes to allow, 0 while there are enough left."""
        if self.left > self.size // 2:
            return 0
        now, round_trip = self._clock(), self._round_trip()
        if round_trip and now - self._granted_at < _ROUND_TRIPS * round_trip:
            self._grow(round_trip)
        elif self.size <= INITIAL:
            self.size = max(self._budget.share, self.size // 2)
        self._granted_at = now
        more = max(0, self.size - self.left)
        self.left += more
        return more

    def _grow(self, round_trip: float) -> None:
        if self.size < INITIAL:
            self.size = min(2 * self.size, INITIAL)
        elif round_trip > _SHORT:
            more = self._budget.take(min(2 * self.size, LARGEST) - self.size)
            self._grown += more
            self.size += more

    def close(self) -> None:
        """Nothing comes any more: others may have more instead. To be called once."""
        self._budget.windows -= 1
        self._budget.reserve += self._grown
