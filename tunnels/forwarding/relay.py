"""Couples a socket and a channel by callbacks: no task, no queue and no copy of ours per chunk.

Every callback runs to its end without waiting, so a chunk goes from one kernel buffer to the other in one stack:
read into a buffer that all sockets share, and written straight to the other descriptor. What the two ends keep to:

Half-close
    An end of file travels and ends only its own direction (RFC 4254 section 5.3, RFC 9293 section 3.6).
Back-pressure, towards the far end
    Reading from the socket stops while the channel or the whole SSH connection cannot take more, and,
    before the channel is open, after `EARLY_LIMIT` bytes.
Back-pressure, towards the socket
    Reading from the channel stops with the first byte that the kernel does not take. The cost of a
    stalled reader is what the channel keeps: one window.
A cut is no end
    When the SSH connection goes, the sockets of its channels are reset: a program must never take a truncated
    answer for a complete one. A channel that the far end closes is an end like any other; SSH has no reset to
    pass on. A unix socket has no reset either: its peer sees an end of file, which it cannot tell from a complete
    answer, unless it has sent what we had not read yet (then ECONNRESET, unix(7)). Who needs to know listens on
    a port.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import Any

from tunnels.forwarding.channel import Channel
from tunnels.forwarding.sockets import descriptor, reset

#: Bytes taken from a client before its channel is open: one typical first request and then some.
EARLY_LIMIT = 64 * 1024

#: Bytes read from a socket at once.
READ = 256 * 1024

# Why reading from the socket is paused; it goes on when no reason is left.
_EARLY, _CHANNEL, _LINK, _TURN = 1, 2, 4, 8


class _Buffer(threading.local):
    """Where every socket of a thread is read to: reading and handling what was read happen in one go."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ))


_buffer = _Buffer()


class Counters:
    """What went through a forward so far."""

    __slots__ = ("clients", "clients_total", "from_socket", "held", "to_socket")

    def __init__(self) -> None:
        self.clients = 0  #: sockets open now
        self.clients_total = 0
        self.held = 0  #: of these, waiting for the connection
        self.from_socket = 0  #: bytes
        self.to_socket = 0  #: bytes


class SocketEnd(asyncio.BufferedProtocol):
    """The end that holds the TCP socket: of a client, or of the destination of a remote forward."""

    __slots__ = (
        "_buffer",
        "_counters",
        "_early",
        "_eof",
        "_file",
        "_on_lost",
        "_on_made",
        "_paused",
        "_resuming",
        "_send",
        "_stuck",
        "far",
        "gone",
        "transport",
    )

    def __init__(
        self,
        counters: Counters,
        *,
        on_made: Callable[[SocketEnd], None] | None = None,
        on_lost: Callable[[SocketEnd], None] | None = None,
    ) -> None:
        self.transport: asyncio.Transport | None = None
        self.far = FarEnd(self)
        self._counters = counters
        self._on_made = on_made
        self._on_lost = on_lost
        self._early: bytearray | None = bytearray()  # until the channel is open
        self._eof = False  # the peer of the socket has sent its last byte
        self.gone = False  #: the socket has been closed
        self._paused = 0
        self._buffer = _buffer.view
        self._file = -1  # descriptor of the socket
        self._stuck = False  # something is queued for the socket
        self._resuming = False  # the transport tells us that nothing is any more
        self._send: Callable[[bytes | memoryview], object] | None = None  # the channel, once it is open

    # --- from the socket --------------------------------------------------------------------------

    def connection_made(self, taken: Any) -> None:
        """Take the socket. uvloop's transport is none by inheritance."""
        self.transport = taken
        taken.set_write_buffer_limits(high=0, low=0)
        self._file = descriptor(taken)
        self._stuck = taken.get_write_buffer_size() > 0  # of whoever had it before
        self._counters.clients += 1
        self._counters.clients_total += 1
        if self._on_made is not None:
            self._on_made(self)

    def take_over(self, transport: asyncio.Transport, early: bytes) -> None:
        """Take a socket that another protocol (a SOCKS handshake) has read from until now."""
        transport.set_protocol(self)
        self.connection_made(transport)
        if early:
            self.data_received(early)

    def get_buffer(self, sizehint: int) -> Any:
        """Where to read to."""
        early = self._early
        return self._buffer if early is None else self._buffer[: max(EARLY_LIMIT - len(early), 1)]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come from the socket."""
        send = self._send
        if send is None:
            self.data_received(self._buffer[:nbytes])
            return
        self._counters.from_socket += nbytes
        try:
            send(self._buffer[:nbytes])
        except OSError:  # nobody takes it any more (RFC 4254 section 5.3); the end follows
            pass
        if nbytes == READ:  # there may be more, but others have their turn first (`turns`)
            self._pause(_TURN)
            asyncio.get_running_loop().call_soon(self._resume, _TURN)

    def data_received(self, data: bytes | memoryview) -> None:
        """Bytes from the socket: on to the channel."""
        self._counters.from_socket += len(data)
        if self._send is not None:
            self.far.write(data)
        elif self._early is not None:
            self._early += data
            if len(self._early) >= EARLY_LIMIT:
                self._pause(_EARLY)

    def eof_received(self) -> bool:
        """The peer has sent its last byte; it may still want to read."""
        self._eof = True
        if self._early is None:
            self.far.write_eof()
        return True

    def pause_writing(self) -> None:
        """The socket takes no more: something is queued."""
        self._stuck = True
        self.far.pause_reading()

    def resume_writing(self) -> None:
        """The socket has taken everything."""
        self._stuck = False
        self._resuming = True
        self.far.resume_reading()
        self._resuming = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone, and with it the reason for the channel."""
        self.gone = True
        self._file = -1
        self._counters.clients -= 1
        self._early = self._send = None
        self.far.socket_gone(clean=self._eof)
        if self._on_lost is not None:
            self._on_lost(self)

    # --- from the other end -----------------------------------------------------------------------

    def channel_opened(self, channel: Channel) -> None:
        """Hand over what came early. From now on bytes go straight through."""
        early, self._early = self._early, None
        self._send = channel.write
        if self._stuck:  # by what the client was told before
            channel.pause_reading()
        if early:
            self.far.write(early)
        if self._eof:
            self.far.write_eof()
        if self._paused:
            self._resume(_EARLY)

    def write(self, data: bytes | memoryview, _datatype: int | None = None, /) -> None:
        """Bytes for the socket, ours only until this returns: what the kernel does not take is copied."""
        if self.gone:
            return
        size = len(data)
        self._counters.to_socket += size
        sent = 0
        # The descriptor is open until `connection_lost` returns. Nothing is queued unless the transport said so.
        if not self._stuck and self._file >= 0:
            try:
                sent = os.write(self._file, data)
            except OSError:  # it is full; or broken, which the transport will find out
                pass
        transport = self.transport
        if sent < size and transport is not None and not transport.is_closing():
            transport.write(bytes(data[sent:]))

    def write_eof(self) -> None:
        """The far end has sent its last byte."""
        if self._eof:  # and the peer its own: nothing more comes either way
            self.close()
        elif not self.gone and self.transport is not None and not self.transport.is_closing():
            try:
                self.transport.write_eof()
            except OSError:  # the peer has gone this very moment; connection_lost follows
                pass

    def close(self) -> None:
        """Close after what is queued."""
        if self._resuming:  # asyncio's own transport would close twice
            asyncio.get_running_loop().call_soon(self.close)
        elif not self.gone and self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Close so that the peer sees a reset."""
        if not self.gone and self.transport is not None:
            reset(self.transport)

    def pause_for_channel(self) -> None:
        """The channel's buffer is full."""
        self._pause(_CHANNEL)

    def resume_for_channel(self) -> None:
        """It has room again."""
        self._resume(_CHANNEL)

    def pause_for_link(self) -> None:
        """The SSH connection's buffer is full."""
        self._pause(_LINK)

    def resume_for_link(self) -> None:
        """The SSH connection's buffer has room again."""
        self._resume(_LINK)

    def _pause(self, reason: int) -> None:
        before, self._paused = self._paused, self._paused | reason
        if not before and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def _resume(self, reason: int) -> None:
        before, self._paused = self._paused, self._paused & ~reason
        if before and not self._paused and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


class FarEnd:
    """The end that holds the channel; what asyncssh calls a session. None of its callbacks raises."""

    __slots__ = ("_channel", "_eof", "_eof_sent", "_socket", "data_received", "greeting", "on_closed")

    def __init__(self, socket_end: SocketEnd) -> None:
        self._socket = socket_end
        self._channel: Channel | None = None
        #: bytes from the far end go straight on to the socket
        self.data_received: Callable[[bytes | memoryview, int | None], None] = socket_end.write
        self._eof = False  # the far end has sent its last byte
        self._eof_sent = False
        #: makes what the socket's peer is told before the first byte of the far end
        self.greeting: Callable[[], bytes] | None = None
        self.on_closed: Callable[[], None] | None = None  #: called once, when the channel is gone

    # --- from the channel -------------------------------------------------------------------------

    def connection_made(self, chan: Channel, /) -> None:
        """The channel is open; perhaps nobody is left who wants it."""
        self._channel = chan
        if self._socket.gone:
            chan.abort()
            return
        if self.greeting is not None:
            transport = self._socket.transport
            assert transport is not None
            transport.write(self.greeting())
        self._socket.channel_opened(chan)

    def eof_received(self) -> bool:
        """The far end has sent its last byte; it may still want to read."""
        self._eof = True
        self._socket.write_eof()
        return True

    def pause_writing(self) -> None:
        """The channel's buffer is full."""
        self._socket.pause_for_channel()

    def resume_writing(self) -> None:
        """The channel's buffer has room again."""
        self._socket.resume_for_channel()

    def link_paused(self) -> None:
        """The SSH connection's buffer is full."""
        self._socket.pause_for_link()

    def link_resumed(self) -> None:
        """The SSH connection's buffer has room again."""
        self._socket.resume_for_link()

    def link_lost(self) -> None:
        """The SSH connection is gone, and with it whatever was still to come, unless nothing was."""
        if self._channel is not None and not self._complete:  # without a channel, the next connection will do
            self._socket.reset()

    @property
    def _complete(self) -> bool:
        return self._eof and self._eof_sent

    def connection_lost(self, exc: Exception | None, /) -> None:
        """The channel is gone."""
        self._channel = None
        if exc is None or self._complete:
            self._socket.close()
        else:
            self._socket.reset()
        if self.on_closed is not None:
            self.on_closed()
            self.on_closed = None

    # --- from the other end -----------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes for the far end; dropped where it no longer takes any (RFC 4254 section 5.3)."""
        if self._channel is not None:
            try:
                self._channel.write(memoryview(data))
            except OSError:  # BrokenPipeError: the channel is closing; connection_lost follows
                pass

    def write_eof(self) -> None:
        """The peer of the socket has sent its last byte."""
        if self._channel is not None and not self._eof_sent:
            self._eof_sent = True
            try:
                self._channel.write_eof()
            except OSError:
                pass

    def pause_reading(self) -> None:
        """The socket's buffer is full."""
        if self._channel is not None:
            self._channel.pause_reading()

    def resume_reading(self) -> None:
        """The socket's buffer has room again."""
        if self._channel is not None:
            self._channel.resume_reading()

    def socket_gone(self, *, clean: bool) -> None:
        """Nobody is left to read. What a peer sent before it ended cleanly still goes out."""
        if self._channel is None:
            return
        if clean:
            self._channel.close()
        else:
            self._channel.abort()
