"""The services: ``python -m bench.load.far HOST`` prints their ports and stays until standard input ends.

``echo`` sends back what comes, at once. ``bulk`` does what its client wishes in its first line (`Wish`). They
are two processes, so that the one does not wait for the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable

from bench.load.bulk import WELCOME, Bulk, Loop, Ready, Starer, Wish, read_sum


class Listener:
    """Takes clients, and gives each to somebody new."""

    def __init__(
        self, loop: Loop, listening: socket.socket, kind: Callable[[Loop, socket.socket], Ready]
    ) -> None:
        self._loop, self._socket, self._kind = loop, listening, kind
        listening.setblocking(False)
        loop.watch(listening, self)

    def ready(self, events: int) -> None:
        """Take a client."""
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._loop.watch(connection, self._kind(self._loop, connection))


class Echo:
    """Sends back the few bytes that it reads at a time."""

    def __init__(self, loop: Loop, connection: socket.socket) -> None:
        self._loop, self._connection = loop, connection

    def ready(self, events: int) -> None:
        """Answer."""
        with contextlib.suppress(OSError):
            if data := self._connection.recv(65536):
                self._connection.sendall(data)
                return
        self._loop.selector.unregister(self._connection)
        self._connection.close()


class Ear:
    """Listens to what a client of the bulk service wishes."""

    def __init__(self, loop: Loop, connection: socket.socket) -> None:
        self._loop, self._connection = loop, connection
        with contextlib.suppress(OSError):
            connection.send(WELCOME)

    def ready(self, events: int) -> None:
        """Take the line, and not a byte more: what follows is measured."""
        self._loop.selector.unregister(self._connection)
        self._connection.settimeout(10)
        line = b""
        with contextlib.suppress(OSError):
            while not line.endswith(b"\n") and (byte := self._connection.recv(1)):
                line += byte
        if not line.endswith(b"\n"):
            self._connection.close()
            return
        wish = Wish(*json.loads(line))
        if wish.way == "sum":
            with self._connection, contextlib.suppress(OSError):
                self._connection.sendall(read_sum(self._connection, wish.total).encode())
        else:
            Bulk(self._loop, self._connection, wish, sends=wish.way == "down")


def main(arguments: list[str]) -> None:
    """Serve on an address."""
    sockets = {name: socket.create_server((arguments[0], 0), backlog=1024) for name in ("echo", "bulk")}
    print(json.dumps({name: opened.getsockname()[1] for name, opened in sockets.items()}), flush=True)
    bulk = bool(os.fork())
    loop = Loop()
    Listener(loop, sockets["bulk"], Ear) if bulk else Listener(loop, sockets["echo"], Echo)
    sockets["echo" if bulk else "bulk"].close()
    loop.watch(0, Starer())
    while True:
        loop.turn()


if __name__ == "__main__":
    main(sys.argv[1:])
