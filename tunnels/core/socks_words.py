"""The words of SOCKS5 as a client says them and understands them (RFC 1928). Pure."""

from __future__ import annotations

#: CMD, section 4.
CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3

SUCCEEDED = 0
#: REP, section 6: what a proxy says to a command that it does not have.
REFUSED_COMMAND = 7

_REPLIES = {
    0: "connected",
    1: "general failure",
    2: "not allowed by the server",
    3: "network unreachable",
    4: "host unreachable, or no such name",
    5: "connection refused",
    6: "timed out",
    7: "command not supported",
    8: "address type not supported",
}


def connect_request(command: int, host: str, port: int) -> bytes:
    """A request for a name, which is passed on as it is: at most 255 bytes (section 4). Raises ValueError."""
    name = host.encode("idna") if not host.isascii() else host.encode("ascii")
    if not 0 < len(name) <= 255:
        raise ValueError(f"a host name of {len(name)} bytes")
    return bytes((5, command, 0, 3, len(name))) + name + port.to_bytes(2, "big")


def reply_text(code: int) -> str:
    """What a code means."""
    return _REPLIES.get(code, f"reply {code}")
