"""Explains why an address cannot be had: names who holds it, or a free port that needs no privilege."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from itertools import pairwise

from tunnels.core.address import TcpAddress
from tunnels.errors import ListenError

#: Ports below this one need a privilege on most systems (ip(7), net.ipv4.ip_unprivileged_port_start).
PRIVILEGED = 1024

#: What `owner` calls the daemon. Its process has the name of the interpreter, which tells nobody anything.
DAEMON = "the tunnels daemon"

#: Which tunnels of this process listen on a port, or at the path of a unix socket.
_held: dict[int | str, list[str]] = {}


def hold(place: int | str, tunnel: str) -> None:
    """A tunnel of this process listens on this port, or at this path, until `let_go`."""
    _held.setdefault(place, []).append(tunnel)


def let_go(place: int | str, tunnel: str) -> None:
    """It does not any more."""
    _held[place].remove(tunnel)
    if not _held[place]:
        del _held[place]


def in_the_way(place: int | str, owner: tuple[str, int]) -> tuple[str, str]:
    """Who has a port or a path that is taken, and what to do about it."""
    name, pid = owner
    if pid == os.getpid():
        tunnel = next(filter(None, _held.get(place, [])), None)
        if tunnel is None:
            return "another tunnel", "`tunnels status` shows which; `tunnels down` it"
        return f"the tunnel {tunnel}", f"`tunnels down {tunnel}`"
    if name == DAEMON:
        return f"{name} (pid {pid})", "`tunnels status` shows for which tunnel; `tunnels down` it"
    return f"{name} (pid {pid})", f"end it (`kill {pid}`)"


async def explain_bind_failure(error: OSError, address: TcpAddress) -> ListenError:
    """The error of a bind as a sentence and what to do about it."""
    if error.errno == errno.EADDRINUSE:
        owner = await asyncio.to_thread(port_owner, address.port)
        if owner is None:
            return ListenError(
                f"port {address.port} is in use by another user's process",
                hint=f"`sudo lsof -i :{address.port}` names it; or listen on another port",
            )
        who, what = in_the_way(address.port, owner)
        return ListenError(
            f"port {address.port} is in use by {who}", hint=f"{what}, or listen on another port"
        )
    if error.errno in (errno.EACCES, errno.EPERM) and address.port < PRIVILEGED:
        free = await asyncio.to_thread(free_port_like, address.port)
        return ListenError(
            f"port {address.port} needs a privilege: ports below {PRIVILEGED} are reserved",
            hint=f"port {free} is free" if free is not None else f"listen on a port above {PRIVILEGED}",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenError(
            f"cannot listen on {address}: {address.host} is not an address of this machine",
            hint="leave the bind address out to listen on loopback only",
        )
    return ListenError(f"cannot listen on {address}: {error.strerror or error}")


def port_owner(port: int) -> tuple[str, int] | None:
    """The name and the pid of who listens on a TCP port; None where that is somebody else's business.

    Blocks for some milliseconds: it walks the process table.
    """
    import psutil  # noqa: PLC0415 - 15 ms and some memory that are only needed when something is wrong

    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):  # macOS asks for root
        return None
    for connection in connections:
        listening = (
            connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        )
        if listening and connection.pid is not None:
            return _name_of(connection.pid), connection.pid
    return None


def socket_owner(path: str) -> tuple[str, int] | None:
    """The name and the pid of who has a unix socket of this path; None where that cannot be seen.

    Blocks for some milliseconds: it walks the process table.
    """
    import psutil  # noqa: PLC0415 - as above

    try:
        connections = psutil.net_connections(kind="unix")
    except (psutil.Error, OSError):
        return None
    for connection in connections:
        if str(connection.laddr) == path and connection.pid is not None:
            return _name_of(connection.pid), connection.pid
    return None


def _name_of(pid: int) -> str:
    import psutil  # noqa: PLC0415 - as above

    try:
        process = psutil.Process(pid)
        words = process.cmdline()
        ours = [place for place, word in enumerate(words[:3]) if word.rpartition("/")[2] == "tunnels"]
        if ours:
            rest = words[ours[-1] + 1 :]
            return DAEMON if ("daemon", "run") in pairwise(rest) else "another `tunnels`"
        return process.name()
    except psutil.Error:
        return "a process"


def free_port_like(port: int) -> int | None:
    """A free port on loopback that is easy to remember in place of a privileged one: 80 becomes 8080."""
    for candidate in (port + 8000, port + 10_000, port + 20_000, port * 10 + 8000):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            try:
                sock.bind(("127.0.0.1", candidate))
            except (OSError, OverflowError):
                continue
            return candidate
    return None
