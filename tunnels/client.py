"""The command line's side of the control protocol.

Blocking on purpose: a command asks one thing and waits for it, and importing asyncio would cost every
command 30 ms. All calls raise `TunnelsError`: what the daemon answered, or why it could not be asked.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self, cast

from tunnels import control_socket, paths
from tunnels.core import protocol
from tunnels.core.client_status import Clients
from tunnels.core.framing import MAX_REPLY_BYTES, FrameReader, encode
from tunnels.core.protocol import Command, Hello
from tunnels.core.status import Json, Snapshot
from tunnels.errors import ControlError, DaemonNotRunning, ProtocolViolation

#: Seconds until a daemon that does not answer is given up; taking down a stuck connection takes up to 10.
TIMEOUT = 30.0


class Client:
    """A connection to the daemon. One request at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reader = FrameReader(limit=MAX_REPLY_BYTES)
        self._frames: list[dict[str, object]] = []
        self._next_id = 1
        self.hello = Hello.from_json(self._receive())

    @classmethod
    def connect(cls) -> Client:
        """Reach the daemon. Raises DaemonNotRunning where there is none."""
        sock = _connect()
        try:
            return cls(sock)
        except BaseException:
            sock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def fileno(self) -> int:
        """The descriptor that the daemon's answers come from, for those who wait for something else too."""
        return self._sock.fileno()

    @property
    def unread(self) -> bool:
        """Whether an answer is here already, and the descriptor may stay silent."""
        return bool(self._frames)

    def up(self, names: list[str], config: str) -> dict[str, str]:
        """Start tunnels; says for each whether it was ``started``, ``already`` up, or ``changed`` meanwhile."""
        found = self._request(protocol.Up(names, config, _agent())).get("tunnels")
        if not isinstance(found, dict):
            raise _nonsense()
        return cast("dict[str, str]", found)

    def open(self, profile: Json, config: str, name: str = "") -> tuple[str, str]:
        """Start a tunnel that is in no file; says its name, and whether it was ``started`` or ``already`` up."""
        found = self._request(protocol.Open(profile, config, name, _agent()))
        named, what = found.get("name"), found.get("what")
        if not isinstance(named, str) or not isinstance(what, str):
            raise _nonsense()
        return named, what

    def down(self, names: list[str], *, everything: bool = False) -> list[str]:
        """Stop tunnels; returns those that were there."""
        return _names(self._request(protocol.Down(names, everything)), "stopped")

    def restart(self, names: list[str], config: str) -> None:
        """Stop tunnels and start them again."""
        self._request(protocol.Restart(names, config, _agent()))

    def reload(self) -> dict[str, list[str]]:
        """Apply the changed file; the names that were ``restart``ed, ``stop``ped, ``start``ed and ``keep`` running."""
        plan = {"start": [], **self._request(protocol.Reload())}
        return {what: _names(plan, what) for what in ("restart", "stop", "start", "keep")}

    def status(self) -> Snapshot:
        """Everything, now."""
        return Snapshot.from_json(self._request(protocol.Status()))

    def watch(self, interval: float = 1.0) -> Iterator[Snapshot]:
        """Everything, now, at every change, and at least every ``interval`` seconds. Close the client to end it."""
        for value in self._stream(protocol.Watch(interval)):
            yield Snapshot.from_json(value)

    def clients(self, names: list[str]) -> Clients:
        """Who uses the forwards of these tunnels now; without names, of all."""
        return Clients.from_json(self._request(protocol.Clients(names)))

    def answer(self, name: str, question_id: str, answer: str, *, save: bool = False) -> None:
        """Answer the question of a tunnel; with ``save``, what proves good goes into the keyring."""
        self._request(protocol.Answer(name, question_id, answer, save, _agent()))

    def shutdown(self) -> list[str]:
        """End the daemon; returns the tunnels that come back with the next one."""
        return _names(self._request(protocol.Shutdown()), "tunnels")

    def _request(self, command: Command) -> Json:
        for value in self._stream(command):
            return value
        raise ProtocolViolation("the daemon gave no answer")

    def _stream(self, command: Command) -> Iterator[Json]:
        request_id, self._next_id = self._next_id, self._next_id + 1
        try:
            self._sock.sendall(encode(protocol.request(request_id, command)))
        except OSError as exc:
            raise _gone(exc) from exc
        last = False
        while not last:
            value, last = protocol.parse_reply(self._receive(), request_id)
            yield value

    def _receive(self) -> dict[str, object]:
        while not self._frames:
            try:
                data = self._sock.recv(65536)
            except TimeoutError as exc:
                raise ControlError(
                    f"the daemon did not answer within {TIMEOUT:g} s",
                    hint="`tunnels logs` may say why; `tunnels daemon stop` ends it",
                ) from exc
            except OSError as exc:
                raise _gone(exc) from exc
            if not data:
                raise _gone(None)
            self._frames.extend(self._reader.feed(data))
        return self._frames.pop(0)


def _connect() -> socket.socket:
    """Connect where the socket should be, or where the daemon has written down that it is."""
    path = paths.socket_path()
    try:
        return control_socket.connect(path, timeout=TIMEOUT)
    except DaemonNotRunning:
        elsewhere = control_socket.written_down(paths.lock_file())
        if elsewhere is None or elsewhere == path:
            raise
        return control_socket.connect(elsewhere, timeout=TIMEOUT)


def _agent() -> str:
    """Where the SSH agent of this terminal listens: the daemon may have been started by another one."""
    return os.environ.get("SSH_AUTH_SOCK", "")


def _names(reply: Json, member: str) -> list[str]:
    found = reply.get(member)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise _nonsense()
    return found


def _nonsense() -> ProtocolViolation:
    return ProtocolViolation("the daemon sent an answer that makes no sense")


def _gone(exc: OSError | None) -> ControlError:
    why = f": {exc.strerror or exc}" if exc is not None else ""
    return ControlError(
        f"the daemon hung up{why}", hint="`tunnels logs` may say why; `tunnels up` starts it again"
    )
