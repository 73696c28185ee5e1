"""Reverse dynamic forwards (``ssh -R port``): a SOCKS and HTTP proxy on the server's side, whose clients come out here.

The handshake is `core.proxy`, as for a dynamic forward; here it is spoken over a channel and not over a
socket. When the destination answers, the channel is handed over to the relay, by way of `plain_http`
where the client asked for a page and not for a tunnel.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from tunnels.core.address import TcpAddress
from tunnels.core.http_exchange import Exchange
from tunnels.core.proxy import ProxyServer
from tunnels.core.socks import ConnectRequest, Fail, Send
from tunnels.errors import DialError
from tunnels.forwarding.channel import Channel
from tunnels.forwarding.dynamic import HANDSHAKE_TIMEOUT
from tunnels.forwarding.plain_http import LINGER_TIMEOUT, AnswerFilter
from tunnels.forwarding.relay import FarEnd, SocketEnd
from tunnels.tasks import TaskScope

#: Connects to a destination from this machine. Raises DialError.
Dial = Callable[[TcpAddress], Awaitable[SocketEnd]]


class ProxyEnd:
    """The channel of one client: what a `channel.ChannelEnd` is told, until the relay is told it."""

    def __init__(self, server: ProxyServer, dial: Dial, scope: TaskScope) -> None:
        self.on_closed: Callable[[], None] | None = None  #: called once, when the channel is gone
        #: Bytes from the client. Later it is the relay's own: nothing of ours is in the way of a chunk.
        self.data_received: Callable[[bytes | memoryview, int | None], None] = self._handshake
        self._server = server
        self._dial = dial
        self._scope = scope
        self._channel: Channel | None = None
        self._far: FarEnd | None = None  # the relay's end, once the destination has answered
        self._exchange: Exchange | None = None
        self._early = bytearray()  # of a plain request, for a destination that has not answered yet
        self._eof = False
        self._refused = False  # the client has been told its last
        self._link_paused = False
        self._write_paused = False  # the channel takes no more
        self._deadline: asyncio.TimerHandle | None = None

    # --- from the channel: none of these raises ---------------------------------------------------

    def connection_made(self, chan: Channel, /) -> None:
        """A client has connected. It has `HANDSHAKE_TIMEOUT` seconds to say where it wants to go."""
        self._channel = chan
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT, self._too_slow)

    def eof_received(self) -> bool:
        """The client has sent its last byte; it may still want to read."""
        self._eof = True
        if self._refused:
            self._close()
            return True
        fail = None if self._exchange is None else self._exchange.request_ended()
        if fail is not None:
            self._give_up(fail)
            return True
        return True if self._far is None else self._far.eof_received()

    def pause_writing(self) -> None:
        """The channel takes no more: of the first reply already, where the link is full or has to agree on new keys."""
        self._write_paused = True
        if self._far is not None:
            self._far.pause_writing()

    def resume_writing(self) -> None:
        """The channel's buffer has room again."""
        self._write_paused = False
        if self._far is not None:
            self._far.resume_writing()

    def link_paused(self) -> None:
        """The SSH connection's buffer is full."""
        self._link_paused = True
        if self._far is not None:
            self._far.link_paused()

    def link_resumed(self) -> None:
        """The SSH connection's buffer has room again."""
        self._link_paused = False
        if self._far is not None:
            self._far.link_resumed()

    def link_lost(self) -> None:
        """The SSH connection is gone."""
        if self._far is not None:
            self._far.link_lost()

    def connection_lost(self, exc: Exception | None, /) -> None:
        """The channel is gone."""
        self._channel = None
        self._stop_clock()
        if self._far is not None:
            self._far.connection_lost(exc)
        if self.on_closed is not None:
            self.on_closed()
            self.on_closed = None

    # --- what the client says ---------------------------------------------------------------------

    def _handshake(self, data: bytes | memoryview, _datatype: int | None, /) -> None:
        if self._channel is None:
            return
        for event in self._server.receive(bytes(data)):
            match event:
                case Send(reply):
                    self._say(reply)
                case Fail(reply, _):
                    self._end_with(reply)
                case ConnectRequest():
                    self._requested(event)

    def _requested(self, request: ConnectRequest) -> None:
        """Stop reading until the destination has answered; what comes before that is kept."""
        assert self._channel is not None
        self._stop_clock()
        self._exchange = self._server.exchange
        if self._exchange is not None:
            self.data_received = self._plain_request
            self._plain_request(self._server.trailing, None)
            if self._refused:
                return
        self._channel.pause_reading()
        self._scope.spawn(self._serve(request), name=f"client for {request.host}:{request.port}")

    def _plain_request(self, data: bytes | memoryview, _datatype: int | None, /) -> None:
        """More of a plain request."""
        if self._exchange is None or self._refused:
            return
        passed = self._exchange.request(bytes(data))
        if isinstance(passed, Fail):
            self._give_up(passed)
        elif self._far is None:
            self._early += passed
        elif passed:
            self._far.data_received(passed, None)

    def _ignore(self, data: bytes | memoryview, _datatype: int | None, /) -> None:
        """It has been refused, and speaks on."""

    # --- the destination --------------------------------------------------------------------------

    async def _serve(self, request: ConnectRequest) -> None:
        """Connect to the destination, tell the client how that went, and hand over to the relay."""
        try:
            end = await self._dial(TcpAddress(request.host, request.port))
        except DialError as error:
            if not self._refused:
                self._end_with(self._server.failed(error.reason))
            return
        channel = self._channel
        if channel is None or self._refused:  # nobody waits for it any more
            end.reset()
            return
        self._say(self._server.succeeded())
        self._far = end.far
        if self._link_paused:
            end.far.link_paused()
        if self._write_paused:  # it was told to us, and will not be told again
            end.far.pause_writing()
        if self._exchange is None:
            early = self._server.trailing
            self.data_received = end.far.data_received
            end.far.connection_made(channel)
        else:
            early = bytes(self._early)
            self._early.clear()
            end.far.connection_made(AnswerFilter(channel, self._exchange, self._give_up))
        if early:
            end.far.data_received(early, None)
        if self._eof:
            end.far.eof_received()
        channel.resume_reading()

    def _give_up(self, fail: Fail) -> None:
        """What one of the two sends makes no sense: the destination is reset, the client told if it can be told."""
        if self._refused:
            return
        far, self._far = self._far, None
        if far is not None:
            far.connection_lost(ConnectionAbortedError(fail.reason))
        if fail.reply:
            self._end_with(fail.reply)
        else:
            self._refused = True
            if self._channel is not None:
                self._channel.abort()

    # --- the end ----------------------------------------------------------------------------------

    def _say(self, reply: bytes) -> None:
        if self._channel is not None and reply:
            with contextlib.suppress(OSError):  # BrokenPipeError: the channel is closing
                self._channel.write(reply)

    def _too_slow(self) -> None:
        reply = self._server.timed_out()
        if reply:
            self._end_with(reply)
        elif self._channel is not None:
            self._channel.abort()

    def _end_with(self, reply: bytes) -> None:
        """Tell the client its last. One that may still be sending is left to end by itself (see `LINGER_TIMEOUT`)."""
        self._stop_clock()
        self._refused = True
        self.data_received = self._ignore
        self._say(reply)
        channel = self._channel
        if channel is None:
            return
        if self._eof or not self._server.in_http:
            self._close()
            return
        with contextlib.suppress(OSError):
            channel.write_eof()
        self._deadline = asyncio.get_running_loop().call_later(LINGER_TIMEOUT, self._close)
        channel.resume_reading()

    def _close(self) -> None:
        self._stop_clock()
        if self._channel is not None:
            self._channel.close()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
