"""How much a server may send on one channel before it has to wait: the window of RFC 4254 section 5.2.

A window costs memory when the reader stops, and speed when it is smaller than what is on its way: a window
of 2 MiB, OpenSSH's own, on a path of 100 ms is the end at 20 MB/s. So every window begins with 2 MiB, and
doubles as long as it, and not the reader, is what the server waits for: when half of it is used up in less
than two round trips. QUIC implementations size their windows the same way.

What has been granted cannot be taken back, and a reader may stop at any time. So all channels of a connection
share what they may grow by (`Reserve`); where it is used up, a window is what OpenSSH's is.
"""

from __future__ import annotations

from collections.abc import Callable

#: Bytes of a new window; OpenSSH's CHAN_TCP_WINDOW_DEFAULT.
INITIAL = 2 * 1024 * 1024

#: Bytes that no window grows beyond: 1.3 Gbit/s on a path of 100 ms.
LARGEST = 16 * 1024 * 1024

#: Bytes that all windows of a connection may have grown by, together: four of the largest.
RESERVE = 64 * 1024 * 1024

#: Seconds of a round trip for which the first window is enough: 1.7 Gbit/s at most. What is used up in less than
#: two shorter ones has only filled the buffers of the reader's socket.
_SHORT = 0.010

#: Round trips within which half a window has to be used up before it grows.
_ROUND_TRIPS = 2.0


class Reserve:
    """What the windows of a connection may still grow by."""

    __slots__ = ("left",)

    def __init__(self, left: int = RESERVE) -> None:
        self.left = left  #: bytes

    def take(self, wanted: int) -> int:
        """Take so many bytes, or as many as there are; returns how many."""
        taken = min(wanted, self.left)
        self.left -= taken
        return taken


class Window:
    """One channel's window. It is opened again only for what the reader has taken."""

    __slots__ = ("_clock", "_granted_at", "_grown", "_reserve", "_round_trip", "left", "size")

    def __init__(
        self,
        clock: Callable[[], float],
        round_trip: Callable[[], float | None],
        size: int = INITIAL,
        reserve: Reserve | None = None,
    ) -> None:
        """``clock`` is in seconds, and ``round_trip`` the shortest one of the connection, if there is any.

        The latest may have waited for a busy machine; a burst into a reader's buffers would look like a long path.
        """
        self._clock = clock
        self._round_trip = round_trip
        self._granted_at = clock()
        self._reserve = reserve or Reserve()
        self._grown = 0  # bytes that are from the reserve
        self.size = size  #: bytes
        self.left = size  #: bytes that the server may still send

    def grant(self) -> int:
        """All that came has been read: return how many more bytes to allow, 0 while there are enough left."""
        if self.left > self.size // 2:
            return 0
        now, round_trip = self._clock(), self._round_trip()
        if round_trip and round_trip > _SHORT and now - self._granted_at < _ROUND_TRIPS * round_trip:
            more = self._reserve.take(min(2 * self.size, LARGEST) - self.size)
            self._grown += more
            self.size += more
        self._granted_at = now
        more = self.size - self.left
        self.left = self.size
        return more

    def close(self) -> None:
        """Nothing comes any more: others may grow instead."""
        self._reserve.left += self._grown
        self._grown = 0
