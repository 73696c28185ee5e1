"""What stops reading, sends too fast or never answers; and what that costs the daemon."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import queue
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import psutil

from tests.e2e.bed.ports import LOOPBACK
from tests.e2e.bed.servers import random_bytes
from tests.e2e.bed.wait import POLL

MIB = 1 << 20
CHUNK = 65536

_LINGER_RESET = struct.pack("ii", 1, 0)
_seeds = itertools.count(random.randrange(1 << 30))


class Memory:
    """The resident memory of a process, from a moment on."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._before = self._now()
        self._peak = self._before

    def _now(self) -> int:
        return int(self._process.memory_info().rss)

    @property
    def grown(self) -> int:
        """Bytes more than at the beginning, now."""
        now = self._now()
        self._peak = max(self._peak, now)
        return now - self._before

    @property
    def peak(self) -> int:
        """Bytes more than at the beginning, at the worst moment at which somebody looked."""
        self.grown  # noqa: B018 - this is a look too
        return self._peak - self._before

    def settled(self, look: Callable[[], object], *, quiet: float = 0.7, within: float = 20) -> None:
        """Wait until what ``look`` returns has not changed for ``quiet`` seconds, and watch meanwhile."""
        __tracebackhide__ = True
        last, since = look(), time.monotonic()
        deadline = since + within
        while time.monotonic() - since < quiet:
            assert time.monotonic() < deadline, f"after {within:g} s there is still something new: {last!r}"
            time.sleep(POLL)
            self.grown  # noqa: B018
            now = look()
            if now != last:
                last, since = now, time.monotonic()


def reset(connection: socket.socket) -> None:
    """Close a connection so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    connection.close()


class Pushing:
    """Sends random bytes in a thread for as long as somebody takes them, and knows their SHA-256."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._digest = hashlib.sha256()
        self._stop = threading.Event()
        self._random = random.Random(next(_seeds))
        self.sent = 0  #: bytes the system has taken so far
        self._thread = threading.Thread(target=self._push, daemon=True)
        connection.settimeout(None)
        self._thread.start()

    def _push(self) -> None:
        block = self._random.randbytes(CHUNK)
        with contextlib.suppress(OSError):
            while not self._stop.is_set():
                view = memoryview(block)
                while view:
                    count = self._connection.send(view)
                    self._digest.update(view[:count])
                    self.sent += count
                    view = view[count:]
                block = block[1:] + block[:1]  # bytes that are lost, doubled or exchanged change the sum
            self._connection.shutdown(socket.SHUT_WR)

    def finish(self, *, within: float = 20) -> str:
        """End after what is being sent; return what a `Digest` answers to all of it."""
        self._stop.set()
        self._thread.join(within)
        assert not self._thread.is_alive(), "what was sent is still not taken"
        return f"{self.sent} {self._digest.hexdigest()}\n"


def answer(connection: socket.socket, *, within: float = 20) -> str:
    """Read to the end of the other side, which is a short text."""
    connection.settimeout(within)
    with connection.makefile("rb") as stream:
        return stream.read().decode()


class FullPort:
    """A port whose queue is full: whoever connects gets no answer, until `serve`. Linux.

    From then on it is a `servers.Digest`, and counts who is still there.
    """

    def __init__(self) -> None:
        self.host = LOOPBACK
        self._socket = socket.socket()
        self._socket.bind((LOOPBACK, 0))
        self._socket.listen(0)
        self.port = int(self._socket.getsockname()[1])
        self._fillers = [socket.create_connection((LOOPBACK, self.port))]  # one is what a queue of 0 takes
        self._clients: list[socket.socket] = []
        self._lock = threading.Lock()
        self._live = 0
        self.served = 0  #: who has come since

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def live(self) -> int:
        """Of those, who has not gone."""
        with self._lock:
            return self._live

    def serve(self) -> None:
        """Take everybody from now on."""
        for filler in self._fillers:
            filler.close()
        self._socket.listen(512)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._socket.accept()
                self._clients.append(client)
                with self._lock:
                    self.served += 1
                    self._live += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        digest, count = hashlib.sha256(), 0
        try:
            with contextlib.suppress(OSError):
                while data := client.recv(CHUNK):
                    digest.update(data)
                    count += len(data)
                client.sendall(f"{count} {digest.hexdigest()}\n".encode())
        finally:
            client.close()
            with self._lock:
                self._live -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._socket.close()
        for one in (*self._fillers, *self._clients):
            one.close()


class Service:
    """A service of one's own on loopback: ``serve`` has each client in a thread, and it is known who is there."""

    def __init__(self, serve: Callable[[socket.socket], object]) -> None:
        self.host = LOOPBACK
        self._serve = serve
        self._socket = socket.create_server((LOOPBACK, 0), backlog=1024)
        self.port = int(self._socket.getsockname()[1])
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.served = 0  #: who has come so far

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def live(self) -> int:
        """Who is there now."""
        with self._lock:
            return len(self._clients)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._socket.accept()
                with self._lock:
                    self.served += 1
                    self._clients.add(client)
                threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                self._serve(client)
        finally:
            client.close()
            with self._lock:
                self._clients.discard(client)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            left = list(self._clients)
        for client in left:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


def until_end(client: socket.socket) -> None:
    """Read and throw away until the other side ends or resets."""
    while client.recv(CHUNK):
        pass


_FLOOD = random_bytes(MIB, 7) * 2


def flood(client: socket.socket) -> None:
    """Send without end, as fast as it goes."""
    while True:
        client.sendall(_FLOOD)


def flooded(data: bytes, offset: int) -> bool:
    """Whether these bytes, a mebibyte at most, are what a `flood` sends from ``offset`` on."""
    begin = offset % MIB
    return _FLOOD[begin : begin + len(data)] == data


def say_and_leave(count: int, seed: int) -> Callable[[socket.socket], None]:
    """A service that says ``count`` bytes and closes at once, without waiting for anybody."""

    def serve(client: socket.socket) -> None:
        client.sendall(random_bytes(count, seed))

    return serve


def answer_afterwards(count: int, seed: int) -> Callable[[socket.socket], None]:
    """A service that reads to the end, and only then begins to say ``count`` bytes."""

    def serve(client: socket.socket) -> None:
        until_end(client)
        client.sendall(random_bytes(count, seed))

    return serve


@contextlib.contextmanager
def all_of(dial: Callable[[], socket.socket], count: int) -> Iterator[list[socket.socket]]:
    """Be so many clients at once."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(dial()) for _ in range(count)]


class FarAway:
    """A way to a port on which everything takes ``delay`` seconds in each direction."""

    def __init__(self, to: tuple[str, int], delay: float) -> None:
        self.host = LOOPBACK
        self.round_trips = 0  #: how often a client has said something after the server had
        self._spoke_last: socket.socket | None = None
        self._lock = threading.Lock()
        self._to = to
        self._delay = delay
        self._service = Service(self._serve)
        self.port = self._service.port

    def _serve(self, client: socket.socket) -> None:
        with socket.create_connection(self._to) as server:
            back = threading.Thread(target=self._carry, args=(server, client), daemon=True)
            back.start()
            self._carry(client, server, is_client=True)
            back.join()

    def _carry(self, source: socket.socket, target: socket.socket, *, is_client: bool = False) -> None:
        on_the_way: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def arrive() -> None:
            with contextlib.suppress(OSError):
                while True:
                    due, data = on_the_way.get()
                    time.sleep(max(0.0, due - time.monotonic()))
                    if not data:
                        target.shutdown(socket.SHUT_WR)
                        return
                    target.sendall(data)

        arriving = threading.Thread(target=arrive, daemon=True)
        arriving.start()
        data = b"x"
        while data:
            try:
                data = source.recv(CHUNK)
            except OSError:
                data = b""
            with self._lock:
                self.round_trips += is_client and self._spoke_last is not source
                self._spoke_last = source
            on_the_way.put((time.monotonic() + self._delay, data))
        arriving.join()

    def __enter__(self) -> Self:
        self._service.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._service.__exit__(kind, error, trace)
