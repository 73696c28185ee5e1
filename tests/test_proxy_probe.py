"""Asks a proxy as programs do; the proxy here is a list of answers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.bed.ports import free_port
from tunnels.core.proxy_address import ProxyAddress
from tunnels.core.socks_words import CONNECT, UDP_ASSOCIATE
from tunnels.errors import DialError
from tunnels.proxy_probe import ask, fetch, resolves_here

GRANTED = b"\x05\x00\x00\x01" + bytes(6)


@contextlib.contextmanager
def proxy(*answers: bytes) -> Iterator[tuple[ProxyAddress, list[bytes]]]:
    """Serve one client: an answer for whatever it sends, then the end."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client = server.accept()[0]
            with client, contextlib.suppress(OSError):
                for answer in answers:
                    heard.append(client.recv(65536))
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield ProxyAddress(*server.getsockname()), heard
        finally:
            thread.join(10)


@pytest.mark.parametrize("code", [0, 4, 7])
def test_the_code_of_the_reply_is_what_the_proxy_said(code: int) -> None:
    with proxy(b"\x05\x00", b"\x05" + bytes([code]) + b"\x00\x03\x04abcd\x00\x50") as (where, heard):
        assert ask(where, UDP_ASSOCIATE, "0.0.0.0", 0) == code
    assert heard[1].startswith(b"\x05\x03\x00\x03\x070.0.0.0")


@pytest.mark.parametrize("answers", [(b"\x05\xff",), (b"HTTP",), (b"\x05\x00", b"\x05"), ()])
def test_what_is_no_answer_is_an_error(answers: tuple[bytes, ...]) -> None:
    with proxy(*answers) as (where, _), pytest.raises(DialError):
        ask(where, CONNECT, "example.com", 80)


def test_a_proxy_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DialError, match="does not answer"):
        ask(ProxyAddress("127.0.0.1", free_port()), CONNECT, "example.com", 80)


def test_of_a_page_the_first_line_is_what_it_says() -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n192.0.2.7\nsecond\n"
    with proxy(b"\x05\x00", GRANTED, page) as (where, heard):
        assert fetch(where, "http://ip.example/?x=1") == "192.0.2.7"
    assert b"GET /?x=1 HTTP/1.1\r\nHost: ip.example\r\n" in heard[2]


@pytest.mark.parametrize(
    ("url", "answers"),
    [
        ("ftp://ip.example", None),
        ("http://", None),
        ("http://ip.example:99999/", None),
        ("http://ip.example/", (b"\x05\x00", b"\x05\x05\x00\x01" + bytes(6))),
        ("http://ip.example/", (b"\x05\x00", GRANTED, b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n")),
        ("http://ip.example/", (b"\x05\x00", GRANTED, b"junk\r\n\r\n")),
        ("https://ip.example/", (b"\x05\x00", GRANTED, b"no TLS here at all")),
    ],
)
def test_a_page_that_cannot_be_had_is_an_error(url: str, answers: tuple[bytes, ...] | None) -> None:
    if answers is None:
        with pytest.raises(DialError):
            fetch(ProxyAddress("127.0.0.1", 1), url)
        return
    with proxy(*answers) as (where, _), pytest.raises(DialError):
        fetch(where, url)


def test_what_resolves_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolves_here("localhost")
    assert not resolves_here("no-such-name.invalid")
    assert not resolves_here("x" * 300)
