"""The packets of a channel that asyncssh hands over (RFC 4254 section 5): seldom ones, and all in a key exchange."""

from __future__ import annotations

from typing import Any, Protocol

import asyncssh

MSG_OPEN = 90
MSG_WINDOW_ADJUST = 93
MSG_DATA = 94
MSG_EXTENDED_DATA = 95
MSG_EOF = 96
MSG_CLOSE = 97
MSG_REQUEST = 98
MSG_FAILURE = 100


class Receiver(Protocol):
    """What packets are taken by."""

    def data(self, data: memoryview, /) -> bool:
        """Bytes have come; false where that is against the protocol."""

    def window_adjusted(self, more: int, /) -> bool:
        """The far end takes more; false where that is against the protocol."""

    def eof_came(self) -> None:
        """The far end has sent its last byte. Raises asyncssh.ProtocolError where it had said so before."""

    def close_came(self) -> None:
        """The far end has closed the channel."""

    def request_came(self, *, wants_answer: bool) -> None:
        """The far end asks for something."""


def hand_over(kind: int, packet: Any, to: Receiver) -> None:
    """Read a packet, which is asyncssh's, and give it to ``to``.

    Raises:
        asyncssh.ProtocolError: it must not come, or not now.
        PacketDecodeError: it is shorter or longer than it should be.

    """
    if kind == MSG_DATA:
        data = packet.get_string()
        packet.check_end()
        if not to.data(memoryview(data)):
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
        to.eof_came()
    elif kind == MSG_CLOSE:
        packet.check_end()
        to.close_came()
    elif kind == MSG_REQUEST:  # such as OpenSSH's keepalive, which takes an answer for a sign of life
        packet.get_string()
        to.request_came(wants_answer=packet.get_boolean())
    else:  # the answer to a request, and we have made none
        raise asyncssh.ProtocolError("Unexpected channel response")
