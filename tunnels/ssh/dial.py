"""Opens the TCP connection to a server: every address of the name, IPv6 and IPv4 racing (RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
import sys

import aiohappyeyeballs

from tunnels.ssh.destination import Destination
from tunnels.ssh.options import connect_timeout, user_timeout

#: Seconds before the next address is tried beside the first (RFC 8305 section 5, "Connection Attempt Delay").
ATTEMPT_DELAY = 0.25

_FAMILIES = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}


async def dial(destination: Destination) -> socket.socket:
    """Connect. Raises OSError: gaierror for the name, TimeoutError for no answer."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(connect_timeout(destination)):
        found = await loop.getaddrinfo(
            destination.hostname,
            destination.port,
            family=_FAMILIES[destination.address_family],
            type=socket.SOCK_STREAM,
        )
        local = None
        if destination.bind_address is not None:
            local = await loop.getaddrinfo(destination.bind_address, 0, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            found, local_addr_infos=local, happy_eyeballs_delay=ATTEMPT_DELAY, interleave=1
        )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    silent = user_timeout(destination)
    if silent > 0 and sys.platform == "linux":
        # Keepalives queue behind data; the kernel finds a peer that acknowledges nothing in the same time.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silent * 1000))
    return sock
