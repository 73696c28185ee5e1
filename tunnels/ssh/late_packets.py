"""Bears with packets for channels that are closed.

A channel is closed when both sides have said so (RFC 4254 section 5.3). sshd, while it waits for our word,
may still ask for a sign of life on it (``client_alive_check`` in OpenSSH's serverloop.c), and does so
whenever our word is late by more than its ClientAliveInterval, as after an outage. OpenSSH's client ignores
that. asyncssh 2.24.1 has forgotten the channel by then, and ends the whole connection with "Invalid channel
number".
"""

from __future__ import annotations

from collections import deque
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

    def process_connection_close(self, _exc: Exception | None) -> None:
        """Closed it is already."""

    def close(self) -> None:
        """Closed it is already."""

    def process_open_confirmation(self, *_: object) -> None:
        """Nobody has asked for that."""
        raise asyncssh.ProtocolError("Channel not being opened")

    process_open_failure = process_open_confirmation


_CLOSED = _ClosedChannel()


def tolerate_late_packets(conn: asyncssh.SSHClientConnection) -> None:
    """Have a connection ignore what comes for the channels it has closed last.

    Where asyncssh has no such names any more, nothing is done, and nothing breaks.
    """
    private: Any = conn
    channels = getattr(private, "_channels", None)
    remove = getattr(private, "remove_channel", None)
    if not isinstance(channels, dict) or remove is None:
        return
    closed: deque[int] = deque()

    def remove_and_remember(number: int) -> None:
        remove(number)
        if len(closed) >= REMEMBERED and channels.get(oldest := closed.popleft()) is _CLOSED:
            del channels[oldest]
        channels[number] = _CLOSED
        closed.append(number)

    private.remove_channel = remove_and_remember
