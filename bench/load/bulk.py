"""Bytes in bulk: what a client wants, what the receiving side measures, and the connection at either end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import selectors
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

WELCOME = b"?"
"""What the bulk service says first: the way to it is open. Then the client says its wish."""

PIECE = 1 << 20
"""Bytes asked of the kernel at once, and the length of the pattern that is sent again and again."""

TURN = 1 << 18
"""Bytes that one of several connections may send before the next one has its turn."""

DISCARD = socket.MSG_TRUNC if sys.platform == "linux" else 0


class Wish(NamedTuple):
    """What a client of the bulk service says first, as one line of JSON."""

    way: str  #: ``down``, ``up`` or ``sum``
    total: int = 0  #: bytes; 0 is for as long as the receiver likes
    warm: float = 0.0  #: seconds after ``start`` that are not measured, if ``total`` is 0
    seconds: float = 0.0  #: seconds that are measured after that
    start: float = 0.0  #: of the clock that all processes of a computer share (`time.monotonic`)

    def line(self) -> bytes:
        """Return it as the client says it."""
        return json.dumps(self).encode() + b"\n"


class Meter:
    """Counts what arrives: a number of bytes from the first to the last, or a time after a warm-up."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._first = self._last = 0.0
        self._counted = 0
        self.arrived = 0  #: bytes so far

    def take(self, count: int, now: float) -> None:
        """Count some bytes."""
        if not self.arrived:
            self._first = now
        self.arrived += count
        if self._wish.total:
            self._last = now
            self._counted = self.arrived
            return
        since = now - self._wish.start
        if self._wish.warm <= since <= self._wish.warm + self._wish.seconds:
            self._counted += count

    def result(self) -> dict[str, float]:
        """Return the bytes that count, the seconds they took, and all that have come."""
        wanted = self._wish.total
        assert not wanted or self.arrived == wanted, f"{self.arrived} of {wanted} bytes have arrived"
        seconds = self._wish.seconds or self._last - self._first
        return {"bytes": self._counted, "seconds": seconds, "all": self.arrived}


class Pattern:
    """Bytes that do not compress, in a file."""

    def __init__(self) -> None:
        self.data = random.Random(4711).randbytes(PIECE)
        self._file = -1

    def send(self, connection: socket.socket, sent: int, total: int) -> int:
        """Send the next bytes of the stream, as many as are taken at once; return how many."""
        start = sent % PIECE
        count = min(TURN, PIECE - start)
        if total:
            count = min(count, total - sent)
        if self._file < 0:
            self._file = _file_of(self.data)
        try:
            return os.sendfile(connection.fileno(), self._file, start, count)
        except BlockingIOError:
            return 0

    def sum(self, total: int) -> str:
        """Return the SHA-256 of the first bytes of the stream."""
        digest = hashlib.sha256()
        for at in range(0, total, PIECE):
            digest.update(self.data[: total - at])
        return digest.hexdigest()


def _file_of(data: bytes) -> int:
    """Return the descriptor of a file without a name, for as long as the process lives."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return os.dup(file.fileno())


class Ready(Protocol):
    """Something that is told when its socket is ready."""

    def ready(self, events: int) -> None: ...


class Loop:
    """Serves many sockets, each in its turn."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.pattern = Pattern()
        self._alarms: list[tuple[float, Callable[[], None]]] = []

    def watch(self, what: socket.socket | int, watcher: Ready, events: int = selectors.EVENT_READ) -> None:
        """Tell somebody when a socket is ready."""
        self.selector.register(what, events, watcher)

    def at(self, moment: float, function: Callable[[], None]) -> None:
        """Have a function called at a time of `time.monotonic`."""
        self._alarms.append((moment, function))
        self._alarms.sort(key=lambda alarm: alarm[0])

    def turn(self, timeout: float | None = None) -> bool:
        """Serve who is ready; return whether anybody was."""
        if self._alarms:
            left = max(0.0, self._alarms[0][0] - time.monotonic())
            timeout = left if timeout is None else min(timeout, left)
        ready = self.selector.select(timeout)
        for key, events in ready:
            key.data.ready(events)
        served = bool(ready)
        while self._alarms and self._alarms[0][0] <= time.monotonic():
            _, function = self._alarms.pop(0)
            function()
            served = True
        return served

    @property
    def empty(self) -> bool:
        """Whether there is nobody left to serve."""
        return not self.selector.get_map()


class Bulk:
    """One connection, at either end: it sends, or it receives and measures."""

    def __init__(self, loop: Loop, connection: socket.socket, wish: Wish, *, sends: bool) -> None:
        self._loop, self._connection, self._wish, self._sends = loop, connection, wish, sends
        self._sent = 0
        self._meter = Meter(wish)
        self._buffer = bytearray(PIECE)
        self._answer = b""
        self.measured: dict[str, float] | None = None
        connection.setblocking(False)
        loop.watch(connection, self, selectors.EVENT_READ | (selectors.EVENT_WRITE if sends else 0))
        if not sends and not wish.total:
            loop.at(wish.start + wish.warm + wish.seconds, self._time_is_up)

    @property
    def moved(self) -> int:
        """Bytes sent or received so far."""
        return self._sent if self._sends else self._meter.arrived

    def ready(self, events: int) -> None:
        """Go on with it."""
        try:
            if not self._sends:
                self._receive()
            elif events & selectors.EVENT_READ:
                self._listen()
            else:
                self._send()
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _send(self) -> None:
        if self._wish.total and self._sent >= self._wish.total:
            self._connection.shutdown(socket.SHUT_WR)
            self._loop.selector.modify(self._connection, selectors.EVENT_READ, self)
            return
        self._sent += self._loop.pattern.send(self._connection, self._sent, self._wish.total)

    def _listen(self) -> None:
        """Take what the receiver says that it has measured, or its end."""
        said = self._connection.recv(4096)
        self._answer += said
        if self._answer.endswith(b"\n"):
            self.measured = json.loads(self._answer)
        if not said or self.measured:
            self.close()

    def _receive(self) -> None:
        count = self._connection.recv_into(self._buffer, PIECE, DISCARD)
        if self.measured:  # the sender has been told; it will end when it has read it
            if not count:
                self.close()
            return
        if count:
            self._meter.take(count, time.monotonic())
        else:  # it ends when the sender ends, so that a byte too many is found
            self._finish()
            self.close()

    def _time_is_up(self) -> None:
        if not self.measured and self._connection.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._finish()

    def _finish(self) -> None:
        self.measured = self._meter.result()
        if self._wish.way == "down":
            self.close()
        else:
            self._connection.send(json.dumps(self.measured).encode() + b"\n")
            self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Have done with it."""
        if self._connection.fileno() >= 0:
            with contextlib.suppress(KeyError):
                self._loop.selector.unregister(self._connection)
            self._connection.close()


def read_sum(connection: socket.socket, total: int) -> str:
    """Read so many bytes and return their SHA-256."""
    digest = hashlib.sha256()
    while total and (data := connection.recv(min(PIECE, total))):
        total -= len(data)
        digest.update(data)
    return digest.hexdigest()


class Starer:
    """Standard input of a process: when it ends, so does the process, after its last words."""

    def __init__(self, last_words: Callable[[], None] = lambda: None) -> None:
        self._last_words = last_words

    def ready(self, events: int) -> None:
        """Leave."""
        if not os.read(0, 4096):
            self._last_words()
            sys.exit()
