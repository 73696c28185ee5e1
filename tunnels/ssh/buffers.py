"""What every connection needs for a moment at a time, and so all of them share."""

from __future__ import annotations

import os
import threading

from tunnels.ssh.gcm import OVERHEAD

#: Bytes that a packet may have: OpenSSH's own limit, PACKET_MAX_SIZE.
LARGEST_PACKET = 256 * 1024

#: Bytes read at once: a full packet, and room to go on.
READ = LARGEST_PACKET + 256 * 1024

#: Bytes sealed before they are written: one read of a client's socket.
WRITE = 272 * 1024


#: Bytes that may wait behind a full socket: answers to the server, which does not read them. What channels have
#: to say waits with them, so that ten thousand of them that open and close are an eighth of this.
LARGEST_BACKLOG = 8 * 1024 * 1024

#: Packets that may wait for a key exchange, for the same reason.
LARGEST_DEFERRED = 64 * 1024


class Noise:
    """Random padding (RFC 4253 section 6), drawn a page at a time."""

    def __init__(self) -> None:
        self._page = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        """Give bytes that nobody has had before; at most 255, the longest padding."""
        at = self._at
        if at + size > len(self._page):
            self._page, at = os.urandom(4096), 0
        self._at = at + size
        return self._page[at : at + size]


class Buffers(threading.local):
    """Used by one connection at a time: a read, what is made of it, and a write happen in one go."""

    def __init__(self) -> None:
        self.incoming = memoryview(bytearray(READ))
        self.opened = memoryview(bytearray(LARGEST_PACKET))
        self.plain = memoryview(bytearray(LARGEST_PACKET + OVERHEAD))
        self.noise = Noise()
        self.sealed = memoryview(bytearray(max(WRITE, LARGEST_PACKET) + 2 * OVERHEAD))


#: Those of the thread that asks.
buffers = Buffers()
