"""Names of the programs on this machine that a client's address belongs to.

Looked up by whoever shows them, in its own process: it costs some milliseconds, and the daemon has better things
to do. Programs of other users have no name, unless root asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tunnels.core.client_status import ClientStatus

#: An address and a port, as a client has them.
Place = tuple[str, int]


#: Looks for a program that is not found: one that ends or starts another in that very moment hides them.
_LOOKS = 3


class Program(NamedTuple):
    """A running program."""

    name: str
    pid: int


class Programs:
    """Remembers what it has found for as long as the client is there, so that only new ones cost anything."""

    def __init__(self) -> None:
        self._known: dict[Place, Program] = {}
        self._looks: dict[Place, int] = {}  # in vain, so far

    def of(self, clients: Iterable[ClientStatus]) -> dict[ClientStatus, Program]:
        """The programs behind these clients, where they can be seen. Blocks for some milliseconds."""
        clients = list(clients)
        # The other end of a remote forward is on another machine.
        places = {it.origin for it in clients if it.origin is not None and it.kind != "remote"}
        self._known = {place: found for place, found in self._known.items() if place in places}
        self._looks = {place: count for place, count in self._looks.items() if place in places}
        new = {it for it in places - self._known.keys() if self._looks.get(it, 0) < _LOOKS}
        if new:
            self._known |= _find(new)
            for place in new - self._known.keys():
                self._looks[place] = self._looks.get(place, 0) + 1
        found = {}
        for client in clients:
            if client.pid is not None:
                program = _program(client.pid)
            else:
                program = None if client.origin is None else self._known.get(client.origin)
            if program is not None:
                found[client] = program
        return found


def _find(places: set[Place]) -> dict[Place, Program]:
    pids: dict[Place, set[int]] = {}
    for connection, pid in _connections():
        here = connection.laddr
        if here and (here.ip, here.port) in places and pid is not None and pid != os.getpid():
            pids.setdefault((here.ip, here.port), set()).add(pid)
    # Two programs can share an address and a port towards different destinations (SO_REUSEADDR): then it is neither.
    certain = {place: _program(*several) for place, several in pids.items() if len(several) == 1}
    return {place: program for place, program in certain.items() if program is not None}


def _connections() -> Iterator[tuple[Any, int | None]]:
    """Every TCP connection that can be seen, and whose it is."""
    import psutil  # noqa: PLC0415 - 15 ms that nobody else pays for

    try:
        for connection in psutil.net_connections(kind="tcp"):
            yield connection, connection.pid
    except (psutil.Error, OSError):  # macOS tells everything to root only, and to everybody what is theirs
        yield from _own_connections()


def _own_connections() -> Iterator[tuple[Any, int]]:
    import psutil  # noqa: PLC0415 - as above

    for process in psutil.process_iter(["uids"]):
        uids = process.info["uids"]
        if uids is None or uids.real != os.getuid():
            continue
        try:
            for own in process.net_connections(kind="tcp"):
                yield own, process.pid
        except (psutil.Error, OSError):  # it has ended, or does not want to be looked at
            continue


def _program(pid: int) -> Program | None:
    import psutil  # noqa: PLC0415 - as above

    try:
        return Program(psutil.Process(pid).name(), pid)
    except (psutil.Error, OSError):
        return None
