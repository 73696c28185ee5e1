"""Listening unix sockets on this machine: never a stolen one, never a leftover.

Looking at what stands at the path, removing it and taking its place is done in one piece, without giving
the event loop a turn: two tunnels of one daemon cannot take the same path from each other in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shlex
import socket
import stat
import sys
from pathlib import Path

from tunnels.core.address import UnixAddress
from tunnels.errors import ListenError
from tunnels.forwarding.listener import AT_ONCE, BACKLOG, ProtocolFactory, guarded
from tunnels.forwarding.ports import hold, in_the_way, let_go, socket_owner

#: ``sun_path`` of unix(7), without its final zero: 104 bytes on macOS and the BSDs, 108 on Linux.
LONGEST_PATH = 107 if sys.platform == "linux" else 103

#: What tells a file apart from another one that stood at the same path before: device and inode.
Identity = tuple[int, int]

#: What this process listens on: it need not connect to itself to find out, and be its own client.
_ours: set[Identity] = set()


class UnixListener:
    """A listening unix socket. Its file is 0600, and goes with it."""

    port = 0  #: there is none; a `Listener` has one

    def __init__(self, server: asyncio.Server, path: str, identity: Identity, tunnel: str) -> None:
        self._server: asyncio.Server | None = server
        self._path = path
        self._identity = identity
        self._tunnel = tunnel
        hold(path, tunnel)

    @classmethod
    async def bind(cls, address: UnixAddress, factory: ProtocolFactory, tunnel: str = "") -> UnixListener:
        """Listen at the path. A socket that nobody listens on any more is replaced, and nothing else is.

        Raises ListenError, naming who listens there, or what else is in the way.
        """
        path = expand(address)
        _check_length(path)
        try:
            sock = _bind(path)
        except OSError as exc:
            raise await _explain(exc, path) from exc
        identity = _identity(path) or (0, 0)  # of nothing, where somebody has removed it this very moment
        _ours.add(identity)
        try:
            # In two steps, as in `Listener`: a server that serves, and whose creation is cancelled, is lost.
            server = await asyncio.get_running_loop().create_unix_server(
                guarded(factory), sock=sock, backlog=AT_ONCE, start_serving=False
            )
        except BaseException:
            _ours.discard(identity)
            _remove(path, identity)
            sock.close()
            raise
        listener = cls(server, path, identity, tunnel)
        try:
            await server.start_serving()
            sock.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
        return listener

    def close(self) -> None:
        """Stop listening, and remove the file if it is still ours. The clients that are connected stay."""
        if self._server is not None:
            _ours.discard(self._identity)
            let_go(self._path, self._tunnel)
            _remove(self._path, self._identity)
            self._server.close()
            self._server = None


def expand(address: UnixAddress) -> str:
    """The path as the system takes it; ``~`` is the home of who runs this."""
    return str(Path(address.path).expanduser())


def _check_length(path: str) -> None:
    length = len(os.fsencode(path))
    if length > LONGEST_PATH:
        raise ListenError(
            f"the path {path} is {length} bytes long, and that of a socket is at most {LONGEST_PATH}",
            hint="use a shorter path; /tmp and $XDG_RUNTIME_DIR are short",
        )


def _bind(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # 0600 from the first moment on: a chmod afterwards would come too late
    try:
        try:
            sock.bind(path)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            _clear(path)
            sock.bind(path)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _clear(path: str) -> None:
    """Remove a socket that nobody listens on. Raises ListenError where something else is in the way."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:  # gone this very moment
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(
            f"cannot listen at {path}: something that is no socket is there",
            hint="it is left as it is; remove it, or listen at another path",
        )
    if (found.st_dev, found.st_ino) in _ours:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full queue answers at once too: then somebody listens
        number = probe.connect_ex(path)
    if number == errno.ECONNREFUSED:
        _remove(path, (found.st_dev, found.st_ino))
    elif number != errno.ENOENT:
        raise OSError(errno.EADDRINUSE if number not in _NOT_OURS else number, os.strerror(number), path)


_NOT_OURS = {errno.EACCES, errno.EPERM}


def _identity(path: str) -> Identity | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove(path: str, identity: Identity) -> None:
    if _identity(path) == identity:
        with contextlib.suppress(OSError):
            os.unlink(path)  # noqa: PTH108 - a path, as everywhere here: bytes that are no text may be in it


async def _explain(error: OSError, path: str) -> ListenError:
    """The error of a bind as a sentence and what to do about it."""
    folder = str(Path(path).parent)
    match error.errno:
        case errno.EADDRINUSE:
            owner = await asyncio.to_thread(socket_owner, path)
            if owner is None:
                who, what = "another program", f"`sudo lsof {shlex.quote(path)}` names it"
            else:
                who, what = in_the_way(path, owner)
            return ListenError(f"{who} listens at {path}", hint=f"{what}, or listen at another path")
        case errno.ENOENT:
            return ListenError(
                f"cannot listen at {path}: the folder {folder} does not exist",
                hint=f"`mkdir -p -m 700 {shlex.quote(folder)}` makes it",
            )
        case errno.EACCES | errno.EPERM:
            return ListenError(
                f"cannot listen at {path}: no permission", hint="listen in a folder of your own"
            )
    return ListenError(f"cannot listen at {path}: {error.strerror or error}")
