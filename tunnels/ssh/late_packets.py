"""Bears with packets for channels that are closed.

A channel is closed when both sides have said so (RFC 4254 section 5.3). sshd, while it waits for our word,
may still ask for a sign of life on it (``client_alive_check`` in OpenSSH's serverloop.c), and does so
whenever our word is late by more than its ClientAliveInterval, as after an outage. OpenSSH's client ignores
that. asyncssh 2.24.1 has closed or forgotten the channel by then, and ends the whole connection with "Channel
not open" or "Invalid channel number".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import asyncssh

#: Closed channels that are remembered. What is late is late by an outage: these are the channels that were
#: closing when it began.
REMEMBERED = 1024


class _ClosedChannel:
    """Stands where a channel was, and ignores what comes for it."""

    def log_received_packet(self, *_: object) -> None:
        """Nothing to log."""

    def process_packet(self, *_: object) -> bool:
        """Taken, and forgotten."""
        return True


_CLOSED = _ClosedChannel()

#: Nothing remembered; never added to.
_NONE: set[int] = set()


class _Channels(dict[int, Any]):
    """The channels of a connection by number, as asyncssh looks them up for each packet that comes in."""

    def __init__(self, channels: Mapping[int, Any]) -> None:
        super().__init__(channels)
        self._order: deque[int] | None = None  # most connections have nothing to remember
        self._remembered: set[int] = _NONE

    def __getitem__(self, number: int) -> Any:
        channel = self.get(number)
        if channel is None:
            if number in self._remembered:
                return _CLOSED
            raise KeyError(number)
        # Where the server has said its last word, whatever of that is still kept for a slow reader.
        return _CLOSED if getattr(channel, "_recv_state", "") in ("close_pending", "closed") else channel

    def __delitem__(self, number: int) -> None:
        super().__delitem__(number)
        if self._order is None:
            self._order, self._remembered = deque(), set()
        if len(self._order) >= REMEMBERED:
            self._remembered.discard(self._order.popleft())
        self._order.append(number)
        self._remembered.add(number)


def tolerate_late_packets(conn: asyncssh.SSHClientConnection) -> None:
    """Have a connection ignore what comes for the channels it has closed last.

    Where asyncssh has no such names any more, nothing is done, and nothing breaks.
    """
    private: Any = conn
    channels = getattr(private, "_channels", None)
    if type(channels) is dict and hasattr(asyncssh.SSHTCPChannel, "_process_close"):
        private._channels = _Channels(channels)  # noqa: SLF001
