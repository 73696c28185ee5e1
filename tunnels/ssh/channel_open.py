"""What is asked for when a channel is opened, in SSH's own encoding (RFC 4251 section 5). Pure."""

from __future__ import annotations

import functools

from tunnels.core.address import Address, TcpAddress
from tunnels.forwarding.channel import Origin


def direct(connect: Address, origin: Origin) -> tuple[bytes, bytes]:
    """The kind of a channel that the server is to connect, and what says whereto.

    RFC 4254 section 7.2; OpenSSH's PROTOCOL section 2.4, whose last two fields are reserved.
    """
    if isinstance(connect, TcpAddress):
        host, port = origin
        return b"direct-tcpip", _port_of(connect) + string(host) + uint32(port)
    return b"direct-streamlocal@openssh.com", string(connect.path) + string("") + uint32(0)


@functools.lru_cache(maxsize=64)
def _port_of(connect: TcpAddress) -> bytes:
    """The destination: of a local forward, the same for every client."""
    return string(connect.host or "localhost") + uint32(connect.port)


def string(text: str) -> bytes:
    """A string with its length."""
    raw = text.encode("utf-8", "surrogateescape")
    return uint32(len(raw)) + raw


def uint32(number: int) -> bytes:
    """A number of four bytes."""
    return number.to_bytes(4, "big")
