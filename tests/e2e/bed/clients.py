"""Small clients for the near side of a tunnel.

They run in the test, and as ``python3 clients.py`` on the server's side of a remote forward, which may
be a container. Nothing but the standard library is used, and nothing of this repository.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import socket
import struct
import sys
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CHUNK = 65536


class End(enum.Enum):
    """How a conversation ended, as the client sees it; the value is this program's exit code."""

    EOF = 0  #: the other side has said everything
    RESET = 10  #: ECONNRESET or EPIPE: what came so far is not all
    REFUSED = 11  #: ECONNREFUSED
    TIMEOUT = 12


@dataclass(frozen=True)
class Talk:
    """What came back, and how it ended."""

    data: bytes
    end: End


def talk(
    host: str,
    port: int,
    data: bytes,
    *,
    half_close: bool = True,
    stop_after: int | None = None,
    timeout: float = 15,
) -> Talk:
    """Send ``data``, end our direction (``half_close``), and read until the other side ends.

    Sending and receiving go on at the same time. With ``stop_after`` the conversation is over as soon as
    that many bytes have come back.
    """
    try:
        connection = socket.create_connection((host, port), timeout=timeout)
    except ConnectionRefusedError:
        return Talk(b"", End.REFUSED)
    except ConnectionResetError:  # so soon that connecting with a time limit sees it (connect(2), SO_ERROR)
        return Talk(b"", End.RESET)
    except TimeoutError:
        return Talk(b"", End.TIMEOUT)
    with connection:
        return talk_over(connection, data, half_close=half_close, stop_after=stop_after)


def talk_over(
    connection: socket.socket, data: bytes, *, half_close: bool = True, stop_after: int | None = None
) -> Talk:
    """Do the same over a connection that is there already."""

    was_reset = threading.Event()

    def send() -> None:
        with contextlib.suppress(OSError):
            try:
                connection.sendall(data)
            except ConnectionResetError:  # said once, to whoever asks first; the other one sees an end
                was_reset.set()
                raise
            if half_close:
                connection.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    received = bytearray()
    end = End.EOF
    try:
        while stop_after is None or len(received) < stop_after:
            piece = connection.recv(CHUNK)
            if not piece:
                break
            received += piece
    except TimeoutError:
        end = End.TIMEOUT
    except OSError:
        end = End.RESET
    sender.join(timeout=5)
    return Talk(bytes(received), End.RESET if was_reset.is_set() else end)


def fetch(host: str, port: int, count: int, seed: int) -> Talk:
    """Let a `servers.Source` send ``count`` bytes."""
    return talk(host, port, f"{count} {seed}\n".encode(), half_close=False)


def http_get(host: str, port: int, path: str = "/") -> str:
    """Return the page of a web server, or raise `AssertionError` if that is not what answers."""
    answer = talk(host, port, f"GET {path} HTTP/1.0\r\n\r\n".encode(), half_close=False)
    head, _, body = answer.data.partition(b"\r\n\r\n")
    assert answer.end is End.EOF, answer
    assert b" 200 " in head.split(b"\r\n")[0], answer
    return body.decode()


class DatabaseClient:
    """What ``psql`` does: logs in to PostgreSQL and asks one question after the other."""

    def __init__(self, host: str, port: int, *, timeout: float = 15) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._stream = self._socket.makefile("rb")
        parameters = b"user\0postgres\0database\0postgres\0\0"
        self._socket.sendall(struct.pack("!II", len(parameters) + 8, 196608) + parameters)
        kind, body = self._message()
        assert (kind, body) == (b"R", b"\0\0\0\0"), f"not let in: {kind!r} {body!r}"
        self._until_ready()

    def _exactly(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise EOFError("the database hung up")
        return data

    def _message(self) -> tuple[bytes, bytes]:
        kind = self._exactly(1)
        (length,) = struct.unpack("!I", self._exactly(4))
        return kind, self._exactly(length - 4)

    def _until_ready(self) -> list[str]:
        values: list[str] = []
        while True:
            kind, body = self._message()
            if kind == b"Z":
                return values
            if kind == b"E":
                raise AssertionError(f"the database says {body!r}")
            if kind == b"D":
                (length,) = struct.unpack_from("!i", body, 2)
                values.append(body[6 : 6 + length].decode())

    def query(self, sql: str) -> list[str]:
        """Return the first column of every row."""
        text = sql.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack("!I", len(text) + 4) + text)
        return self._until_ready()

    def md5(self, text: str) -> bool:
        """Ask for the MD5 sum of a text, and say whether the answer is right."""
        return self.query(f"select md5('{text}')") == [hashlib.md5(text.encode()).hexdigest()]

    def close(self) -> None:
        """Say good-bye as ``psql`` does."""
        with contextlib.suppress(OSError):
            self._socket.sendall(b"X\0\0\0\x04")
        self._stream.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def main() -> None:
    """``talk HOST PORT``: standard input to the server, its answer to standard output."""
    verb, host, port = sys.argv[1:4]
    if verb != "talk":
        raise SystemExit(f"unknown verb {verb}")
    answer = talk(host, int(port), sys.stdin.buffer.read(), half_close="--keep-open" not in sys.argv)
    sys.stdout.buffer.write(answer.data)
    sys.stdout.buffer.flush()
    raise SystemExit(answer.end.value)


if __name__ == "__main__":
    main()
