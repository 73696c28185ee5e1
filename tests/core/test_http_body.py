"""Where the body of a request ends, and that nothing behind it passes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.core.http_body import MAX_LINE, Body, ChunkedBody, SizedBody, body_of
from tunnels.core.http_head import MAX_FIELDS, Head, Rejected


def head(*fields: tuple[bytes, bytes]) -> Head:
    return Head(b"POST http://a/ HTTP/1.1", fields)


LENGTH, ENCODING = b"Content-Length", b"Transfer-Encoding"


def test_the_head_says_where_the_body_ends() -> None:
    nothing = body_of(head(), minor=1)
    none = body_of(head((LENGTH, b"0")), minor=1)
    some = body_of(head((LENGTH, b"5")), minor=0)
    chunked = body_of(head((ENCODING, b"Chunked")), minor=1)

    assert (nothing.done, nothing.fields) == (True, [])
    assert (none.done, none.fields) == (True, [(LENGTH, b"0")])
    assert (some.done, some.fields) == (False, [(LENGTH, b"5")])
    assert (chunked.done, chunked.fields) == (False, [(ENCODING, b"chunked")])


@pytest.mark.parametrize(
    ("fields", "minor", "status"),
    [
        ([(LENGTH, b"5"), (ENCODING, b"chunked")], 1, 400),
        ([(ENCODING, b"chunked"), (LENGTH, b"5")], 1, 400),
        ([(LENGTH, b"5"), (LENGTH, b"5")], 1, 400),
        ([(LENGTH, b"5, 5")], 1, 400),
        ([(LENGTH, b"+5")], 1, 400),
        ([(LENGTH, b"-5")], 1, 400),
        ([(LENGTH, b"5_0")], 1, 400),
        ([(LENGTH, b"0x5")], 1, 400),
        ([(LENGTH, b"")], 1, 400),
        ([(LENGTH, "\u0665".encode())], 1, 400),
        ([(LENGTH, b"9" * 19)], 1, 400),
        ([(ENCODING, b"chunked")], 0, 400),
        ([(ENCODING, b"gzip, chunked")], 1, 501),
        ([(ENCODING, b"chunked, identity")], 1, 501),
        ([(ENCODING, b"chunked"), (ENCODING, b"chunked")], 1, 501),
        ([(ENCODING, b"xchunked")], 1, 501),
        ([(ENCODING, b"")], 1, 501),
    ],
)
def test_a_head_that_leaves_room_for_two_opinions_is_refused(
    fields: list[tuple[bytes, bytes]], minor: int, status: int
) -> None:
    with pytest.raises(Rejected) as caught:
        body_of(head(*fields), minor=minor)

    assert caught.value.status == status


def test_a_body_of_a_known_size_passes_as_it_is_and_nothing_after_it() -> None:
    body = SizedBody(10)
    piece = b"12345"

    assert body.receive(piece) is piece  # not a copy
    halfway = body.done
    assert body.receive(b"67890GET http://elsewhere/") == b"67890"
    assert (halfway, body.done) == (False, True)
    assert body.receive(b"more") == b""


def test_chunks_pass_without_extensions_and_trailers_and_nothing_after_them() -> None:
    body = ChunkedBody()
    sent = b'5;name="x y"\r\nhello\r\n00A ; z\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET http://elsewhere/'

    assert body.receive(sent) == b"5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n"
    assert body.done
    assert body.receive(b"more") == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"5\nhello\r\n",
        b"\r\n",
        b"-5\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b"5 5\r\n",
        b"g\r\n",
        b"f" * 16 + b"\r\n",
        b"5;\x00\r\n",
        b"5;a\rb\r\n",
        b"5\r\nhello5\r\n",
        b"5\r\nhello\n",
        b"0\r\nno trailer\r\n",
        b"0\r\n: x\r\n",
        b"0\r\nX: a\rb\r\n",
        b"0\r\n" + b"X: y\r\n" * (MAX_FIELDS + 1),
        b"5;" + b"x" * MAX_LINE,
    ],
)
def test_a_chunk_that_two_could_read_differently_is_refused(sent: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        ChunkedBody().receive(sent)

    assert caught.value.status == 400


def test_a_chunk_passes_before_it_is_complete_and_nothing_is_collected() -> None:
    body = ChunkedBody()

    assert body.receive(b"fffff\r\n" + bytes(1000)) == b"fffff\r\n" + bytes(1000)
    assert body.receive(bytes(70_000)) == bytes(70_000)
    assert len(body._line) == 0


def outcome(body: Body, chunks: list[bytes]) -> tuple[bytes, str]:
    passed = b""
    for chunk in chunks:
        try:
            passed += body.receive(chunk)
        except Rejected as error:
            return b"", error.reason
        if isinstance(body, ChunkedBody):
            assert len(body._line) <= MAX_LINE
    return passed, "done" if body.done else "more"


PIECES = st.sampled_from([b"5", b"\r\n", b"hello", b"0", b"0\r\n\r\n", b";a=b", b"X: y", b"\n", b"f" * 5000])


@settings(deadline=None)
@given(st.lists(PIECES | st.binary(max_size=9), max_size=12), st.booleans(), st.integers(1, 4000))
def test_how_a_body_is_cut_makes_no_difference(chunks: list[bytes], sized: bool, size: int) -> None:
    def body() -> Body:
        return SizedBody(20) if sized else ChunkedBody()

    data = b"".join(chunks)
    step = max(size, len(data) // 500)

    whole = outcome(body(), [data])

    assert outcome(body(), chunks) == whole
    assert outcome(body(), [data[at : at + step] for at in range(0, len(data), step)]) == whole


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), st.binary(max_size=30))
def test_whatever_is_sent_in_chunks_arrives_and_nothing_else(pieces: list[bytes], more: bytes) -> None:
    sent = b"".join(b"%X;x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    wanted = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"

    assert ChunkedBody().receive(sent + more) == wanted
