"""Small servers for the far side of a tunnel.

They run in threads of the test, and as ``python3 servers.py`` in a container. Nothing but the standard
library is used, and nothing of this repository.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import random
import re
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
CHUNK = 65536
PORTS = {"echo": 7007, "source": 7019, "digest": 7009, "ticker": 7013, "mailbox": 7025, "web": 8080}
"""Where the servers listen in a container."""

GREETING = "hello from behind the bastion"


def random_bytes(count: int, seed: int) -> bytes:
    """Return bytes that both ends can make and that do not compress; the same for the same seed."""
    return random.Random(seed).randbytes(count)


class _Threads(socketserver.ThreadingTCPServer):
    """One thread for each client; stopping waits for none of them."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 512

    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        self.clients: list[socket.socket] = []
        self.accepted = 0
        super().__init__(address, handler)

    def process_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self.accepted += 1
        self.clients.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: clients of tests that cut connections do end in the middle."""


class Server:
    """Accepts clients at ``host:port`` for as long as its ``with`` block lasts."""

    handler: type[socketserver.BaseRequestHandler]

    def __init__(self, host: str = LOOPBACK, port: int = 0) -> None:
        self._server = _Threads((host, port), self.handler)
        self.host = host
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def accepted(self) -> int:
        """How many clients have come so far."""
        return self._server.accepted

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        for client in self._server.clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def serve_forever(self) -> None:
        """Serve in this thread, until the process ends."""
        self._server.serve_forever()


def serving(serve: Callable[[socket.socket], None]) -> type[socketserver.BaseRequestHandler]:
    """Make a request handler of a function that has one client to itself."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serve(self.request)

    return Handler


def _echo(client: socket.socket) -> None:
    while data := client.recv(CHUNK):
        client.sendall(data)
    client.shutdown(socket.SHUT_WR)


def _source(client: socket.socket) -> None:
    with client.makefile("r") as lines:
        count, seed = map(int, lines.readline().split())
    client.sendall(random_bytes(count, seed))
    client.shutdown(socket.SHUT_WR)
    with contextlib.suppress(OSError):
        client.recv(1)  # closing before the client has ended could cost it what is still on its way


def _digest(client: socket.socket) -> None:
    digest = hashlib.sha256()
    count = 0
    while data := client.recv(CHUNK):
        digest.update(data)
        count += len(data)
    client.sendall(f"{count} {digest.hexdigest()}\n".encode())
    client.shutdown(socket.SHUT_WR)


def _ticker(client: socket.socket) -> None:
    stop = threading.Event()
    number = 0
    while not stop.wait(0.01):
        number += 1
        client.sendall(f"tick {number}\n".encode())


_posted: dict[str, str] = {}
_posting = threading.Condition()


def _mailbox(client: socket.socket) -> None:
    with client.makefile("rb") as stream:
        verb, key = stream.readline().decode().split()
        if verb == "put":
            client.sendall(b"go\n")
            client.shutdown(socket.SHUT_WR)
            letter = stream.read()
            with _posting:
                _posted[key] = f"{len(letter)} {hashlib.sha256(letter).hexdigest()}"
                _posting.notify_all()
        else:
            with _posting:
                _posting.wait_for(lambda: key in _posted, timeout=10)
                client.sendall(f"{_posted.get(key, 'nothing came')}\n".encode())
            client.shutdown(socket.SHUT_WR)


class Echo(Server):
    """Sends back what it reads, and ends when the client has ended."""

    handler = serving(_echo)


class Source(Server):
    """Reads ``COUNT SEED``, sends that many random bytes and ends its direction."""

    handler = serving(_source)


class Digest(Server):
    """Reads until the client ends its direction, and only then answers: how much, and its SHA-256."""

    handler = serving(_digest)


class Mailbox(Server):
    """``put KEY``: ends its own direction at once and goes on reading; ``get KEY``: what it read."""

    handler = serving(_mailbox)


class Ticker(Server):
    """Sends a line every ten milliseconds and never ends by itself."""

    handler = serving(_ticker)


class Web(Server):
    """A web site of one page."""

    class handler(http.server.BaseHTTPRequestHandler):  # noqa: N801
        def do_GET(self) -> None:
            page = f"{GREETING}: {self.path}\n".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stay silent."""


# --- a database -----------------------------------------------------------------------------------


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _row(value: bytes) -> bytes:
    field = b"md5\0" + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0)
    return (
        _message(b"T", struct.pack("!h", 1) + field)
        + _message(b"D", struct.pack("!hi", 1, len(value)) + value)
        + _message(b"C", b"SELECT 1\0")
    )


_READY = _message(b"Z", b"I")


def _database(client: socket.socket) -> None:
    stream = client.makefile("rb")

    def exactly(count: int) -> bytes:
        data = stream.read(count)
        if len(data) < count:
            raise EOFError
        return data

    with contextlib.suppress(EOFError, OSError):
        while True:  # SSLRequest and GSSENCRequest are answered "no", then comes the StartupMessage
            (length,) = struct.unpack("!I", exactly(4))
            (code,) = struct.unpack("!I", exactly(4))
            exactly(length - 8)
            if code == 196608:
                break
            client.sendall(b"N")
        client.sendall(
            _message(b"R", struct.pack("!I", 0)) + _message(b"S", b"server_version\x0015\0") + _READY
        )
        while True:
            kind = exactly(1)
            (length,) = struct.unpack("!I", exactly(4))
            body = exactly(length - 4)
            if kind == b"X":
                return
            question = re.fullmatch(rb"select md5\('([^']*)'\);?\0", body)
            if kind == b"Q" and question:
                answer = _row(hashlib.md5(question[1]).hexdigest().encode())
            else:
                answer = _message(b"E", b"SERROR\0C0A000\0Monly select md5() is known here\0\0")
            client.sendall(answer + _READY)


class Database(Server):
    """Speaks enough of PostgreSQL's protocol (version 3, simple queries) for ``select md5('…')``.

    The real one stands behind the bastion of ``docker-compose.test.yml``; tests ask both the same.
    """

    handler = serving(_database)


def main() -> None:
    """Serve everything but the database on every address of a container."""
    kinds: dict[str, type[Server]] = {
        "echo": Echo,
        "source": Source,
        "digest": Digest,
        "ticker": Ticker,
        "mailbox": Mailbox,
        "web": Web,
    }
    wanted = sys.argv[1:] or list(kinds)
    threads = [threading.Thread(target=kinds[name]("", PORTS[name]).serve_forever) for name in wanted]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main()
