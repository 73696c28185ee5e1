"""One channel of an SSH connection that carries a client (RFC 4254 section 5), on a `wire.Wire`.

asyncssh's own channel is made for terminals and files as well. This one only forwards: it keeps no more than
one window of what the far end has sent and one read of what the client has sent, it makes no task, and none
of what it calls back can end the connection. asyncssh looks it up by its number and calls the methods whose
names it knows (`process_…`); `wire.Wire` calls those of `channel_packets.Receiver`, which answer false, and
change nothing, where the server must not say this, or not now: asyncssh then asks again, and is told why.

::

    open() ─► confirmed ─► data both ways ─► an end of file each way ─► close each way ─► gone
        └──► refused ─► gone             └── abort(): close at once

What it tells its `ChannelEnd` is told in order, and never while reading is paused, the end included: data
that has come is not lost because a close came with it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from struct import Struct
from typing import Any

import asyncssh

from tunnels.forwarding.channel import ChannelEnd
from tunnels.ssh import channel_packets as packets
from tunnels.ssh.kept import Kept
from tunnels.ssh.window import Budget, Window
from tunnels.ssh.wire import Wire

#: Bytes of data that the server may put into one packet. OpenSSH's client says 32 KiB (CHAN_TCP_PACKET_DEFAULT);
#: what is larger saves us work for each packet, and makes others on the same connection wait longer.
LARGEST_DATA = 64 * 1024

_PAIR = Struct(">II")
_NUMBER_AND_WINDOW = Struct(">III")

#: Told once what the server has answered: None when the channel is open, an `asyncssh.ChannelOpenError` when it
#: refuses, another error when the connection has ended. It must not raise.
Answer = Callable[[BaseException | None], None]

_GONE = "SSH connection closed"
_NOT_ASKED = "Channel not being opened"


class ForwardChannel:
    """A channel. The `ChannelEnd` that it is coupled to sees it as a `Channel`."""

    __slots__ = (
        *("_close_got", "_close_sent", "_close_wanted", "_conn", "_end", "_eof_got", "_eof_sent"),
        *("_eof_told", "_eof_wanted", "_in", "_kept", "_largest", "_number", "_opening", "_out"),
        *("_paused", "_peer", "_pending", "_telling", "_wire", "_write_paused", "queued"),
    )

    carries = True  #: `Wire` may hand it packets

    def __init__(
        self,
        conn: Any,
        wire: Wire,
        round_trip: Callable[[], float | None],
        budget: Budget | None = None,
        *,
        window: int | None = None,
    ) -> None:
        """``conn`` is asyncssh's, ``round_trip`` gives the seconds to the server and back; see `Window`.

        Raises:
            asyncssh.ChannelOpenError: the connection has ended.

        """
        self._conn = conn
        self._wire = wire
        self._end: ChannelEnd | None = None
        self._in = Window(time.monotonic, round_trip, budget, window)
        self._out = 0  # bytes that the far end takes before it has to say more
        self._largest = 0  # bytes of data in one packet to the far end
        self._peer = -1  # the far end's number
        self._opening: Answer | None = None
        self._pending: bytearray | None = None  # what the far end has not been sent yet
        self._kept: Kept | None = None  # what the end has not been given yet
        self._paused = False  # the end takes no more
        self._telling = False  # the end is being given what was kept
        self._write_paused = False  # the end was told to wait
        self._eof_wanted = self._eof_sent = self._eof_got = self._eof_told = False
        self._close_wanted = self._close_sent = self._close_got = False
        self.queued = False  #: waits at the wire for its turn
        self._number: int = self._conn.add_channel(self)

    def __repr__(self) -> str:
        return f"<ForwardChannel {self._number} to {self._peer}>"

    # --- opening ----------------------------------------------------------------------------------

    def open(self, end: ChannelEnd, then: Answer, kind: bytes, *args: bytes) -> None:
        """Ask the server for a channel of this kind, a string of SSH, and couple it to ``end``; then tell ``then``.

        Raises:
            asyncssh.Error, OSError: it could not be asked. ``then`` is not told.

        """
        self._end = end
        self._opening = then
        ask = (kind, _NUMBER_AND_WINDOW.pack(self._number, self._in.left, LARGEST_DATA), *args)
        try:
            self._conn.send_packet(packets.MSG_OPEN, *ask)
        except BaseException:  # told by this, and by nothing that comes later
            self._end = self._opening = None
            self._forget()
            raise

    def process_open_confirmation(self, peer: int, window: int, largest: int, packet: Any) -> None:
        """The server has opened it, which `Wire` has not taken."""
        packet.check_end()  # where this raises, the end of the connection is what is told
        if not self.confirmed(peer, window, largest):
            raise asyncssh.ProtocolError(_NOT_ASKED if self._opening is None else packets.TOO_SMALL)

    def confirmed(self, peer: int, window: int, largest: int) -> bool:
        """The server has opened it."""
        opening = self._opening
        if opening is None or largest < packets.SMALLEST_DATA:
            return False
        self._opening = None
        self._opened(peer, window, largest)
        assert self._end is not None
        self._end.connection_made(self)
        opening(None)
        return True

    def process_open_failure(self, code: int, reason: str, lang: str) -> None:
        """The server refuses."""
        opening, self._opening = self._opening, None
        if opening is None:
            raise asyncssh.ProtocolError(_NOT_ASKED)
        self._forget()
        self._end = None
        opening(asyncssh.ChannelOpenError(code, reason, lang))

    async def accept(
        self, send_chan: int, send_window: int, send_pktsize: int, find: Callable[[], Awaitable[ChannelEnd]]
    ) -> None:
        """Answer the server, which wants to open one, when ``find`` says who takes it."""
        try:
            if send_pktsize < packets.SMALLEST_DATA:
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, packets.TOO_SMALL)
            found = await find()
        except asyncssh.ChannelOpenError as refusal:
            self._forget()
            if self._alive:
                self._conn.send_channel_open_failure(send_chan, refusal.code, refusal.reason, refusal.lang)
            return
        if not self._alive:
            found.connection_lost(asyncssh.ConnectionLost(_GONE))
            return
        self._end = found
        self._conn.send_channel_open_confirmation(send_chan, self._number, self._in.left, LARGEST_DATA)
        self._opened(send_chan, send_window, send_pktsize)
        found.connection_made(self)

    def _opened(self, peer: int, window: int, largest: int) -> None:
        self._peer, self._out, self._largest = peer, window, min(largest, LARGEST_DATA)

    @property
    def _alive(self) -> bool:
        return not self._close_got and self._conn._transport is not None  # noqa: SLF001

    # --- from the end -----------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes, or keep them until they can be sent. Raises BrokenPipeError where nobody takes them."""
        if self._close_sent or self._close_wanted or self._eof_wanted or self._peer < 0:
            raise BrokenPipeError("the channel takes no more")
        sent, wire, out = 0, self._wire, self._out
        view = data if isinstance(data, memoryview) else memoryview(data)
        if out and not self._pending and not wire.blocked:
            sent = len(view)
            if sent <= out:
                self._out = out - sent
                wire.send_data(self._peer, view, self._largest)
                return
            sent = out
            self._out = 0
            wire.send_data(self._peer, view[:sent], self._largest)
        if self._pending is None:
            self._pending = bytearray()
        self._pending += view[sent:]
        if self._out:
            wire.wait(self)
        if not self._write_paused:
            self._write_paused = True
            assert self._end is not None
            self._end.pause_writing()

    def pump(self, quantum: int) -> None:
        """It is our turn: send at most so many bytes of what is pending, and go to the end of the queue."""
        if self._close_sent:
            return
        pending = self._pending
        if pending:
            sent = min(len(pending), self._out, quantum)
            if sent:
                self._out -= sent
                with memoryview(pending) as whole, whole[:sent] as view:
                    self._wire.send_data(self._peer, view, self._largest)
                del pending[:sent]
            if pending:
                if self._out:
                    self._wire.wait(self)
                return
            self._pending = None
        if self._write_paused:
            self._write_paused = False
            assert self._end is not None
            self._end.resume_writing()
        self._finish_sending()

    def _finish_sending(self) -> None:
        """Nothing is pending: send what comes after the data."""
        if self._pending or self._close_sent:
            return
        if self._eof_wanted and not self._eof_sent:
            self._eof_sent = True
            self._conn.send_packet(packets.MSG_EOF, self._peer.to_bytes(4, "big"))
        if self._close_wanted:
            self._send_close()

    def write_eof(self) -> None:
        """No more bytes from here, after what is pending."""
        if not self._eof_wanted and self._peer >= 0:
            self._eof_wanted = True
            self._finish_sending()

    def close(self) -> None:
        """End the channel after what is pending. Nothing more is told but its end."""
        self._close_wanted = True
        self._kept = None
        self._paused = False
        if self._close_got:
            self._gone(None)
        if self._peer >= 0:
            self._finish_sending()

    def abort(self) -> None:
        """End the channel now."""
        self._pending = None
        self.close()

    @property
    def kept(self) -> int:
        """Bytes that wait for `resume_reading`."""
        return 0 if self._kept is None else len(self._kept)

    @property
    def ended(self) -> bool:
        """Whether the far end has sent its last byte."""
        return self._eof_got or self._close_got

    def _send_close(self) -> None:
        self._close_sent = True
        self._pending = None
        self._conn.send_packet(packets.MSG_CLOSE, self._peer.to_bytes(4, "big"))
        if self._close_got:
            self._tell()

    def pause_reading(self) -> None:
        """Tell the end nothing more, until `resume_reading`."""
        self._paused = True

    def resume_reading(self) -> None:
        """Tell the end what was kept, before this returns, until it pauses again."""
        self._paused = False
        self._tell()

    # --- from the far end -------------------------------------------------------------------------

    def data(self, data: bytes | memoryview) -> bool:
        """Bytes have come. They are ours only until this returns."""
        size = len(data)
        window = self._in
        if size > window.left or self._eof_got or self._close_got or self._peer < 0:
            return False
        window.left -= size
        if self._close_wanted:  # nobody reads any more
            return True
        if self._paused or self._kept:
            if self._kept is None:
                self._kept = Kept()
            self._kept.add(data)
        else:
            assert self._end is not None
            self._end.data_received(data, None)
            if window.left <= window.size // 2:
                self._grant()
        return True

    def _grant(self) -> None:
        if self._paused:  # not before the end has taken what it was given
            return
        more = self._in.grant()
        if more and not self._close_sent and not self._eof_got and not self._close_got:
            self._conn.send_packet(packets.MSG_WINDOW_ADJUST, _PAIR.pack(self._peer, more))

    def _tell(self) -> None:
        """Tell the end what was kept, and then what came after it."""
        if self._telling:
            return
        self._telling = True
        while self._kept and not self._paused:
            piece = self._kept.take()
            if not self._kept:
                self._kept = None
            assert self._end is not None
            self._end.data_received(piece, None)
        self._telling = False
        if self._kept or self._paused or self._peer < 0:
            return
        if self._eof_got and not self._eof_told and not self._close_wanted:
            self._eof_told = True
            assert self._end is not None
            self._end.eof_received()
        if self._close_got and self._close_sent:
            self._gone(None)
        elif not self._eof_got:
            self._grant()

    def window_adjusted(self, more: int) -> bool:
        """The far end takes more."""
        if self._out + more > packets.LARGEST_WINDOW or self._peer < 0:
            return False
        self._out += more
        if self._pending and not self.queued:
            if self._wire.blocked:
                self._wire.wait(self)
            else:
                self.pump(self._out)  # nobody else waits
        return True

    def eof_came(self) -> bool:
        """The far end has sent its last byte."""
        if self._eof_got or self._close_got or self._peer < 0:
            return False
        self._eof_got = True
        self._tell()
        return True

    def close_came(self) -> bool:
        """The far end has closed its side, and expects the same of us (RFC 4254 section 5.3)."""
        if self._close_got or self._peer < 0:
            return False
        self._close_got = True
        (self._tell if self._close_sent else self._send_close)()
        return True

    def request_came(self, *, wants_answer: bool) -> None:
        """The far end asks for something, and we have nothing to give."""
        if wants_answer and not self._close_sent:
            self._conn.send_packet(packets.MSG_FAILURE, self._peer.to_bytes(4, "big"))

    def _gone(self, exc: Exception | None) -> None:
        """Both sides have closed it, or the connection has ended."""
        end, self._end = self._end, None
        self._forget()
        if end is not None:
            end.connection_lost(exc)

    def _forget(self) -> None:
        if self._number >= 0:
            number, self._number = self._number, -1
            self._conn.remove_channel(number)
            self._in.close()

    # --- what asyncssh calls ----------------------------------------------------------------------

    def log_received_packet(self, *_: object) -> None:
        """Nothing to log."""

    def process_packet(self, pkttype: int, pktid: int, packet: Any) -> bool:
        """A packet that `Wire` did not handle. Raises asyncssh.ProtocolError, which ends the connection."""
        if self._peer < 0:
            raise asyncssh.ProtocolError("Channel not open")
        if not self._close_got:  # otherwise it comes late (`late_packets`)
            packets.hand_over(pkttype, packet, self)
        return True

    def process_connection_close(self, exc: Exception | None) -> None:
        """The connection has ended."""
        opening, self._opening = self._opening, None
        self._close_sent = self._close_got = True
        self._pending = None
        self._kept = None
        if opening is not None:
            self._end = None
        self._gone(exc)
        if opening is not None:
            opening(asyncssh.ConnectionLost(_GONE))
