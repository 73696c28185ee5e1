"""What a port has to carry, as questions that any tunnel can be asked, also plain ``ssh -N``.

Each function takes the way to a service: an address, or for SOCKS a function that connects. Each raises
`AssertionError` with what came instead.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.e2e.bed.clients import DatabaseClient, End, Talk, talk_over
from tests.e2e.bed.ports import LOOPBACK
from tests.e2e.bed.servers import random_bytes

MIB = 1 << 20

Dial = Callable[[], socket.socket]

_seeds = itertools.count(random.randrange(1 << 30))


def dialing(port: int, host: str = LOOPBACK) -> Dial:
    """Return a function that connects to a port."""
    return lambda: socket.create_connection((host, port), timeout=15)


def _said(dial: Dial, data: bytes, *, half_close: bool = True) -> Talk:
    with dial() as connection:
        return talk_over(connection, data, half_close=half_close)


def check_echo(dial: Dial, count: int = MIB) -> None:
    """Random bytes go there and come back, at the same time, and then both directions end cleanly."""
    data = random_bytes(count, next(_seeds))
    answer = _said(dial, data)
    assert answer.end is End.EOF, answer.end
    assert len(answer.data) == len(data)
    assert _sum(answer.data) == _sum(data), "the bytes that came back are not those that were sent"


def check_download(dial: Dial, count: int = MIB) -> None:
    """Random bytes come from a `Source`, and then a clean end."""
    seed = next(_seeds)
    answer = _said(dial, f"{count} {seed}\n".encode(), half_close=False)
    assert answer.end is End.EOF, answer.end
    assert len(answer.data) == count
    assert _sum(answer.data) == _sum(random_bytes(count, seed)), "other bytes came than were sent"


def check_upload(dial: Dial, count: int = MIB) -> None:
    """Random bytes go to a `Digest`, which answers only after our direction has ended."""
    data = random_bytes(count, next(_seeds))
    answer = _said(dial, data)
    assert answer == Talk(f"{count} {_sum(data)}\n".encode(), End.EOF)


def check_server_may_end_first(put: Dial, get: Dial, count: int = MIB) -> None:
    """A `Mailbox` ends its direction first; what the client sends after that still arrives."""
    seed = next(_seeds)
    data = random_bytes(count, seed)
    with put() as connection:
        connection.sendall(f"put letter-{seed}\n".encode())
        with connection.makefile("rb") as stream:
            assert stream.read() == b"go\n", "the end of the server's direction does not come through"
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = _said(get, f"get letter-{seed}\n".encode(), half_close=False)
    assert answer == Talk(f"{count} {_sum(data)}\n".encode(), End.EOF)


def check_database(port: int, host: str = LOOPBACK, questions: int = 20) -> None:
    """A database session of many round trips works."""
    with DatabaseClient(host, port) as database:
        for number in range(questions):
            assert database.md5(f"question {number} of {next(_seeds)}")


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- clients that keep coming ---------------------------------------------------------------------


@dataclass(frozen=True)
class Visit:
    """One client: when it came and was served (``time.monotonic()``), and what happened to it."""

    came: float
    served: float
    outcome: str  #: ``served``, or the name of what went wrong


class Visitors:
    """A client connects every ``interval`` seconds, says something unique, and wants to hear it again."""

    def __init__(self, port: int, *, interval: float = 0.1, patience: float = 30) -> None:
        self._port = port
        self._interval = interval
        self._patience = patience
        self._visits: list[Visit] = []
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._door = threading.Thread(target=self._keep_coming, daemon=True)

    def _keep_coming(self) -> None:
        next_time = time.monotonic()
        for number in itertools.count():
            visitor = threading.Thread(target=self._visit, args=(number,), daemon=True)
            visitor.start()
            self._threads.append(visitor)
            next_time += self._interval
            if self._stop.wait(max(0.0, next_time - time.monotonic())):
                return

    def _visit(self, number: int) -> None:
        came = time.monotonic()
        question = f"visitor {number}\n".encode()
        try:
            with socket.create_connection((LOOPBACK, self._port), timeout=self._patience) as connection:
                connection.sendall(question)
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as stream:
                    answer = stream.read()
            outcome = "served" if answer == question else f"cut short: {answer!r}"
        except OSError as exc:
            outcome = type(exc).__name__
        self._visits.append(Visit(came, time.monotonic(), outcome))

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Let them come for as long as the ``with`` block lasts, and wait until the last one is done."""
        self._door.start()
        try:
            yield
        finally:
            self._stop.set()
            self._door.join()
            for visitor in self._threads:
                visitor.join(self._patience + 5)

    @property
    def visits(self) -> list[Visit]:
        """Those that are over, in the order in which they came."""
        return sorted(self._visits, key=lambda visit: visit.came)
