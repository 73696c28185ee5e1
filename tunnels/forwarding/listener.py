"""Our own listening sockets. They belong to the tunnel, not to the SSH connection of the moment."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

from tunnels import open_files
from tunnels.core.address import EVERY_INTERFACE, TcpAddress
from tunnels.errors import ListenError
from tunnels.forwarding.ports import explain_bind_failure, hold, let_go
from tunnels.forwarding.sockets import reset

#: Clients the kernel queues while we are busy. Linux cuts it to net.core.somaxconn (4096 by default).
BACKLOG = 512

#: Clients that asyncio takes from that queue at once, before any of them can be turned away. Without a bound a
#: crowd could use up all files in one go, reserve included.
AT_ONCE = 8

ProtocolFactory = Callable[[], asyncio.BaseProtocol]


class Listener:
    """All the sockets of one listening address."""

    def __init__(self, servers: list[asyncio.Server], port: int, tunnel: str) -> None:
        self._servers = servers
        self.port = port
        self._tunnel = tunnel
        hold(port, tunnel)

    @classmethod
    async def bind(cls, address: TcpAddress, factory: ProtocolFactory, tunnel: str = "") -> Listener:
        """Listen on every address that ``address`` stands for.

        Like ssh, it is enough if one of several works where the machine lacks IPv6 or IPv4, but a port
        that somebody else holds on one of them is an error: half of the clients would reach a stranger.
        ``tunnel`` is whose it is: others to whom it is in the way are told. Raises ListenError, naming who
        holds the port.
        """
        sockets: list[socket.socket] = []
        servers: list[asyncio.Server] = []
        try:
            missing: OSError | None = None
            for family, host in await _resolve(address):
                try:
                    sockets.append(_bind(family, host, address.port))
                except OSError as exc:
                    if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                        raise
                    missing = exc
            if missing is not None and not sockets:
                raise missing
            loop = asyncio.get_running_loop()
            for sock in sockets:
                # In two steps: a server that is serving, and whose creation is then cancelled, would be lost
                # and leave its socket's number in the event loop, where the next socket meets it.
                server = await loop.create_server(
                    guarded(factory), sock=sock, backlog=AT_ONCE, start_serving=False
                )
                servers.append(server)
            for server in servers:
                await server.start_serving()
            for sock in sockets:
                sock.listen(BACKLOG)  # serving has made the system's queue as short as what is taken at once
        except BaseException as exc:
            for server in servers:
                server.close()
            for sock in sockets:
                sock.close()
            if isinstance(exc, OSError):
                raise await explain_bind_failure(exc, address) from exc
            raise
        return cls(servers, sockets[0].getsockname()[1], tunnel)

    def close(self) -> None:
        """Stop listening. The clients that are connected stay. Does nothing the second time."""
        # Server.wait_closed() is not awaited: since Python 3.12 it waits for every client too.
        for server in self._servers:
            server.close()
        if self._servers:
            let_go(self.port, self._tunnel)
        self._servers = []


def guarded(factory: ProtocolFactory) -> ProtocolFactory:
    """Turn clients away where this process may open no more files; for everybody else ask ``factory``."""

    def make() -> asyncio.BaseProtocol:
        return _TurnedAway() if open_files.ours.none_left() else factory()

    return make


class _TurnedAway(asyncio.Protocol):
    """A client that we have no room for: it sees a reset, and not an end that looks like an answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It has come, and goes."""
        open_files.ours.turn_away()
        reset(transport)


async def _resolve(address: TcpAddress) -> list[tuple[socket.AddressFamily, str]]:
    """The addresses to bind. No bind address means loopback, both families, as ssh(1) has it for -L."""
    if address.host is None or address.host == "localhost":
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    if address.host == EVERY_INTERFACE:
        return [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]  # noqa: S104 - `*` was asked for
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError) as exc:  # the latter: a name that no IDNA codec takes
        raise ListenError(
            f"cannot listen on {address}: {address.host} is not an address of this machine",
            hint="leave the bind address out to listen on loopback only",
        ) from exc
    return [(family, str(sockaddr[0])) for family, _, _, _, sockaddr in found]


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Without it, a port whose last clients are in TIME_WAIT could not be bound again for a minute.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
