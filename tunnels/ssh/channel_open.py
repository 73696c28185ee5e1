"""What is asked for when a channel is opened, in SSH's own encoding (RFC 4251 section 5). Pure."""

from __future__ import annotations

from struct import pack

from tunnels.core.address import Address, TcpAddress
from tunnels.forwarding.channel import Origin


def direct(connect: Address, origin: Origin) -> tuple[bytes, bytes]:
    """The kind of a channel that the server is to connect, and what says whereto.

    RFC 4254 section 7.2; OpenSSH's PROTOCOL section 2.4, whose last two fields are reserved.
    """
    if isinstance(connect, TcpAddress):
        host, whence = _raw(connect.host or "localhost"), _raw(origin[0])
        layout = f">I{len(host)}sII{len(whence)}sI"  # for every client, hence in one go
        return _TCP, pack(layout, len(host), host, connect.port, len(whence), whence, origin[1])
    path = _raw(connect.path)
    return _UNIX, pack(f">I{len(path)}sII", len(path), path, 0, 0)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def string(raw: bytes) -> bytes:
    """A string with its length."""
    return len(raw).to_bytes(4, "big") + raw


_TCP = string(b"direct-tcpip")
_UNIX = string(b"direct-streamlocal@openssh.com")
