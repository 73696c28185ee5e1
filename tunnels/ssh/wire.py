"""The packets of one SSH connection on their way between its socket and its channels, with nothing in between.

asyncssh makes the connection, logs in, and stays what knows SSH: key exchanges, global requests, opening
channels. What this takes from it, once the login is done, are the packets that carry data: all of them on
the hot path. They are read into a buffer that all connections share, opened into a second one, handed to
their channel as a view, and written to the client's socket from there; and the same way back. A small
packet is not worth the views, and becomes an object of its own. Every other packet goes to asyncssh as it
came. While keys are exchanged, and with a cipher that is not AES-GCM, all do.

How asyncssh and this share a connection
    asyncssh's counts of packets and nonces are the only ones. What is sealed or opened here begins with them
    and ends with them (`gcm`), before anybody else is called who could seal or open. asyncssh is given whole
    packets, so that it never keeps the beginning of one; where it does all the same (it had read on before
    this began, or had to wait for a key exchange), it is given exactly what is missing.
Back-pressure
    The socket takes what it takes; the first byte that it does not take makes the connection `blocked`. Then
    channels keep what they have (one read of their client's socket) and wait, first come first served. When
    there is room again, each sends `QUANTUM` bytes in turn: a bulk upload starves nobody.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Any, cast

import asyncssh
from cryptography.exceptions import InvalidTag

from tunnels.ssh.buffers import LARGEST_DEFERRED, LARGEST_PACKET, WRITE, buffers
from tunnels.ssh.carrier import Carrier
from tunnels.ssh.channel_packets import MSG_CLOSE, MSG_DATA, MSG_EOF, MSG_WINDOW_ADJUST, carry
from tunnels.ssh.gcm import OVERHEAD, TAG, Opener, Sealer, can_borrow, padding
from tunnels.ssh.outlet import Outlet
from tunnels.turns import let_others

if TYPE_CHECKING:
    from tunnels.ssh.channel import ForwardChannel

#: Message numbers (RFC 4253 section 12, RFC 4254 section 9).
MSG_IGNORE = 2
MSG_KEX_LAST = 49

#: What nobody waits for; see `Outlet.cork`.
_PATIENT = frozenset({MSG_EOF, MSG_CLOSE})

#: Bytes that one channel sends before it is the turn of the next one.
QUANTUM = 64 * 1024

#: Bytes of data in one packet of ours, whatever the server says that it takes.
_LARGEST_DATA = LARGEST_PACKET - OVERHEAD - 16

#: Bytes up to which a packet is opened and sealed as objects of its own: cheaper than three views into a buffer.
_SMALL = 1024

#: Bytes of the smallest packet: length, one block, tag.
_SMALLEST = 4 + 16 + TAG

_LENGTH = struct.Struct(">I")
_DATA_HEADER = struct.Struct(">BBII")  # padding length, message, channel, bytes
_SMALL_HEADER = struct.Struct(">BII")  # the same without the first
_BYTES = tuple(bytes((number,)) for number in range(256))
_WRAP = 0xFFFFFFFF


class Wire(asyncio.BufferedProtocol):
    """What a connection's socket calls back, and what its channels write to."""

    def __init__(self, conn: asyncssh.SSHClientConnection) -> None:
        private: Any = conn
        self._conn = private
        self._loop = asyncio.get_running_loop()
        self._transport: Any = private._transport  # noqa: SLF001
        self._incoming, self._opened = buffers.incoming, buffers.opened
        self._plain, self._sealed = buffers.plain, buffers.sealed
        self._noise = buffers.noise
        self._rest = b""  # the beginning of a packet
        self._sealer: Sealer | None = None
        self._sealing: object = None  # asyncssh's encryption that the sealer belongs to
        self._opener: Opener | None = None
        self._opening: object = None
        self._between = False  # asyncssh is between two packets, with the keys of `_opener`
        self._waiting: list[ForwardChannel] = []  # a deque takes 760 bytes
        self._heard_at = self._loop.time()
        inside = isinstance(self._transport, asyncssh.SSHTCPChannel | Carrier)
        file = -1 if inside else self._transport.get_extra_info("socket").fileno()
        self._outlet = Outlet(conn, file, self._give_up)
        self._send_packet = conn.send_packet
        self._send_deferred = private._send_deferred_packets  # noqa: SLF001
        self._ask_for_life = private._keepalive_timer_callback  # noqa: SLF001
        self._install()

    def __repr__(self) -> str:
        return f"<Wire: {len(self._waiting)} channels wait, {'blocked' if self.blocked else 'free'}>"

    def _install(self) -> None:
        conn, transport = self._conn, self._transport
        conn.send_packet = self.send_packet
        conn._send_deferred_packets = self._exchanged  # noqa: SLF001
        conn._keepalive_timer_callback = self._look_for_life  # noqa: SLF001
        conn.pause_writing = self.pause_writing
        conn.resume_writing = self.resume_writing
        transport.set_write_buffer_limits(high=0, low=0)
        if self._outlet.file < 0:  # a connection inside another one
            conn.data_received = self._data_received
        elif self._find_opener() is not None:
            transport.set_protocol(self)

    # --- keys -------------------------------------------------------------------------------------

    def _find_sealer(self) -> Sealer | None:
        encryption = self._conn._send_encryption  # noqa: SLF001
        if encryption is not self._sealing:
            plain = self._conn._compressor is None  # noqa: SLF001
            self._sealer = Sealer(encryption) if plain and can_borrow(encryption) else None
            self._sealing = encryption
        return self._sealer

    def _find_opener(self) -> Opener | None:
        encryption = self._conn._recv_encryption  # noqa: SLF001
        if encryption is not self._opening:
            plain = self._conn._decompressor is None  # noqa: SLF001
            self._opener = Opener(encryption) if plain and can_borrow(encryption) else None
            self._opening = encryption
        return self._opener

    # --- reading ----------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> Any:
        """Where to read to. Both event loops read, and say so, before anything else happens."""
        rest = self._rest
        if not rest:
            return self._incoming
        self._incoming[: len(rest)] = rest
        return self._incoming[len(rest) :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come."""
        incoming, size = self._incoming, len(self._rest) + nbytes
        done = self._read(incoming, size)
        self._rest = b"" if done >= size else bytes(incoming[done:size])
        if size >= len(incoming):
            let_others(self._transport)

    def _data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Bytes have come through another connection."""
        if self._rest:
            data = self._rest + data
        done = self._read(memoryview(data), len(data))
        self._rest = data[done:]

    def _read(self, data: memoryview, size: int) -> int:
        """Handle the whole packets in ``data[:size]``; return how many bytes they are."""
        self._heard_at = self._loop.time()
        conn, at = self._conn, 0
        if conn._transport is None:  # noqa: SLF001 - it has ended; a close that comes now is no end of a channel
            return size
        opener = self._opener if self._between else self._look_between()
        while True:
            if opener is None:
                at += self._pass_on_missing(data[at:size])
            else:
                at = self._carry(opener, data, at, size)
                if size - at < _SMALLEST:
                    break
                (count,) = _LENGTH.unpack_from(data, at)
                end = at + 4 + count + TAG
                if not 16 <= count <= LARGEST_PACKET:
                    end = size  # asyncssh will say what is wrong with it
                elif end > size:
                    break
                self._pass_on(data[at:end])
                at = end
            if conn._transport is None:  # noqa: SLF001 - it has ended meanwhile
                return size
            if at >= size:
                break
            opener = self._opener if self._between else self._look_between()
        return at

    def _carry(self, opener: Opener, data: memoryview, at: int, size: int) -> int:
        """Hand packets to their channels, up to the first one that is for asyncssh; return where that begins."""
        conn, buffer, small, large = self._conn, self._opened, opener.small, opener.open
        channels: Any = conn._channels  # noqa: SLF001
        opened: bytes | memoryview
        while size - at >= _SMALLEST:
            (count,) = _LENGTH.unpack_from(data, at)
            end = at + 4 + count + TAG
            if end > size or not 16 <= count <= LARGEST_PACKET:
                break
            try:
                if count <= _SMALL:
                    opened = small(data, at, end)
                else:
                    large(data, at, end, buffer)
                    opened = buffer
            except InvalidTag:  # which asyncssh finds too, and ends the connection
                break
            pad, message, number, amount = _DATA_HEADER.unpack_from(opened)
            channel = channels.get(number)
            # none, one of asyncssh's own, or no packet of a channel
            if not getattr(channel, "carries", False):
                break
            if message == MSG_DATA:
                taken = 10 + amount + pad == count and channel.data(opened[10 : 10 + amount])
            elif message == MSG_WINDOW_ADJUST:
                taken = 10 + pad == count and channel.window_adjusted(amount)
            else:
                taken = 6 + pad <= count and carry(message, opened[6 : count - pad], channel)
            if not taken:  # asyncssh asks the channel again, which says where it is against the protocol
                break
            opener.count()
            conn._recv_seq = (conn._recv_seq + 1) & _WRAP  # noqa: SLF001
            at = end
        return at

    def _look_between(self) -> Opener | None:
        """See whether asyncssh is between two packets and not busy; only then the next one can be read here."""
        conn = self._conn
        opener = self._find_opener()
        if (
            opener is not None
            and not conn._inpbuf  # noqa: SLF001
            and conn._recv_handler == conn._recv_pkthdr  # noqa: SLF001
        ):
            self._between = True
            return opener
        return None

    def _pass_on(self, data: memoryview) -> None:
        """Let asyncssh handle bytes; it may be in the middle of something afterwards, or have other keys."""
        self._between = False
        self._conn.__class__.data_received(self._conn, bytes(data))

    def _pass_on_missing(self, data: memoryview) -> int:
        """Give asyncssh what it lacks for the packet it is in, or everything; return how much that was."""
        conn = self._conn
        count = len(data)
        if self._opener is not None:
            kept = len(conn._inpbuf)  # noqa: SLF001
            if conn._recv_handler == conn._recv_packet:  # noqa: SLF001 - it has taken the first block
                needs = 4 + conn._pktlen + conn._recv_macsize - conn._recv_blocksize  # noqa: SLF001
                count = min(count, max(needs - kept, 1))
            elif conn._recv_handler == conn._recv_pkthdr:  # noqa: SLF001
                count = min(count, max(conn._recv_blocksize - kept, 1))  # noqa: SLF001
        self._pass_on(data[:count])
        return count

    def eof_received(self) -> bool | None:
        """The server has closed its side."""
        return cast("bool | None", self._conn.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone, and its descriptor will be another one's."""
        self._outlet.file = -1
        self._conn.connection_lost(exc)

    # --- writing ----------------------------------------------------------------------------------

    @property
    def blocked(self) -> bool:
        """Whether channels have to wait before they send more."""
        return self._outlet.full or not self._conn._kex_complete  # noqa: SLF001

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """Send a packet; what asyncssh and the channels call."""
        conn = self._conn
        if pkttype == MSG_IGNORE and args == (b"\0\0\0\0",):
            # asyncssh sends one before each packet, against an attack on CBC ciphers (CVE-2008-5161).
            if b"-cbc" not in conn._enc_alg_cs:  # noqa: SLF001
                return
        elif pkttype > MSG_KEX_LAST and conn._kex_complete and not self._rekey_due():  # noqa: SLF001
            sealer = self._sealer if conn._send_encryption is self._sealing else self._find_sealer()  # noqa: SLF001
            payload = b"".join(args)
            if sealer is not None and len(payload) < LARGEST_PACKET - OVERHEAD:
                sealed = self._seal(sealer, bytes((pkttype,)), payload)
                outlet = self._outlet
                (outlet.cork if pkttype in _PATIENT else outlet.write)(sealed)
                return
        self._outlet.flush()
        self._send_packet(pkttype, *args, handler=handler)
        if len(conn._deferred_packets) > LARGEST_DEFERRED:  # noqa: SLF001
            self._give_up("Server does not finish the key exchange")

    def _seal(self, sealer: Sealer, header: bytes, rest: bytes | memoryview) -> bytes:
        """Seal one packet, and count it."""
        pad = padding(len(header) + len(rest))
        conn, plain = self._conn, b"".join((_BYTES[pad], header, rest, self._noise.take(pad)))
        sealed = sealer.small(plain)
        conn._send_seq = (conn._send_seq + 1) & _WRAP  # noqa: SLF001
        conn._rekey_bytes_sent += len(plain)  # noqa: SLF001
        return sealed

    def send_data(self, channel: int, data: memoryview, largest: int) -> None:
        """Send the data of a channel in packets of at most ``largest`` bytes. Not while this is `blocked`."""
        conn = self._conn
        sealer = self._sealer if conn._send_encryption is self._sealing else self._find_sealer()  # noqa: SLF001
        if sealer is None or self._rekey_due():
            self._send_data_slowly(channel, data, largest)
            return
        size = len(data)
        if 0 < size <= _SMALL and size <= largest:
            self._outlet.write(self._seal(sealer, _SMALL_HEADER.pack(MSG_DATA, channel, size), data))
            return
        plain, sealed = self._plain, self._sealed
        at, packets, carried, written = 0, 0, 0, 0
        largest = min(largest, _LARGEST_DATA)
        while at < size:
            end = min(at + largest, size)
            count = end - at
            if written and written + count + 9 + OVERHEAD > WRITE:
                self._outlet.write(sealed[:written])
                written = 0
            pad = -(10 + count) & 15  # as `padding` does
            if pad < 4:
                pad += 16
            total = 10 + count + pad
            _DATA_HEADER.pack_into(plain, 0, pad, MSG_DATA, channel, count)
            plain[10 : 10 + count] = data[at:end]
            plain[10 + count : total] = self._noise.take(pad)
            written = sealer.seal(plain, total, sealed, written)
            packets += 1
            carried += total
            at = end
        conn._send_seq = (conn._send_seq + packets) & _WRAP  # noqa: SLF001
        conn._rekey_bytes_sent += carried  # noqa: SLF001
        self._outlet.write(sealed[:written])

    def _send_data_slowly(self, channel: int, data: memoryview, largest: int) -> None:
        for at in range(0, len(data), largest):
            piece = data[at : at + largest]
            header = channel.to_bytes(4, "big") + len(piece).to_bytes(4, "big")
            self.send_packet(MSG_DATA, header, bytes(piece))

    def _rekey_due(self) -> bool:
        conn = self._conn
        if conn._rekey_bytes_sent >= conn._rekey_bytes:  # noqa: SLF001
            return True
        return bool(conn._rekey_seconds and time.monotonic() >= conn._rekey_time)  # noqa: SLF001

    def _give_up(self, reason: str) -> None:
        """End a connection whose server has us keep more and more."""
        if self._conn._transport is not None:  # noqa: SLF001
            self._conn.connection_lost(asyncssh.ProtocolError(reason))

    # --- waiting ----------------------------------------------------------------------------------

    def wait(self, channel: ForwardChannel) -> None:
        """Have a channel called when it is its turn to send."""
        if not channel.queued:
            channel.queued = True
            self._waiting.append(channel)
            if not self.blocked:
                self._loop.call_soon(self._go_on)

    def pause_writing(self) -> None:
        """The socket takes no more."""
        self._outlet.pause()

    def resume_writing(self) -> None:
        """The socket has taken everything."""
        self._outlet.resume()
        self._go_on()

    def _exchanged(self) -> None:
        """A key exchange is done; first goes what asyncssh has kept meanwhile."""
        self._send_deferred()
        self._go_on()

    def _go_on(self) -> None:
        """Let channels send, each in its turn, until the socket is full."""
        waiting = self._waiting
        while waiting and not self.blocked:
            channel = waiting.pop(0)
            channel.queued = False
            channel.pump(QUANTUM)

    # --- keepalives -------------------------------------------------------------------------------

    def _look_for_life(self) -> None:
        """Ask the server for an answer; or, where something has come meanwhile, wait that much longer."""
        conn = self._conn
        interval = conn._keepalive_interval  # noqa: SLF001
        silent = self._loop.time() - self._heard_at
        if silent < interval:
            again = conn._keepalive_timer_callback  # noqa: SLF001
            conn._keepalive_timer = self._loop.call_later(interval - silent, again)  # noqa: SLF001
        else:
            self._ask_for_life()
