"""The daemon's side of the control protocol: one task per command line that is connected."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from tunnels import __version__, control_socket
from tunnels.core import protocol
from tunnels.core.framing import MAX_REPLY_BYTES, FrameReader, encode
from tunnels.core.status import Json
from tunnels.daemon.handlers import Handlers
from tunnels.errors import InternalError, ProtocolViolation, TunnelsError
from tunnels.tasks import TaskScope

_log = logging.getLogger("tunnels")

#: Command lines that may be connected at the same time; each costs a task and some buffers.
MAX_CLIENTS = 128

#: Seconds between two looks whether the socket is still there; a person who logs in again waits this long.
CHECK_INTERVAL = 2.0

#: Bytes queued for a command line that does not read; then its watch is made to wait.
_WRITE_HIGH_WATER = 256 * 1024


class ControlServer:
    """Serves the control socket until `aclose`."""

    def __init__(self, path: Path, handlers: Handlers) -> None:
        """Listen at ``path``; commands wait until `start`."""
        self._path = path
        self._sock = control_socket.listen(path)
        self._inode = path.stat().st_ino
        self._handlers = handlers
        self._scope = TaskScope("control")  # one task for each command line that is connected
        self._watches = TaskScope("watches")
        self._care = TaskScope("control socket")
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to accept."""
        self._server = await asyncio.start_unix_server(self._accepted, sock=self._sock)
        self._care.spawn(self._stay_reachable(), name="stay reachable")

    async def _stay_reachable(self) -> None:
        """Listen again if the socket is gone: its folder is removed when the last session of its user ends."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            if self._is_there():
                continue
            try:
                self._sock = control_socket.listen(self._path)
                self._inode = self._path.stat().st_ino
            except (OSError, TunnelsError) as exc:
                _log.debug("the control socket cannot be made: %s", exc)
                continue
            if self._server is not None:
                self._server.close()
            self._server = await asyncio.start_unix_server(self._accepted, sock=self._sock)
            _log.warning("the control socket had been removed; listening again at %s", self._path)

    def _is_there(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    async def aclose(self) -> None:
        """Hang up on everybody, and remove the socket."""
        await self._care.aclose()
        if self._server is not None:
            self._server.close()
            self._server = None
        else:
            self._sock.close()
        if self._is_there():
            self._path.unlink(missing_ok=True)
        await self._scope.aclose()
        await self._watches.aclose()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        if control_socket.peer_uid(sock) != os.getuid() or len(self._scope) >= MAX_CLIENTS:
            writer.transport.abort()
            return
        self._scope.spawn(self._converse(reader, writer), name="client")

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=_WRITE_HIGH_WATER)
        frames = FrameReader()
        try:
            await _send(writer, protocol.Hello(__version__, os.getpid()).to_json())
            while data := await reader.read(65536):
                for frame in frames.feed(data):
                    await self._answer(frame, reader, writer)
        except ProtocolViolation as error:
            await _send(writer, protocol.failure(None, error))
        except OSError:  # the command line has gone
            pass
        finally:
            writer.close()

    async def _answer(
        self, frame: dict[str, object], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        request_id: int | None = None
        try:
            request_id, command = protocol.parse_request(frame)
            if isinstance(command, protocol.Watch):
                await self._watch(request_id, command, reader, writer)
            else:
                reply = await self._handlers.handle(command)
                await _send(writer, protocol.result(request_id, reply))
        except TunnelsError as error:
            await _send(writer, protocol.failure(request_id, error))
        except (OSError, asyncio.CancelledError):
            raise
        except Exception as exc:  # noqa: BLE001 - the command line must hear of it, and the others go on
            await _send(writer, protocol.failure(request_id, _bug(exc)))

    async def _watch(
        self,
        request_id: int,
        command: protocol.Watch,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Send snapshots until the command line hangs up, which is how a watch ends."""
        watching = self._watches.spawn(self._send_snapshots(request_id, command, writer), name="watch")
        try:
            while await reader.read(65536):
                pass
        finally:
            watching.cancel()

    async def _send_snapshots(
        self, request_id: int, command: protocol.Watch, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async for snapshot in self._handlers.watch(command):
                await _send(writer, protocol.event(request_id, snapshot))
        except OSError:  # it has gone; the reader's side notices too
            pass
        except Exception as exc:  # noqa: BLE001 - whoever watches must not wait for nothing
            await _send(writer, protocol.failure(request_id, _bug(exc)))


def _bug(exc: Exception) -> InternalError:
    _log.error("a command ended with a bug", exc_info=exc)
    return InternalError(f"{type(exc).__name__}: {exc}", hint="`tunnels logs` has the details")


async def _send(writer: asyncio.StreamWriter, frame: Json) -> None:
    writer.write(encode(frame, limit=MAX_REPLY_BYTES))
    await writer.drain()
