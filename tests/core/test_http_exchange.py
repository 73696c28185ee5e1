"""A plain request and its answer: what the server sees, what the client sees, and what neither does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.core.http_body import Body, ChunkedBody, SizedBody
from tunnels.core.http_exchange import Exchange
from tunnels.core.http_head import MAX_HEAD
from tunnels.core.socks import Fail

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def exchange(
    body: Body | None = None, *, method: bytes = b"GET", minor: int = 1, upgrade: bool = False
) -> Exchange:
    body = body or SizedBody(None)
    return Exchange(HEAD, body, method=method, minor=minor, upgrade=upgrade, where="a:80")


def test_the_head_goes_first_and_once() -> None:
    it = exchange(SizedBody(6))

    assert it.request(b"abc") == HEAD + b"abc"
    assert it.request(b"def") == b"def"


def test_what_a_client_sends_after_its_request_goes_nowhere() -> None:
    it = exchange()

    assert it.request(b"GET http://b/ HTTP/1.1\r\n\r\n") == HEAD
    assert it.request(b"GET http://c/ HTTP/1.1\r\n\r\n") == b""
    it.response(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert it.request(b"GET http://d/ HTTP/1.1\r\n\r\n") == b""


def test_a_body_that_makes_no_sense_is_told_to_a_client_that_has_no_answer_yet() -> None:
    early, late = exchange(ChunkedBody()), exchange(ChunkedBody())
    late.response(b"HTTP/1.1 200 OK\r\n\r\n")

    told, not_told = early.request(b"nonsense\r\n"), late.request(b"nonsense\r\n")

    assert isinstance(told, Fail)
    assert told.reply.startswith(b"HTTP/1.1 400 ")
    assert isinstance(not_told, Fail)
    assert not_told.reply == b""  # in the middle of an answer it would be read as a part of it


def test_a_client_that_ends_in_the_middle_of_its_request_does_not_look_complete() -> None:
    whole, cut, chunked = exchange(), exchange(SizedBody(5)), exchange(ChunkedBody())
    cut.request(b"1234")
    chunked.request(b"5\r\nhello\r\n")

    assert whole.request_ended() is None
    assert isinstance(cut.request_ended(), Fail)
    assert isinstance(chunked.request_ended(), Fail)
    cut.request(b"5")
    assert cut.request_ended() is None


def test_the_client_is_told_that_the_connection_ends_whatever_the_server_says() -> None:
    it = exchange()

    got = it.response(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n"
        b"Proxy-Authenticate: Basic\r\nSet-Cookie: a=b\r\nContent-Length: 4\r\n\r\nbo"
    )

    assert got == (b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbo")


def test_the_body_of_an_answer_passes_as_it_is() -> None:
    it = exchange()
    it.response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"5\r\nhello\r\n"

    assert it.response(piece) is piece


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"),
        (b"Content-Length: 4\r\ncontent-length: 4\r\n", b"Content-Length: 4\r\n"),
        (b"Content-Length: 4, 4\r\n", b"Content-Length: 4\r\n"),
    ],
)
def test_an_answer_says_once_where_it_ends(fields: bytes, left: bytes) -> None:
    got = exchange().response(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")

    assert got == b"HTTP/1.1 200 OK\r\n" + left + b"Connection: close\r\n\r\n"


def test_an_answer_that_announces_another_one_passes_and_the_real_one_follows() -> None:
    it = exchange(SizedBody(5))

    first = it.response(b"HTTP/1.1 100 Continue\r\nConnection: x\r\nX: y\r\n\r\nHTTP/1.1 10")
    second = it.response(b"3 Early Hints\r\nLink: l\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")

    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert second == (
        b"HTTP/1.1 103 Early Hints\r\nLink: l\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    )


def test_a_client_of_http_1_0_gets_the_real_answer_only() -> None:
    got = exchange(minor=0).response(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")

    assert got == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


def test_a_websocket_is_let_through_in_both_directions() -> None:
    it = exchange(upgrade=True)
    it.request(b"")

    got = it.response(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: s\r\n\r\n\x81\x00"
    )

    assert got == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"
    )
    assert it.request(b"\x81\x01x") == b"\x81\x01x"
    assert it.response(b"\x88\x00") == b"\x88\x00"
    assert it.request_ended() is None
    assert it.response_ended() == b""


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no answer"),
        (b"ICY 200 OK\r\n\r\n", "no answer"),
        (b"HTTP/1.1 99 Low\r\n\r\n", "no answer"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "nobody has asked for"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", "not one number"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: four\r\n\r\n", "not one number"),
        (b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", "control character"),
        (b"\r\n", "empty"),
        (b"x" * (MAX_HEAD + 1), "larger than"),
    ],
)
def test_an_answer_that_makes_no_sense_becomes_one_that_says_so(data: bytes, why: str) -> None:
    got = exchange().response(data)

    assert isinstance(got, Fail)
    assert got.reply.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"a:80 did not answer in HTTP" in got.reply
    assert why in got.reason


def test_a_server_that_hangs_up_without_an_answer_is_told_of() -> None:
    silent, cut, head = exchange(), exchange(), exchange(method=b"HEAD")
    cut.response(b"HTTP/1.1 200 O")

    for it in (silent, cut):
        assert b"a:80 has closed the connection without an answer." in it.response_ended()
        assert it.response_ended() == b""
    assert head.response_ended().endswith(b"\r\n\r\n")


def test_an_answer_that_has_begun_ends_as_the_server_ends_it() -> None:
    it = exchange()
    it.response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12")

    assert it.response_ended() == b""


def test_repr_shows_no_cookie() -> None:
    it = Exchange(
        b"GET / HTTP/1.1\r\nCookie: secret\r\n\r\n",
        SizedBody(None),
        method=b"GET",
        minor=1,
        upgrade=False,
        where="a",
    )

    assert repr(it) == "<Exchange with a, not answered>"


def outcome(chunks: list[bytes], *, upgrade: bool, minor: int) -> tuple[bytes, bool]:
    it = exchange(upgrade=upgrade, minor=minor)
    got = b""
    for chunk in chunks:
        passed = it.response(chunk)
        if isinstance(passed, Fail):
            return got + passed.reply, True
        got += passed
    return got, False


PIECES = st.sampled_from(
    [
        *(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 x\r\n", b"\r\n", b"\n"),
        *(b"Connection: a\r\n", b"Content-Length: 5\r\n", b"hello", b"x" * 40_000),
    ]
)


@settings(deadline=None)
@given(st.lists(PIECES | st.binary(max_size=9), max_size=9), st.booleans(), st.integers(0, 1))
def test_how_an_answer_is_cut_makes_no_difference(chunks: list[bytes], upgrade: bool, minor: int) -> None:
    whole = outcome([b"".join(chunks)], upgrade=upgrade, minor=minor)

    assert outcome(chunks, upgrade=upgrade, minor=minor) == whole
