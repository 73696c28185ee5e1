"""The head of a message: what is read, what is refused, and what does not travel further."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.core.http_head import MAX_FIELDS, MAX_HEAD, Head, HeadReader, Rejected, write_head

ANY = re.compile(rb"(?:GET|HTTP/).*")


def read(data: bytes, *, lenient: bool = False) -> Head:
    found = HeadReader(ANY, lenient=lenient).receive(data)
    assert found is not None
    return found[0]


def refused(data: bytes, *, lenient: bool = False) -> Rejected:
    with pytest.raises(Rejected) as caught:
        HeadReader(ANY, lenient=lenient).receive(data)
    return caught.value


def test_a_head_is_its_first_line_and_its_fields_in_order_and_what_follows_is_left() -> None:
    found = HeadReader(ANY).receive(
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX:\t two words \r\n\r\nbody\r\n\r\n"
    )

    assert found == (
        Head(b"GET / HTTP/1.1", ((b"Host", b"a"), (b"X-Empty", b""), (b"X", b"two words"))),
        b"body\r\n\r\n",
    )


def test_what_is_written_reads_the_same() -> None:
    head = read(b"GET / HTTP/1.1\r\nHost:a\r\nX: y\r\n\r\n")

    assert write_head(head.first, head.fields) == b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"


def test_fields_are_found_whatever_their_case_and_lists_over_several_lines() -> None:
    head = read(b"GET / HTTP/1.1\r\nConnection: Close, X-One\r\ncONNECTION: x-two,,\r\n\r\n")

    assert head.values(b"connection") == [b"Close, X-One", b"x-two,,"]
    assert head.options(b"connection") == {b"close", b"x-one", b"x-two"}
    assert head.options(b"upgrade") == set()


def test_what_concerns_one_connection_does_not_travel_and_neither_does_what_connection_names() -> None:
    kept = b"Accept: */*\r\nCookie: a=b\r\n"
    dropped = (
        b"Connection: close, X-Secret\r\nProxy-Connection: keep-alive\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
        b"Trailer: X\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nProxy-Authorization: Basic eDp5\r\n"
        b"Proxy-Authenticate: Basic\r\nx-secret: 1\r\nHost: a\r\n"
    )
    head = read(b"GET / HTTP/1.1\r\n" + dropped + kept + b"\r\n")

    assert head.onward(but=[b"host"]) == [(b"Accept", b"*/*"), (b"Cookie", b"a=b")]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (b"GET / HTTP/1.1\nHost: a\r\n", "CR LF"),
        (b"GET / HTTP/1.1\r\nHost: a\n", "CR LF"),
        (b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n", "control character"),
        (b"GET / HTTP/1.1\r\nHost: a\x00\r\n", "control character"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n", "no field"),
        (b"GET / HTTP/1.1\r\nHost\r\n", "no field"),
        (b"GET / HTTP/1.1\r\n: a\r\n", "no field"),
        (b"GET / HTTP/1.1\r\nB\xc3\xa4r: a\r\n", "no field"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n", "second line"),
        (b"GET / HTTP/1.1\r\n X: b\r\n", "second line"),
        (b"\r\n", "first line is empty"),
    ],
)
def test_a_request_that_two_could_read_differently_is_refused(lines: bytes, reason: str) -> None:
    rejected = refused(lines + b"\r\n")

    assert rejected.status == 400
    assert reason in rejected.reason


def test_an_answer_may_be_as_old_as_the_server_that_sends_it() -> None:
    head = read(b"HTTP/1.0 200 OK\nServer : x\nX-Long: one\n\t two\n\n", lenient=True)

    assert head == Head(b"HTTP/1.0 200 OK", ((b"Server", b"x"), (b"X-Long", b"one two")))
    assert refused(b"HTTP/1.0 200 OK\n folded\n\n", lenient=True).status == 400
    assert refused(b"HTTP/1.0 200 OK\nno field\n\n", lenient=True).status == 400


def test_a_first_line_that_is_none_is_refused_before_there_is_more() -> None:
    assert refused(b"SSH-2.0-x\r\n").reason == "the first line is no request"
    assert refused(b"SSH-2.0-x\n", lenient=True).reason == "the first line is no answer"


def test_a_head_has_limits_and_it_is_said_which_one_was_passed() -> None:
    line = b"GET / HTTP/1.1\r\n"
    fields = b"".join(b"X%d: y\r\n" % number for number in range(MAX_FIELDS))
    filler = b"X: " + b"y" * (MAX_HEAD - len(line) - 3 - 4) + b"\r\n"

    assert len(read(line + fields + b"\r\n").fields) == MAX_FIELDS
    assert refused(line + fields + b"One: more\r\n\r\n").status == 431
    assert read(line + filler + b"\r\n").fields
    assert refused(line + filler + b"123").status == 431
    assert refused(b"GET /" + b"a" * MAX_HEAD).status == 414
    assert refused(b"HTTP/1.1 200 " + b"a" * MAX_HEAD, lenient=True).status == 431


def outcome(chunks: list[bytes], *, lenient: bool) -> object:
    """What comes of it: the head and the rest, a refusal, or nothing yet."""
    reader = HeadReader(ANY, lenient=lenient)
    for number, chunk in enumerate(chunks):
        try:
            found = reader.receive(chunk)
        except Rejected as error:
            assert len(reader._line) <= MAX_HEAD
            return error.status, error.reason
        assert len(reader._line) <= MAX_HEAD
        if found is not None:
            return found[0], found[1] + b"".join(chunks[number + 1 :])
    return None


PIECES = st.sampled_from(
    [b"GET / HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: a", b"X", b": ", b" ", b"\t", b"a" * 70_000, b"\x00"]
)


@settings(deadline=None)
@given(st.lists(PIECES | st.binary(max_size=9), max_size=12), st.booleans(), st.integers(1, 50_000))
def test_how_a_head_is_cut_makes_no_difference(chunks: list[bytes], lenient: bool, size: int) -> None:
    data = b"".join(chunks)
    step = max(size, len(data) // 500)

    whole = outcome([data], lenient=lenient)

    assert outcome(chunks, lenient=lenient) == whole
    assert outcome([data[at : at + step] for at in range(0, len(data), step)], lenient=lenient) == whole
