"""Bears with packets for channels that are closed.

A channel is closed when both sides have said so (RFC 4254 section 5.3). sshd, while it waits for our word,
may still ask for a sign of life on it (``client_alive_check`` in OpenSSH's serverloop.c), and does so
whenever our word is late by more than its ClientAliveInterval, as after an outage. OpenSSH's client ignores
that. asyncssh 2.24.1 has closed or forgotten the channel by then, and ends the whole connection with "Channel
not open" or "Invalid channel number".
"""

from __future__ import annotations

from typing import Any

import asyncssh


class _ClosedChannel:
    """Stands where a channel was, and ignores what comes for it."""

    def log_received_packet(self, *_: object) -> None:
        """Nothing to log."""

    def process_packet(self, *_: object) -> bool:
        """Taken, and forgotten."""
        return True


_CLOSED = _ClosedChannel()

#: Numbers ago from which on a number is one that has not been given yet.
_NEVER = 0x80000000


class _Channels(dict[int, Any]):
    """The channels of a connection by number, as asyncssh looks them up for each packet that comes in.

    asyncssh gives the numbers one after the other: what is not there, and comes before the next, was closed.
    """

    def __init__(self, conn: Any) -> None:
        super().__init__(conn._channels)  # noqa: SLF001
        self._conn = conn

    def __getitem__(self, number: int) -> Any:
        channel = self.get(number)
        if channel is None:
            age = self._conn._next_recv_chan - 1 - number & 0xFFFFFFFF  # noqa: SLF001 - it wraps (RFC 4254 section 5.1)
            if age >= _NEVER:
                raise KeyError(number)
            return _CLOSED
        # Where the server has said its last word, whatever of that is still kept for a slow reader.
        return _CLOSED if getattr(channel, "_recv_state", "") in ("close_pending", "closed") else channel


def tolerate_late_packets(conn: asyncssh.SSHClientConnection) -> None:
    """Have a connection ignore what comes for the channels it has closed last.

    Where asyncssh has no such names any more, nothing is done, and nothing breaks.
    """
    private: Any = conn
    channels = getattr(private, "_channels", None)
    known = hasattr(private, "_next_recv_chan") and hasattr(asyncssh.SSHTCPChannel, "_process_close")
    if type(channels) is dict and known:
        private._channels = _Channels(private)  # noqa: SLF001
