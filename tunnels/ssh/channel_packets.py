"""The packets of a channel but for its data (RFC 4254 section 5).

Every client costs three: that its channel is open, that the far end has sent its last byte, and that it has
closed. They are read where they come (`carry`). What is seldom, what comes in a key exchange and what is against
the protocol is asyncssh's to read, which asks for it here (`hand_over`).
"""

from __future__ import annotations

import struct
from typing import Any, Protocol

import asyncssh

MSG_OPEN = 90
MSG_CONFIRMATION = 91
MSG_WINDOW_ADJUST = 93
MSG_DATA = 94
MSG_EXTENDED_DATA = 95
MSG_EOF = 96
MSG_CLOSE = 97
MSG_REQUEST = 98
MSG_FAILURE = 100


#: Bytes that the server has to take in one packet. Nothing sends so little; one who says so wants to see us busy.
SMALLEST_DATA = 256

TOO_SMALL = "Maximum packet size too small"

#: Bytes for a window to be allowed at most (section 5.2).
LARGEST_WINDOW = 0xFFFFFFFF

_CONFIRMATION = struct.Struct(
    ">III"
)  # the far end's number, its window, bytes of data that a packet may have


class Receiver(Protocol):
    """What packets are taken by."""

    def confirmed(self, peer: int, window: int, largest: int, /) -> bool:
        """The server has opened it; false where that is against the protocol."""

    def data(self, data: bytes | memoryview, /) -> bool:
        """Bytes have come; false where that is against the protocol."""

    def window_adjusted(self, more: int, /) -> bool:
        """The far end takes more; false where that is against the protocol."""

    def eof_came(self) -> bool:
        """The far end has sent its last byte; false where that is against the protocol."""

    def close_came(self) -> bool:
        """The far end has closed the channel; false where that is against the protocol."""

    def request_came(self, *, wants_answer: bool) -> None:
        """The far end asks for something."""


def carry(kind: int, body: bytes | memoryview, to: Receiver) -> bool:
    """Give ``to`` a packet of which ``body`` comes after the channel's number; false where it is asyncssh's to read."""
    if kind == MSG_EOF:
        return not body and to.eof_came()
    if kind == MSG_CLOSE:
        return not body and to.close_came()
    if kind == MSG_CONFIRMATION:
        return len(body) == _CONFIRMATION.size and to.confirmed(*_CONFIRMATION.unpack(body))
    return False


def hand_over(kind: int, packet: Any, to: Receiver) -> None:
    """Read a packet, which is asyncssh's, and give it to ``to``.

    Raises:
        asyncssh.ProtocolError: it must not come, or not now.
        PacketDecodeError: it is shorter or longer than it should be.

    """
    if kind == MSG_DATA:
        data = packet.get_string()
        packet.check_end()
        if not to.data(data):
            raise asyncssh.ProtocolError("Window exceeded, or channel not open for sending")
    elif kind == MSG_WINDOW_ADJUST:
        more = packet.get_uint32()
        packet.check_end()
        if not to.window_adjusted(more):
            raise asyncssh.ProtocolError("Window too large")
    elif kind == MSG_EXTENDED_DATA:
        raise asyncssh.ProtocolError("Invalid extended data type")
    elif kind == MSG_EOF:
        packet.check_end()
        if not to.eof_came():
            raise asyncssh.ProtocolError("Channel not open for sending")
    elif kind == MSG_CLOSE:
        packet.check_end()
        to.close_came()
    elif kind == MSG_REQUEST:  # such as OpenSSH's keepalive, which takes an answer for a sign of life
        packet.get_string()
        to.request_came(wants_answer=packet.get_boolean())
    else:  # the answer to a request, and we have made none
        raise asyncssh.ProtocolError("Unexpected channel response")
