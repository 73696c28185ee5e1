"""A plain HTTP request between its client and the relay: `core.http_exchange`, given a socket or a channel.

The relay stays as it is: to it, this is the client. What the client sends goes through the exchange
before the relay gets it, and what the relay has for the client goes through it before the client gets it.
Tunnels (SOCKS, CONNECT) never come this way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from tunnels.core.http_exchange import Exchange
from tunnels.core.socks import Fail
from tunnels.forwarding.channel import Channel
from tunnels.forwarding.relay import SocketEnd

#: Seconds for a client that has been refused to take note and go. What it still sends meanwhile is thrown
#: away: closing over unread bytes resets the connection, and a reset can overtake the answer.
LINGER_TIMEOUT = 2.0


class AnswerFilter:
    """What the relay takes for the client of a plain request. ``client`` is the real one: a socket or a channel."""

    def __init__(self, client: Channel, exchange: Exchange, give_up: Callable[[Fail], None]) -> None:
        """``give_up`` is called, once and not at once, when the answer makes no sense."""
        self._client = client
        self._exchange = exchange
        self._give_up = give_up
        self._broken = False

    def write(self, data: Any, /) -> None:
        """Bytes of the server."""
        if self._broken:
            return
        passed = self._exchange.response(bytes(data))
        if isinstance(passed, Fail):
            self._broken = True
            # Not in the middle of a callback of the channel that is about to be given up.
            asyncio.get_running_loop().call_soon(self._give_up, passed)
        elif passed:
            self._client.write(passed)

    def write_eof(self) -> None:
        """The server has sent its last byte."""
        if not self._broken:
            self._say_the_last()
            self._client.write_eof()

    def close(self) -> None:
        """The server has gone; perhaps without an answer."""
        if not self._broken:
            self._say_the_last()
            self._client.close()

    def _say_the_last(self) -> None:
        if said := self._exchange.response_ended():
            self._client.write(said)

    def abort(self) -> None:
        """End the client now."""
        self._client.abort()

    def pause_reading(self) -> None:
        """The relay has no room."""
        self._client.pause_reading()

    def resume_reading(self) -> None:
        """The relay has room again."""
        self._client.resume_reading()


class PlainClient(AnswerFilter, asyncio.Transport, asyncio.Protocol):
    """The socket of a client with a plain request: a transport to the relay, a protocol to the socket."""

    #: The relay must not write past this to the socket.
    filters = True

    def __init__(
        self,
        transport: asyncio.Transport,
        exchange: Exchange,
        end: SocketEnd,
        refuse: Callable[[bytes, SocketEnd | None], None],
    ) -> None:
        """``refuse`` sends the client away with its last answer, and tells the end if there is one left.

        ``end`` is the relay's, which takes this over.
        """
        AnswerFilter.__init__(self, transport, exchange, self._break_off)
        asyncio.Transport.__init__(self)
        self._transport = transport
        self._end: SocketEnd | None = end
        self._refuse = refuse

    # --- from the socket --------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._end is None:
            return
        passed = self._exchange.request(data)
        if isinstance(passed, Fail):
            self._break_off(passed)
        elif passed:
            self._end.data_received(passed)

    def eof_received(self) -> bool:
        """The client has sent its last byte."""
        if self._end is None:
            return False
        fail = self._exchange.request_ended()
        if fail is not None:
            self._break_off(fail)
            return False
        return self._end.eof_received()

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        if self._end is not None:
            self._end.pause_writing()

    def resume_writing(self) -> None:
        """The socket's buffer has room again."""
        if self._end is not None:
            self._end.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        end, self._end = self._end, None
        if end is not None:
            end.connection_lost(exc)

    def _break_off(self, fail: Fail) -> None:
        """Give up both sides: the server sees an unclean end, and the client is told, if it can still be told."""
        self._broken = True
        end, self._end = self._end, None
        if end is None:
            return
        end.connection_lost(ConnectionAbortedError(fail.reason))
        if fail.reply:
            self._refuse(fail.reply, None)
        else:
            self._transport.abort()

    # --- from the relay, beside what `AnswerFilter` has -------------------------------------------

    def close(self) -> None:
        """The server has gone; perhaps without an answer."""
        if not self._broken and (said := self._exchange.response_ended()):
            self._broken = True
            end, self._end = self._end, None
            self._refuse(said, end)
        else:
            self._transport.close()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Be read by the relay, which is known already, by way of this."""
        self._transport.set_protocol(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Say what is known about the socket."""
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether the socket closes."""
        return self._broken or self._transport.is_closing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when the relay is told to pause."""
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """How much waits to be sent."""
        return self._transport.get_write_buffer_size()


class Lingering(asyncio.Protocol):
    """A client that has been given its last answer, until it has gone, or for `LINGER_TIMEOUT` seconds."""

    def __init__(
        self,
        transport: asyncio.Transport,
        reply: bytes,
        on_lost: Callable[[Lingering, Exception | None], None],
    ) -> None:
        self._transport = transport
        self._on_lost = on_lost
        self._deadline = asyncio.get_running_loop().call_later(LINGER_TIMEOUT, self.abort)
        transport.set_protocol(self)
        if not transport.is_closing():
            transport.write(reply)
            with contextlib.suppress(OSError):  # it has gone in this very moment; connection_lost follows
                transport.write_eof()
            transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Nobody is interested any more."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._deadline.cancel()
        self._on_lost(self, exc)

    def abort(self) -> None:
        """It has had time enough, or the forward is closed."""
        self._transport.abort()
