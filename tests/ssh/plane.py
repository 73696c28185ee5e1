"""Connections whose both sides are in this process: our wire on the one, and asyncssh on the other."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self, cast

import asyncssh

from tests.forwarding.fakes import KIB, MIB, RecordingEnd, until
from tunnels.core.address import TcpAddress
from tunnels.forwarding.channel import Channel
from tunnels.ssh.channel import ForwardChannel
from tunnels.ssh.channel_open import direct
from tunnels.ssh.late_packets import tolerate_late_packets
from tunnels.ssh.wire import Wire

LOOPBACK = "127.0.0.1"

GCM = "aes128-gcm@openssh.com"


@functools.cache
def _host_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


async def _echo(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
    while data := await reader.read(64 * KIB):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _pump(reader: Any, writer: Any) -> None:
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await reader.read(64 * KIB):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, asyncssh.Error):
        writer.close()


def _relay(port: int) -> Any:
    """Connect to a port, and hand everything on. asyncssh's own forwarding does not on uvloop."""

    async def relay(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
        far_reader, far_writer = await asyncio.open_connection(LOOPBACK, port)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        await far_writer.wait_closed()

    return relay


class Held(asyncssh.SSHTCPSession[bytes]):
    """The server's side of a channel, for a test to speak through."""

    def __init__(self) -> None:
        self.chan: Any = None
        self.data = bytearray()
        self.ended = False
        self.arrived: Callable[[int], None] = lambda _: None

    def connection_made(self, chan: Any) -> None:
        self.chan = chan

    def data_received(self, data: bytes, datatype: Any) -> None:
        self.data += data
        self.arrived(len(data))

    def eof_received(self) -> bool:
        self.ended = True
        return True


class Server(asyncssh.SSHServer):
    """Lets everybody in; it has an echo, and channels that it holds for the test."""

    def __init__(self) -> None:
        self.conn: Any = None
        self.held: list[Held] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.conn = conn

    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(self, dest_host: str, dest_port: int, *_: Any) -> Any:
        if dest_host == "echo":
            return _echo
        if dest_host == "held":
            self.held.append(Held())
            return self.held[-1]
        return _relay(dest_port)

    def server_requested(self, *_: Any) -> bool:
        return True


class Talker(RecordingEnd):
    """Says something long, as fast as it may, then an end of file; and hears."""

    def __init__(self, speech: bytes, piece: int = 100_000) -> None:
        super().__init__()
        self._speech = memoryview(speech)
        self._piece = piece
        self._waits = False
        self._said_all = False

    def connection_made(self, chan: Channel, /) -> None:
        super().connection_made(chan)
        self._go_on()

    def pause_writing(self) -> None:
        self._waits = True

    def resume_writing(self) -> None:
        self._waits = False
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self.channel is None or self._waits or "lost" in self.told or self._said_all:
            return
        piece, self._speech = self._speech[: self._piece], self._speech[self._piece :]
        if piece:
            self.channel.write(piece)
            asyncio.get_running_loop().call_soon(self._go_on)
        else:
            self._said_all = True
            self.channel.write_eof()


class Plane:
    """One connection."""

    def __init__(
        self, conn: asyncssh.SSHClientConnection, server: Server, lost: list[Exception | None]
    ) -> None:
        self.conn: Any = conn
        self.server = server
        self.lost = lost
        self.wire = cast("Wire", None)

    def install(self) -> Wire:
        """Have our own wire carry the data."""
        self.wire = Wire(self.conn)
        tolerate_late_packets(self.conn)
        return self.wire

    async def open(self, end: RecordingEnd, name: str = "echo") -> ForwardChannel:
        """Open a channel to an echo, or to what the test holds."""
        channel = ForwardChannel(self.conn, self.wire, lambda: None)
        answer: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        channel.open(end, answer.set_result, *direct(TcpAddress(name, 7), (LOOPBACK, 4711)))
        if (error := await answer) is not None:
            raise error
        return channel

    async def hold(self, end: RecordingEnd) -> tuple[ForwardChannel, Held]:
        """Open a channel whose other end the test holds."""
        channel = await self.open(end, "held")
        return channel, self.server.held[-1]

    async def gone(self) -> Exception | None:
        """Wait for the end of the connection; return why it ended."""
        await until(lambda: self.lost)
        await self.conn.wait_closed()
        return self.lost[0]


@asynccontextmanager
async def listening(**options: Any) -> AsyncIterator[tuple[int, list[Server]]]:
    """A server on loopback, and its sides of the connections."""
    servers: list[Server] = []

    def factory() -> Server:
        servers.append(Server())
        return servers[-1]

    options = {"encryption_algs": [GCM], **options}
    async with asyncssh.listen(
        LOOPBACK, 0, server_factory=factory, server_host_keys=[_host_key()], **options
    ) as listener:
        yield listener.get_port(), servers
        for server in servers:
            server.conn.abort()
            await server.conn.wait_closed()


@asynccontextmanager
async def connected(
    *, wire: bool = True, client: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Plane]:
    """Connect; ``options`` are for the server, and ``client`` for the client."""
    lost: list[Exception | None] = []

    class Client(asyncssh.SSHClient):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(exc)

    algorithms = {name: options[name] for name in ("encryption_algs", "compression_algs") if name in options}
    async with (
        listening(**options) as (port, servers),
        asyncssh.connect(
            LOOPBACK,
            port,
            known_hosts=None,
            config=None,
            username="me",
            client_keys=None,
            client_factory=Client,
            **cast("dict[str, Any]", {"encryption_algs": [GCM], **algorithms, **(client or {})}),
        ) as conn,
    ):
        plane = Plane(conn, servers[0], lost)
        if wire:
            plane.install()
        yield plane


class Captured:
    """In the place of the server's transport: what the server sends is taken down, not sent."""

    def __init__(self, server: Server) -> None:
        self._conn = server.conn
        self._real = self._conn._transport
        self.data = bytearray()

    def __enter__(self) -> Self:
        self._conn._transport = self
        return self

    def __exit__(self, *_: object) -> None:
        self._conn._transport = self._real

    def write(self, data: bytes) -> None:
        self.data += data

    def take(self) -> bytes:
        """What the server has sent since the last time."""
        data, self.data = bytes(self.data), bytearray()
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def feed(wire: Wire, data: bytes) -> None:
    """Have bytes come from the socket, in one read."""
    while data:
        buffer = wire.get_buffer(-1)
        piece = data[: len(buffer)]
        buffer[: len(piece)] = piece
        wire.buffer_updated(len(piece))
        data = data[len(piece) :]


__all__ = [
    "GCM",
    "KIB",
    "LOOPBACK",
    "MIB",
    "Captured",
    "Held",
    "Plane",
    "Server",
    "Talker",
    "connected",
    "feed",
    "listening",
]
