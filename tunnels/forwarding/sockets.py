"""What is asked of the socket under a transport."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

# l_onoff, l_linger: closing sends RST and discards what is queued (socket(7), SO_LINGER).
_LINGER_RESET = struct.pack("ii", 1, 0)


def reset(transport: asyncio.BaseTransport) -> None:
    """Close a socket so that its peer sees a reset and not an end of file."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        except OSError:  # already gone, or not a TCP socket: then abort() is all there is
            pass
    cast("asyncio.Transport", transport).abort()


def descriptor(transport: asyncio.BaseTransport) -> int:
    """Find the number of a transport's socket, which it keeps open until it says that it is closing; or -1."""
    if getattr(transport, "filters", False):  # what is written has to go through it
        return -1
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())
