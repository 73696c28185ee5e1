"""Where the sealed packets of a connection leave: at once what its socket takes, in order what it does not take yet.

Every write wakes the server, and costs both sides more than what is in it. A client that comes and goes takes four
packets, two of which nobody waits for: the end of file of the one before and the close of its channel. These wait
for the next packet (`cork`), for as long as the event loop needs to look at its sockets twice: with the client
that comes after, that is three writes of which one is the client's own data, and not five.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from tunnels.ssh.buffers import LARGEST_BACKLOG


class Outlet:
    """The socket of one connection, as it is written to."""

    __slots__ = ("_backlog", "_conn", "_corked", "_give_up", "_loop", "_transport", "file", "full")

    def __init__(self, conn: Any, file: int, give_up: Callable[[str], None]) -> None:
        """``conn`` is asyncssh's, ``file`` the descriptor of its socket or -1; ``give_up`` ends it, and is told why."""
        self._conn = conn
        self._transport = conn._transport  # noqa: SLF001
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._corked = b""
        self._backlog = 0  # bytes that were sent all the same since it is full
        self.file = file  #: -1 when it is gone, and will be another one's
        #: it takes no more; and nothing may overtake what asyncssh has sent
        self.full: bool = self._transport.get_write_buffer_size() > 0

    def write(self, data: memoryview | bytes) -> None:
        """Send whole packets, which are the caller's again when this returns; what has waited goes before them."""
        transport = self._transport
        if self._conn._transport is None:  # noqa: SLF001
            return
        if self._corked:
            data, self._corked = b"".join((self._corked, data)), b""
        size, sent = len(data), 0
        if self.full:
            self._backlog += size
            if self._backlog > LARGEST_BACKLOG:
                self._give_up("Server does not read the answers to its requests")
                return
        elif self.file >= 0:
            try:
                sent = os.write(self.file, data)
            except OSError:  # it is full; or broken, which the transport will find out
                pass
        if sent < size and not transport.is_closing():
            transport.write(bytes(data[sent:]))

    def cork(self, data: bytes) -> None:
        """Send a packet with the next one, or a moment later."""
        if not self._corked:
            self._loop.call_soon(self._come_round)
        self._corked += data

    def _come_round(self) -> None:
        """Every socket was looked at; who was accepted then says in the next round what it wants."""
        if self._corked:
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what waits."""
        if self._corked:
            self.write(b"")

    def pause(self) -> None:
        """The socket takes no more."""
        self.full = True

    def resume(self) -> None:
        """The socket has taken everything."""
        self.full, self._backlog = False, 0
