"""A channel and a connection that are none, and real sockets on loopback to couple them to.

`FakeChannel` keeps and delivers as asyncssh's does; ``test_channel`` puts both to the same questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Self

import pytest
import uvloop

from tests.e2e.bed.ports import LOOPBACK
from tunnels.core.address import Address, TcpAddress
from tunnels.errors import DialError
from tunnels.forwarding.channel import Acceptor, Channel, ChannelEnd, Link, LinkLost, Origin, Outcome
from tunnels.forwarding.relay import Counters, SocketEnd

KIB = 1024
MIB = 1024 * KIB

ONE_READ = 256 * KIB
"""What asyncio and uvloop take from a socket at most before they call back."""

PATIENCE = 5.0
"""Seconds after which what has not happened will not happen."""


@pytest.fixture(params=["asyncio", "uvloop"])
def every_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run an async test twice: on asyncio's own loop, and on the one that the daemon uses."""
    if request.param == "uvloop":
        monkeypatch.setattr(asyncio.events, "new_event_loop", uvloop.new_event_loop)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


async def turns(count: int = 10) -> None:
    """Let the loop turn often enough for anything that was about to happen."""
    for _ in range(count):
        await asyncio.sleep(0)


# --- sockets --------------------------------------------------------------------------------------


class Peer:
    """The program at the other side of a socket of ours."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock

    async def send(self, data: bytes) -> None:
        """Send everything."""
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    def send_what_fits(self, data: bytes, limit: int = 64 * MIB) -> int:
        """Send the same again and again until nobody takes more; return how much went out."""
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < limit:
                sent += self.sock.send(data)
        return sent

    async def receive(self, count: int) -> bytes:
        """Receive exactly that much."""
        received = bytearray()
        while len(received) < count:
            piece = await asyncio.get_running_loop().sock_recv(self.sock, count - len(received))
            assert piece, f"ended after {len(received)} of {count} bytes"
            received += piece
        return bytes(received)

    async def rest(self) -> bytes:
        """Receive until the end of file; raises ConnectionResetError where it is a reset instead."""
        received = bytearray()
        while piece := await asyncio.get_running_loop().sock_recv(self.sock, ONE_READ):
            received += piece
        return bytes(received)

    def end(self) -> None:
        """Send an end of file, and go on reading."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        """Go away."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def tcp_pair(*, narrow: bool = False) -> tuple[socket.socket, socket.socket]:
    """Both ends of a TCP connection on loopback; in a ``narrow`` one the kernel keeps next to nothing."""
    with socket.create_server((LOOPBACK, 0)) as server:
        near = socket.socket()
        if narrow:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
        near.connect(server.getsockname())
        far, _ = server.accept()
        if narrow:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * KIB)
    far.setblocking(False)
    return near, far


def connect(port: int, host: str = LOOPBACK) -> Peer:
    """Connect to a listener. The kernel does it: the loop that listens need not turn for it."""
    return Peer(socket.create_connection((host, port)))


def connect_unix(path: str) -> Peer:
    """Connect to a listening unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return Peer(sock)


@contextmanager
def destination() -> Iterator[tuple[TcpAddress, Callable[[], Awaitable[Peer]]]]:
    """A listening address, and what waits for a connection to it."""
    with socket.create_server((LOOPBACK, 0)) as server:
        server.setblocking(False)

        async def accept() -> Peer:
            return Peer((await asyncio.get_running_loop().sock_accept(server))[0])

        yield TcpAddress(LOOPBACK, server.getsockname()[1]), accept


@contextmanager
def black_hole(host: str = LOOPBACK) -> Iterator[int]:
    """A port where nobody answers: its queue is full, so that the kernel drops what comes."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as full, contextlib.ExitStack() as stack:
        full.bind((host, 0))
        full.listen(0)
        address = full.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket(family))
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address[1]


def socks5_request(address: TcpAddress) -> bytes:
    """The whole of what a client without a password says, in one piece (RFC 1928)."""
    assert address.host is not None
    host = socket.inet_aton(address.host)
    return b"\x05\x01\x00" + b"\x05\x01\x00\x01" + host + address.port.to_bytes(2, "big")


# --- what asyncssh would have ---------------------------------------------------------------------


class FakeChannel:
    """A channel that remembers what was asked of it, and through which a test speaks for the far end.

    What it delivers is a view that is overwritten afterwards, as it may be in reality.
    """

    def __init__(self, end: ChannelEnd) -> None:
        self.end = end
        self.written = bytearray()
        self.eofs_written = 0
        self.paused = False
        self.pauses = 0
        self.ended: str | None = None  #: ``close`` or ``abort``, whichever was called first
        self.breaks: OSError | None = None  #: what writing raises
        self._kept: list[bytes] = []
        self._eof_kept = False

    # what the relay calls

    def write(self, data: bytes | memoryview, /) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.written += data

    def write_eof(self) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.eofs_written += 1

    def pause_reading(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        self.paused = False
        while self._kept and not self.paused:
            self._tell(self._kept.pop(0))
        if self._eof_kept and not self._kept:
            self._eof_kept = False
            self.end.eof_received()

    def close(self) -> None:
        self.ended = self.ended or "close"

    def abort(self) -> None:
        self.ended = self.ended or "abort"

    # what the far end does

    def open(self) -> None:
        """Be open, as asyncssh says it."""
        self.end.connection_made(self)

    def deliver(self, data: bytes) -> None:
        """Bytes come from the far end."""
        if self.paused or self._kept:
            self._kept.append(data)
        else:
            self._tell(data)

    def _tell(self, data: bytes) -> None:
        shared = bytearray(data)
        self.end.data_received(memoryview(shared), None)
        shared[:] = bytes(len(shared))

    def deliver_eof(self) -> None:
        """The far end has sent its last byte."""
        if self._kept:
            self._eof_kept = True
        else:
            self.end.eof_received()

    def lose(self, error: Exception | None = None) -> None:
        """The channel is gone."""
        self.end.connection_lost(error)

    @property
    def kept(self) -> int:
        """How many bytes wait for `resume_reading`."""
        return sum(map(len, self._kept))


class RecordingEnd:
    """A `ChannelEnd` that writes down what it is told."""

    def __init__(self, *, breaks_at: str = "") -> None:
        self.on_closed: Callable[[], None] | None = None
        self.channel: Channel | None = None
        self.data = bytearray()
        self.told: list[str] = []
        self.error: Exception | None = None
        self._breaks_at = breaks_at

    def _hear(self, what: str) -> None:
        self.told.append(what)
        if what == self._breaks_at:
            raise RuntimeError(f"a bug in {what}")

    def connection_made(self, chan: Channel, /) -> None:
        self.channel = chan
        self._hear("made")

    def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
        self.data += data
        if "data" not in self.told:
            self._hear("data")

    def eof_received(self) -> bool:
        self._hear("eof")
        return True

    def pause_writing(self) -> None:
        self._hear("pause")

    def resume_writing(self) -> None:
        self._hear("resume")

    def connection_lost(self, exc: Exception | None, /) -> None:
        self.error = exc
        self._hear("lost")
        if self.on_closed is not None:
            self.on_closed()

    def link_lost(self) -> None:
        self._hear("link lost")

    def link_paused(self) -> None:
        self._hear("link paused")

    def link_resumed(self) -> None:
        self._hear("link resumed")


class FakeRemoteListener:
    """A port on the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.closed = False

    @property
    def port(self) -> int:
        return self._port

    async def aclose(self) -> None:
        self.closed = True


async def opened(link: Link, end: ChannelEnd, connect: Address, origin: Origin) -> None:
    """Open a channel, or raise what became of it."""
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def then(error: DialError | LinkLost | None) -> None:
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)

    link.open_channel(end, connect, origin, then)
    await answer


class FakeLink:
    """A connection that opens every channel and every port, unless it was told what to raise first."""

    def __init__(self, *, port: int = 0) -> None:
        self.requests: list[tuple[Address, Origin]] = []
        self.channels: list[FakeChannel] = []
        self.open_errors: list[Exception] = []  #: one for each channel, in order; then they open
        self.gate: asyncio.Event | None = None  #: opening a channel waits for it
        self.listened: list[Address] = []
        self.listen_errors: list[Exception] = []
        self.acceptor: Acceptor | None = None
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    def open_channel(self, end: ChannelEnd, connect: Address, origin: Origin, then: Outcome, /) -> None:
        if self.open_errors and not isinstance(self.open_errors[0], DialError | LinkLost):
            raise self.open_errors.pop(0)  # a bug
        task = asyncio.get_running_loop().create_task(self._answer(end, connect, origin, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, end: ChannelEnd, connect: Address, origin: Origin, then: Outcome) -> None:
        try:
            await self.opened(end, connect, origin)
        except (DialError, LinkLost) as error:
            then(error)
        else:
            then(None)

    async def opened(self, end: ChannelEnd, connect: Address, origin: Origin) -> None:
        """Open it, or raise what the server says."""
        self.requests.append((connect, origin))
        if self.gate is not None:
            await self.gate.wait()
        if self.open_errors:
            raise self.open_errors.pop(0)
        channel = FakeChannel(end)
        self.channels.append(channel)
        channel.open()

    async def listen(self, address: Address, acceptor: Acceptor) -> FakeRemoteListener:
        self.listened.append(address)
        if self.listen_errors:
            raise self.listen_errors.pop(0)
        self.acceptor = acceptor
        return FakeRemoteListener(self._port)

    async def channel(self, number: int = 0) -> FakeChannel:
        """Wait for the channel of a client: the first one, or the one of this number."""
        await until(lambda: len(self.channels) > number)
        return self.channels[number]


# --- a relay --------------------------------------------------------------------------------------


class Coupled:
    """A program, our end of its socket, and the channel that it is coupled to."""

    def __init__(self, peer: Peer, end: SocketEnd, counters: Counters) -> None:
        self.peer = peer
        self.end = end
        self.counters = counters
        self.channel = FakeChannel(end.far)

    @property
    def transport(self) -> asyncio.Transport:
        """Our side of the socket."""
        assert self.end.transport is not None
        return self.end.transport

    async def wrote(self, data: bytes) -> None:
        """Wait until the channel has got as many bytes, and see that it is these."""
        await until(lambda: len(self.channel.written) >= len(data))
        assert self.channel.written == data

    async def gone(self) -> None:
        """Wait until our side of the socket is closed."""
        await until(lambda: self.end.gone)


@asynccontextmanager
async def coupled(
    *,
    opened: bool = True,
    narrow: bool = False,
    on_made: Callable[[SocketEnd], None] | None = None,
    on_lost: Callable[[SocketEnd], None] | None = None,
) -> AsyncIterator[Coupled]:
    """Couple a real socket to a fake channel; ``opened=False`` leaves opening it to the test."""
    near, far = tcp_pair(narrow=narrow)
    counters = Counters()
    end = SocketEnd(counters, on_made=on_made, on_lost=on_lost)
    with Peer(near) as peer:
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: end, far)
        both = Coupled(peer, end, counters)
        if opened:
            both.channel.open()
        try:
            yield both
        finally:
            peer.close()
            if not transport.is_closing():
                transport.abort()
            await both.gone()
