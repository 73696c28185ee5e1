"""Where the time of a packet goes, without a network: two ends of a connection that hand each other bytes.

A connection of asyncssh logs in over a pair of sockets; then its sockets are exchanged for a `Wireless`, which
keeps what is written. A variant of the client's end (`VARIANTS`) gets a channel, and is timed while it makes
packets of a client's bytes, or takes packets apart that the server has made. Windows are adjusted as in real
life, ciphers are real, and what the kernel would cost is left out; `PARTS` is what a packet is made of.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.contestants import GCM
from bench.table import Figure
from tunnels.core.address import TcpAddress
from tunnels.ssh.connection import SshConnection

CHACHA = "chacha20-poly1305@openssh.com"
LARGE, SMALL = 32 * 1024, 64
READ = 256 * 1024
"""Bytes that both event loops, and our relay, read at once."""

SERVER_WINDOW = 1 << 30
MSG_IGNORE = 2  # RFC 4253 section 11.2


class Wireless(asyncio.Transport):
    """The transport of one end: keeps what is written, or hands it to the other end at once."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.protocol = protocol  #: who reads from it
        self.peer: Wireless | None = None  #: who is told at once
        self.kept: list[bytes] | None = []
        # Who writes past its transport is refused, and falls back on the transport, as with a full socket.
        self._nowhere = os.open(os.devnull, os.O_RDONLY)

    def write(self, data: Any) -> None:
        """Take bytes."""
        if self.peer is not None:
            asyncio.get_running_loop().call_soon(self.peer.arrived, bytes(data))
        elif self.kept is not None:
            self.kept.append(bytes(data))

    def discard(self) -> None:
        """Take everything from now on and keep nothing, as a socket that is never full."""
        self.peer = self.kept = None
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._nowhere)

    def arrived(self, data: bytes) -> None:
        """Bytes from the other end, read as an event loop reads them."""
        protocol = self.protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            at = 0
            while at < len(data):
                buffer: Any = protocol.get_buffer(-1)
                count = min(len(buffer), len(data) - at)
                buffer[:count] = data[at : at + count]
                protocol.buffer_updated(count)
                at += count
        else:
            protocol.data_received(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """There is no socket, but something that has as much of one as is asked for."""
        return self if name == "socket" else default

    def fileno(self) -> int:
        """Return a descriptor that nothing comes out of."""
        return self._nowhere

    def getsockopt(self, *_: Any) -> bytes:
        """Know nothing of any network."""
        raise OSError

    def setsockopt(self, *_: Any) -> None:
        """Nothing can be set."""

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever kept waiting."""

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""

    def abort(self) -> None:
        """Nothing is left to do."""
        if self._nowhere >= 0:
            os.close(self._nowhere)
            self._nowhere = -1

    close = abort


class Nobody(asyncssh.SSHTCPSession[bytes]):
    """The end of a channel: takes everything and does nothing with it."""

    on_closed: Callable[[], None] | None = None

    def link_lost(self) -> None: ...

    def link_paused(self) -> None: ...

    def link_resumed(self) -> None: ...


class Catcher(Nobody):
    """Remembers its channel."""

    channel: Any = None

    def connection_made(self, chan: Any) -> None:
        self.channel = chan


#: Opens a channel of a connection of asyncssh, its way.
Variant = Callable[[asyncssh.SSHClientConnection, Any], Awaitable[Any]]


async def stock(conn: asyncssh.SSHClientConnection, _client: Any) -> Any:
    """A channel of asyncssh, as it comes."""
    channel, _ = await conn.create_connection(Nobody, "nowhere", 1)
    return channel


async def ours(conn: asyncssh.SSHClientConnection, client: Any) -> Any:
    """A channel as a tunnel has it; without ``TUNNELS_FAST_PATH=off``, with everything that makes it fast."""
    link = SshConnection(conn, client, lambda _: None)
    end: Any = Catcher()
    answer: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    link.open_channel(end, TcpAddress("nowhere", 1), ("", 0), answer.set_result)
    if (error := await answer) is not None:
        raise error
    return end.channel


VARIANTS: dict[str, tuple[Variant, str]] = {
    "asyncssh, its default cipher": (stock, CHACHA),
    "asyncssh, aes128-gcm": (stock, GCM),
    "tunnels, aes128-gcm": (ours, GCM),
}


class _Client(asyncssh.SSHClient):
    """What `SshConnection` wants of the `Client` of a login."""

    def __init__(self) -> None:
        self.lost: list[Exception | None] = []
        self.on_lost: Callable[[Exception | None], None] | None = None


class _Server(asyncssh.SSHServer):
    def __init__(self, far: Catcher) -> None:
        self._far = far

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn

    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(self, *_: Any) -> Any:
        channel = self._conn.create_tcp_channel(window=SERVER_WINDOW, max_pktsize=LARGE)
        return channel, self._far


def _pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        return near, listening.accept()[0]


def _be_like_openssh(server: Any) -> None:
    """Let it send no MSG_IGNORE before each packet, as asyncssh does: the client's own are counted, these not."""
    send = server.send_packet

    def send_packet(pkttype: int, *args: bytes, handler: Any = None) -> None:
        if pkttype != MSG_IGNORE:
            send(pkttype, *args, handler=handler)

    server.send_packet = send_packet


@asynccontextmanager
async def connected(variant: Variant, cipher: str):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """Have a channel: its two ends, and the two transports."""
    near_socket, far_socket = _pair()
    far = Catcher()
    key = asyncssh.generate_private_key("ssh-ed25519")
    client = _Client()
    server, conn = await asyncio.gather(
        asyncssh.run_server(
            far_socket, server_factory=lambda: _Server(far), server_host_keys=[key], encryption_algs=[cipher]
        ),
        asyncssh.connect(
            sock=near_socket,
            client_factory=lambda: client,
            known_hosts=None,
            username="bench",
            config=None,
            client_keys=None,
            agent_path=None,
            encryption_algs=[cipher],
        ),
    )
    transports: list[Any] = [getattr(end, "_transport") for end in (conn, server)]  # noqa: B009
    near_wire, far_wire = Wireless(conn), Wireless(server)
    near_wire.peer, far_wire.peer = far_wire, near_wire
    _be_like_openssh(server)
    for end, wire in ((conn, near_wire), (server, far_wire)):
        private: Any = end
        private._transport = wire  # noqa: SLF001
    try:
        channel = await variant(conn, client)
        for _ in range(10):  # until asyncssh's own tasks have begun to read from the new channel
            await asyncio.sleep(0)
        yield channel, far.channel, near_wire, far_wire
    finally:
        for wire in (near_wire, far_wire):
            wire.discard()
        for end in (conn, server):
            end.abort()
        for transport in transports:
            transport.abort()
        await asyncio.sleep(0)


async def sending(variant: Variant, cipher: str, size: int, rounds: int) -> list[float]:
    """Seconds for ``size`` bytes of a client to become packets, once for each round; read as the relay does."""
    async with connected(variant, cipher) as (channel, _, near, _far):
        near.discard()
        data = os.urandom(READ) if size == LARGE else os.urandom(size)
        repeat = 20 if size == LARGE else 300
        found = []
        for _ in range(rounds):
            started = time.process_time()
            for _ in range(repeat):
                channel.write(data)
            found.append((time.process_time() - started) * size / (repeat * len(data)))
        return found


async def receiving(variant: Variant, cipher: str, size: int, rounds: int) -> list[float]:
    """Seconds for packets with ``size`` bytes to come to the end of a channel, once for each round."""
    async with connected(variant, cipher) as (_, channel, near, far):
        near.peer = far.peer = None
        assert near.kept is not None
        assert far.kept is not None
        data, repeat = os.urandom(READ if size == LARGE else size), 1 if size == LARGE else 50
        found = []
        for _ in range(rounds * (20 if size == LARGE else 6)):
            for _ in range(repeat):
                channel.write(data)
            # What is small comes packet by packet; what is large as much as is read at once.
            whole = [b"".join(far.kept)] if size == LARGE else list(far.kept)
            reads = [one[at : at + READ] for one in whole for at in range(0, len(one), READ)]
            far.kept.clear()
            started = time.process_time()
            for read in reads:
                near.arrived(read)
            assert reads, "the server may not send any more"
            found.append((time.process_time() - started) * size / (repeat * len(data)))
            if near.kept:
                far.arrived(b"".join(near.kept))  # windows are adjusted
                near.kept.clear()
        return found


def _each(function: Callable[[], object], repeat: int = 2000) -> float:
    """Seconds of the processor that a call takes; the median of five times many."""
    found = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(repeat):
            function()
        found.append((time.process_time() - started) / repeat)
    return statistics.median(found)


def parts() -> dict[str, float]:
    """What a packet of 32 KiB is made of, seconds each, measured one by one."""
    key, nonce, header = os.urandom(16), os.urandom(12), os.urandom(4)
    plain = os.urandom(LARGE + 16)
    whole = memoryview(bytearray(LARGE + 16))
    cached = AESGCM(key)
    sealed = cached.encrypt(nonce, plain, header)
    near, far = socket.socketpair()
    with near, far:

        def kernel() -> None:
            near.sendall(plain)
            far.recv_into(whole, len(plain), socket.MSG_WAITALL)

        return {
            "AES-GCM seals": _each(lambda: cached.encrypt(nonce, plain, header)),
            "AES-GCM opens": _each(lambda: cached.decrypt(nonce, sealed, header)),
            "a cipher object, made for each packet": _each(lambda: AESGCM(key)),
            "one copy of the packet": _each(lambda: bytes(plain[1:])),
            "one copy into a buffer that is there": _each(lambda: whole.__setitem__(slice(None), plain)),
            "random padding, one system call": _each(lambda: os.urandom(12)),
            "the kernel, in and out of a socket": _each(kernel),
        }


def measure(*, quick: bool = False) -> list[Figure]:
    """Microseconds for 32 KiB, which asyncssh makes one packet of, and for 64 bytes; without the kernel."""
    rounds = 3 if quick else 15
    tasks = [
        (f"{verb} {label}", measured, size)
        for verb, measured in (("send", sending), ("receive", receiving))
        for label, size in (("32 KiB", LARGE), ("64 bytes", SMALL))
    ]
    figures = []
    for what, measured, size in tasks:
        times = {
            name: asyncio.run(measured(variant, cipher, size, rounds))
            for name, (variant, cipher) in VARIANTS.items()
        }
        ours = times.pop("tunnels, aes128-gcm")
        figures.append(
            Figure(
                f"hot path without the kernel: {what}",
                f"{statistics.median(ours) * 1e6:.1f} µs",
                "; ".join(f"{name} {statistics.median(found) * 1e6:.1f} µs" for name, found in times.items()),
                samples={"tunnels": ours, **times},
            )
        )
    for what, seconds in parts().items():
        figures.append(Figure(f"of which, for 32 KiB: {what}", f"{seconds * 1e6:.1f} µs"))
    return figures
