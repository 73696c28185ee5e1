"""Reverse dynamic forwards (``ssh -R port``): a SOCKS proxy on the server's side, whose clients come out here.

The handshake is `core.socks`, as for a dynamic forward; here it is spoken over a channel and not over a
socket. When the destination answers, the channel is handed over to the relay.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from tunnels.core.address import TcpAddress
from tunnels.core.socks import ConnectRequest, Fail, Send, SocksServer
from tunnels.errors import DialError
from tunnels.forwarding.channel import Channel
from tunnels.forwarding.dynamic import HANDSHAKE_TIMEOUT
from tunnels.forwarding.relay import FarEnd, SocketEnd
from tunnels.tasks import TaskScope

#: Connects to a destination from this machine. Raises DialError.
Dial = Callable[[TcpAddress], Awaitable[SocketEnd]]


class ProxyEnd:
    """The channel of one client: what a `channel.ChannelEnd` is told, until the relay is told it."""

    def __init__(self, socks: SocksServer, dial: Dial, scope: TaskScope) -> None:
        self.on_closed: Callable[[], None] | None = None  #: called once, when the channel is gone
        self._socks = socks
        self._dial = dial
        self._scope = scope
        self._channel: Channel | None = None
        self._far: FarEnd | None = None  # the relay's end, once the destination has answered
        self._eof = False
        self._link_paused = False
        self._deadline: asyncio.TimerHandle | None = None

    # --- from the channel: none of these raises ---------------------------------------------------

    def connection_made(self, chan: Channel, /) -> None:
        """A client has connected. It has `HANDSHAKE_TIMEOUT` seconds to say where it wants to go."""
        self._channel = chan
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT, chan.abort)

    def session_started(self) -> None:
        """Nothing to do: data is taken from the first moment on."""

    def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
        """Bytes from the client: of its handshake, and then for the destination."""
        if self._far is not None:
            self._far.data_received(data, datatype)
            return
        if self._channel is None:
            return
        for event in self._socks.receive(bytes(data)):
            match event:
                case Send(reply):
                    self._say(reply)
                case Fail(reply, _):
                    self._end_with(reply)
                case ConnectRequest():
                    self._stop_clock()
                    self._channel.pause_reading()  # what comes before the destination has answered is kept
                    self._scope.spawn(self._serve(event), name=f"client for {event.host}:{event.port}")

    def eof_received(self) -> bool:
        """The client has sent its last byte; it may still want to read."""
        self._eof = True
        return True if self._far is None else self._far.eof_received()

    def pause_writing(self) -> None:
        """The channel's buffer is full; the replies of a handshake cannot fill it."""
        if self._far is not None:
            self._far.pause_writing()

    def resume_writing(self) -> None:
        """The channel's buffer has room again."""
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

    # --- the destination --------------------------------------------------------------------------

    async def _serve(self, request: ConnectRequest) -> None:
        """Connect to the destination, tell the client how that went, and hand over to the relay."""
        try:
            end = await self._dial(TcpAddress(request.host, request.port))
        except DialError as error:
            self._end_with(self._socks.failed(error.reason))
            return
        channel = self._channel
        if channel is None:  # nobody waits for it any more
            end.reset()
            return
        trailing = self._socks.trailing
        self._say(self._socks.succeeded())
        self._far = end.far
        if self._link_paused:
            end.far.link_paused()
        end.far.connection_made(channel)
        if trailing:
            end.far.data_received(trailing, None)
        if self._eof:
            end.far.eof_received()
        channel.resume_reading()

    def _say(self, reply: bytes) -> None:
        if self._channel is not None and reply:
            with contextlib.suppress(OSError):  # BrokenPipeError: the channel is closing
                self._channel.write(reply)

    def _end_with(self, reply: bytes) -> None:
        self._stop_clock()
        self._say(reply)
        if self._channel is not None:
            self._channel.close()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
