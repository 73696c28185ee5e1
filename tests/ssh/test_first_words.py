"""What a server says instead of its version is noted, and asyncssh hears it all the same."""

from __future__ import annotations

from typing import Any

from tunnels.ssh import first_words
from tunnels.ssh.first_words import MAX_HEARD


class Conn:
    """As much of a connection of asyncssh as there is before the version has come."""

    def __init__(self) -> None:
        self._inpbuf = b""
        self._recv_handler = self._receive
        self.taken: list[bytes] = []
        self.version = ""

    def _receive(self) -> bool:
        line, newline, rest = self._inpbuf.partition(b"\n")
        if newline:
            self.taken.append(line)
            self._inpbuf = rest
        return bool(newline)

    def get_extra_info(self, name: str) -> Any:
        return self.version if name == "server_version" else None

    def comes(self, data: bytes) -> None:
        self._inpbuf += data
        while self._recv_handler():
            pass


def test_the_beginning_is_kept_however_it_is_cut_and_everything_is_passed_on() -> None:
    conn = Conn()
    heard = first_words.note(conn)
    conn.comes(b"HTT")
    assert heard() == b"HTT"
    conn.comes(b"P/1.1 400 Bad Request\r\nServer: hotel\r\n")
    conn.comes(b"<html>a page that is far longer than the line that came first</html>\n")
    assert heard() == b"HTTP/1.1 400 Bad Request\r\nServer: hotel\r\n"
    assert len(conn.taken) == 3


def test_it_is_bounded() -> None:
    conn = Conn()
    heard = first_words.note(conn)
    conn.comes(b"x" * 100_000)
    assert heard() == b"x" * MAX_HEARD


def test_of_an_ssh_server_nothing_is_kept_also_when_it_greets_first() -> None:
    conn = Conn()
    heard = first_words.note(conn)
    conn.comes(b"SSH-2.0-OpenSSH_9.9\r\n")
    assert heard() == b""
    conn.comes(b"welcome\r\n")
    conn.version = "SSH-2.0-OpenSSH_9.9"
    assert heard() == b""


def test_a_connection_of_another_asyncssh_is_not_harmed() -> None:
    first_words.listen(object(), lambda _heard: None)
