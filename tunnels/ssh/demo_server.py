"""An SSH server inside this process, on loopback, for ``tunnels demo``. It proves nothing about OpenSSH."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import asyncssh

_USER = "demo"


class DemoServer:
    """Accepts one key; connects to the names it knows, and to nothing else; listens for its client."""

    def __init__(self, folder: Path, names: Mapping[tuple[str, int], int]) -> None:
        self._names = names  # (name, port) as a client asks for it -> the port on loopback that serves it
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        user_key = asyncssh.generate_private_key("ssh-ed25519")
        self.user = _USER
        self.identity_file = folder / "id_ed25519"
        user_key.write_private_key(str(self.identity_file))
        self.identity_file.chmod(0o600)
        self._authorized = asyncssh.import_authorized_keys(user_key.export_public_key().decode())
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self.port = 0

    @property
    def known_hosts_line(self) -> str:
        """What a client must have in known_hosts to trust this server."""
        return f"[127.0.0.1]:{self.port} {self._host_key.export_public_key().decode()}"

    async def start(self) -> None:
        """Listen; on the same port as before, if there was one."""
        self._acceptor = await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_host_keys=[self._host_key],
            server_factory=lambda: _Server(self),
            authorized_client_keys=self._authorized,
            gss_host=None,
            config=None,
            reuse_address=True,
        )
        self.port = self._acceptor.get_port()

    async def cut(self) -> None:
        """Stop listening and drop every connection without a word, as a crash or a dead network does."""
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        connections, self._connections = self._connections, set()
        for connection in connections:
            connection.abort()
        for connection in connections:
            await connection.wait_closed()

    def opened(self, connection: asyncssh.SSHServerConnection) -> None:
        """A client has connected."""
        self._connections.add(connection)

    def closed(self, connection: asyncssh.SSHServerConnection) -> None:
        """A client has gone."""
        self._connections.discard(connection)

    def destination(self, host: str, port: int) -> int | None:
        """The port on loopback that a name stands for."""
        return self._names.get((host, port))


class _Server(asyncssh.SSHServer):
    """One connection of the demo server."""

    def __init__(self, owner: DemoServer) -> None:
        self._owner = owner
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._owner.opened(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._owner.closed(self._connection)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Callable[[asyncssh.SSHReader[bytes], asyncssh.SSHWriter[bytes]], Awaitable[None]]:
        port = self._owner.destination(dest_host, dest_port)
        if port is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "Name or service not known")

        async def relay(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            near, far = await asyncio.open_connection("127.0.0.1", port)
            try:
                await asyncio.gather(_copy(reader, far), _copy(near, writer))
            except (OSError, asyncssh.Error):  # the connection was cut, which is what the demo is about
                pass
            finally:
                far.close()
                writer.close()

        return relay

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        return True


async def _copy(
    source: asyncssh.SSHReader[bytes] | asyncio.StreamReader,
    sink: asyncssh.SSHWriter[bytes] | asyncio.StreamWriter,
) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.write_eof()
