"""Through one server to the next: what asyncssh takes for the "tunnel" of a connection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncssh

from tunnels.core.address import TcpAddress
from tunnels.ssh.carrier import Carrier
from tunnels.ssh.channel import ForwardChannel
from tunnels.ssh.channel_open import direct
from tunnels.ssh.window import LARGEST
from tunnels.ssh.wire import Wire
from tunnels.tasks import TaskScope


class Onward:
    """Opens channels for connections that go on from a jump host, which others may be using too."""

    def __init__(
        self, conn: asyncssh.SSHClientConnection, name: str, scope: TaskScope, wire: Wire | None = None
    ) -> None:
        self.name = name  #: what messages call the jump host
        self._wire = wire
        self._conn = conn
        self._scope = scope

    async def create_connection(self, factory: Any, host: str, port: int) -> tuple[Any, Any]:
        """Connect to the next server. Raises asyncssh.ChannelOpenError.

        A channel whose opening is cancelled would stay open for as long as the jump host's connection does. So
        the opening goes on, and what comes of it is closed.
        """
        done: asyncio.Future[tuple[Any, Any]] = asyncio.get_running_loop().create_future()
        self._scope.spawn(self._open(factory, host, port, done), name=f"connection from {self.name}")
        return await done

    async def _open_channel(self, factory: Any, host: str, port: int) -> tuple[Any, Any]:
        if self._wire is None:
            return await self._conn.create_connection(factory, host, port)
        # The connection inside is never told to stop reading: a large window costs nothing, and is never in the way.
        channel = ForwardChannel(self._conn, self._wire, lambda: None, window=LARGEST)
        carrier = Carrier(factory)
        opening: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answered(exc: BaseException | None) -> None:
            if opening.done():  # cancelled
                channel.abort()
            elif exc is None:
                opening.set_result(None)
            elif isinstance(exc, asyncssh.ChannelOpenError):
                opening.set_exception(exc)
            else:  # it is the jump host that has gone, and not the one behind it
                opening.set_exception(asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, str(exc)))

        channel.open(carrier, answered, *direct(TcpAddress(host, port), ("", 0)))
        await opening
        return carrier, carrier.protocol

    async def _open(self, factory: Any, host: str, port: int, done: asyncio.Future[tuple[Any, Any]]) -> None:
        chan = None
        try:
            chan, session = await self._open_channel(factory, host, port)
            if not done.done():
                done.set_result((chan, session))
                return
        except Exception as exc:  # noqa: BLE001 - whoever asked gets it
            if not done.done():
                done.set_exception(exc)
        except BaseException:
            done.cancel()
            raise
        if chan is not None:
            with contextlib.suppress(OSError, asyncssh.Error):
                chan.abort()
