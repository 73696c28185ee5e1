"""The first byte of a client decides what it is taken for; after it, all of them are the same to the caller."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.core.http_head import MAX_HEAD
from tunnels.core.proxy import ProxyServer
from tunnels.core.socks import ConnectRequest, Event, Fail, Send
from tunnels.errors import DialReason, InternalError

SOCKS5 = b"\x05\x01\x00" + b"\x05\x01\x00\x03\x01a\x00\x50"
SOCKS4A = b"\x04\x01\x00\x50\x00\x00\x00\x01\x00a\x00"
CONNECT = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"
PLAIN = b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"


def asked(data: bytes) -> ProxyServer:
    server = ProxyServer()
    assert server.receive(data)[-1] == ConnectRequest("a", 80)
    return server


@pytest.mark.parametrize(
    ("data", "success", "refusal"),
    [
        (SOCKS5, b"\x05\x00", b"\x05\x05"),
        (SOCKS4A, b"\x00\x5a", b"\x00\x5b"),
        (CONNECT, b"HTTP/1.1 200 ", b"HTTP/1.1 502 "),
        (PLAIN, b"", b"HTTP/1.1 502 "),
    ],
)
def test_each_client_is_answered_in_its_own_language(data: bytes, success: bytes, refusal: bytes) -> None:
    said = asked(data).succeeded()

    assert said.startswith(success)
    assert bool(said) == bool(success)
    assert asked(data).failed(DialReason.REFUSED).startswith(refusal)


@pytest.mark.parametrize("data", [SOCKS5, SOCKS4A, CONNECT])
def test_what_follows_the_request_of_a_tunnel_belongs_to_the_relay_as_it_is(data: bytes) -> None:
    server = asked(data + b"GET http://b/")

    assert server.exchange is None
    assert server.trailing == b"GET http://b/"
    assert server.in_http == data.startswith(b"CONNECT")


def test_what_follows_a_plain_request_passes_through_its_exchange() -> None:
    server = asked(PLAIN + b"GET http://b/")

    assert server.exchange is not None
    passed = server.exchange.request(server.trailing)
    assert passed == b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def test_tls_to_the_proxy_itself_is_told_in_plain_text() -> None:
    [fail] = ProxyServer().receive(b"\x16\x03\x01\x02\x00\x01")

    assert isinstance(fail, Fail)
    assert fail.reply.startswith(b"HTTP/1.1 400 ")
    assert b"without TLS" in fail.reply


@pytest.mark.parametrize("data", [b"get / http/1.1\r\n", b"ssh", b"{}", b"\r\n", b" "])
def test_a_text_is_answered_with_a_text(data: bytes) -> None:
    [fail] = ProxyServer().receive(data)

    assert isinstance(fail, Fail)
    assert b"SOCKS 4, 4a and 5, and HTTP" in fail.reply


@pytest.mark.parametrize("first", [0x00, 0x01, 0x03, 0x06, 0x80, 0xFF])
def test_bytes_that_nobody_could_read_an_answer_to_get_none(first: int) -> None:
    server = ProxyServer()
    [fail] = server.receive(bytes([first]) * 600)

    assert isinstance(fail, Fail)
    assert fail.reply == b""
    assert f"0x{first:02X}" in fail.reason
    assert server.receive(SOCKS5) == []


def test_only_a_client_of_http_is_told_that_it_was_too_slow() -> None:
    for data, said in (
        (b"", b""),
        (SOCKS5[:4], b""),
        (PLAIN[:9], b"HTTP/1.1 408 "),
        (CONNECT[:-1], b"HTTP/1.1 408 "),
    ):
        server = ProxyServer()
        server.receive(data)
        assert server.timed_out()[:13] == said


@pytest.mark.parametrize("data", [b"", SOCKS5[:5], PLAIN[:9], b"\x00"])
def test_an_answer_without_a_request_is_our_bug(data: bytes) -> None:
    server = ProxyServer()
    server.receive(data)

    with pytest.raises(InternalError):
        server.succeeded()
    with pytest.raises(InternalError):
        server.failed(DialReason.REFUSED)


def test_the_password_is_asked_for_in_every_language() -> None:
    def never(_name: bytes, _password: bytes) -> bool:
        return False

    answers = [ProxyServer(credentials=never).receive(data)[-1] for data in (SOCKS5, SOCKS4A, CONNECT, PLAIN)]

    assert all(isinstance(answer, Fail) for answer in answers)


def test_repr_shows_no_bytes() -> None:
    server = ProxyServer()
    assert repr(server) == "<ProxyServer: 'nothing said'>"
    server.receive(PLAIN)
    assert repr(server) == "<ProxyServer: <HttpProxy CONNECTING>>"


PIECES = st.sampled_from(
    [
        *(
            SOCKS5,
            SOCKS4A,
            CONNECT,
            PLAIN,
            b"GET ",
            b"POST ",
            b"CONNECT ",
            b"http://a/",
            b"a:80",
            b" HTTP/1.1\r\n",
        ),
        *(
            b"Host: a\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"X: ",
            b"\r\n",
            b"\n",
        ),
        *(b"hello", b"5\r\nhello\r\n", b"0\r\n\r\n", b"/proxy.pac", b"x" * 40_000),
    ]
)


def kept(server: ProxyServer) -> int:
    """Bytes of a stranger that are kept before it has asked for anything."""
    inner = server._server
    return 0 if inner is None else len(getattr(inner, "_buffer", b"")) or len(getattr(inner, "_start", b""))


def outcome(chunks: list[bytes], *, auth: bool) -> tuple[list[Event], bytes, bytes]:
    server = ProxyServer(credentials=(lambda _n, _p: True) if auth else None)
    events: list[Event] = []
    for chunk in chunks:
        events += server.receive(chunk)
        assert events or kept(server) <= MAX_HEAD
    exchange = server.exchange
    passed = b"" if exchange is None else exchange.request(server.trailing)
    return events, server.trailing, passed.reply if isinstance(passed, Fail) else passed


@settings(deadline=None)
@given(st.lists(PIECES | st.binary(max_size=20), max_size=10), st.booleans(), st.integers(1, 70_000))
def test_no_bytes_of_a_stranger_raise_and_how_they_are_cut_makes_no_difference(
    chunks: list[bytes], auth: bool, size: int
) -> None:
    data = b"".join(chunks)
    step = max(size, len(data) // 500)

    whole = outcome([data], auth=auth)

    assert outcome(chunks, auth=auth) == whole
    assert outcome([data[at : at + step] for at in range(0, len(data), step)], auth=auth) == whole
    assert sum(not isinstance(event, Send) for event in whole[0]) <= 1
