"""Frames come out as they went in, however they are cut; everything else ends the conversation."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.core.framing import MAX_FRAME_BYTES, FrameReader, encode
from tunnels.errors import InternalError, ProtocolViolation

#: Integers within what JSON implementations agree on, and no lone surrogates: those have their own test.
TEXT = st.text(max_size=6)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXT
VALUES = (
    LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(TEXT, st.lists(LEAVES, max_size=1), max_size=2)
)
MESSAGES = st.dictionaries(TEXT, VALUES, max_size=2)

#: No deadline: how long one example takes is the machine's affair.
quick = settings(max_examples=60, deadline=None)


def frame_of(length: int) -> bytes:
    """A good frame of exactly ``length`` bytes, with its line break."""
    around = len(b'{"a":""}\n')
    return b'{"a":"' + b"x" * (length - around) + b'"}\n'


def read(data: bytes) -> list[dict[str, object]]:
    return list(FrameReader().feed(data))


def test_a_frame_is_one_line_of_compact_json() -> None:
    assert encode({"id": 1, "verb": "up", "names": ["db"]}) == b'{"id":1,"verb":"up","names":["db"]}\n'


def test_a_line_break_in_a_value_does_not_end_the_frame() -> None:
    frame = encode({"text": "one\ntwo\r\n\u2028"})

    assert frame.count(b"\n") == 1
    assert read(frame) == [{"text": "one\ntwo\r\n\u2028"}]


def test_a_file_name_that_is_not_unicode_survives() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")

    assert read(encode({"path": name})) == [{"path": name}]


def test_what_a_person_types_is_read_too() -> None:
    assert read('  {"verb" : "up", "name": "caf\u00e9"}\r\n'.encode()) == [
        {"verb": "up", "name": "caf\u00e9"}
    ]


@quick
@given(st.lists(MESSAGES, max_size=4), st.data())
def test_any_messages_cut_at_any_places_come_out_equal(
    messages: list[dict[str, object]], data: st.DataObject
) -> None:
    wire = b"".join(map(encode, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=5)))
    reader = FrameReader()

    got = [
        message
        for start, end in itertools.pairwise([0, *cuts, len(wire)])
        for message in reader.feed(wire[start:end])
    ]

    assert got == messages
    assert reader.pending == 0


@quick
@given(MESSAGES)
def test_a_message_that_comes_byte_by_byte_comes_once_with_its_last_byte(message: dict[str, object]) -> None:
    reader = FrameReader()
    wire = encode(message)

    for byte in wire[:-1]:
        assert list(reader.feed(bytes([byte]))) == []
    assert reader.pending == len(wire) - 1
    assert list(reader.feed(b"\n")) == [message]


TOKENS = st.sampled_from(
    [b"\n", b"{", b"}", b"[", b'"', b":", b",", b"1", b"null", b'{"a":1}\n', b"NaN", b"1e999", b"\xff"]
)


@quick
@given(st.lists(st.binary(max_size=30) | TOKENS, max_size=30))
def test_random_bytes_raise_nothing_but_a_protocol_violation(chunks: list[bytes]) -> None:
    reader = FrameReader()
    for chunk in chunks:
        try:
            for message in reader.feed(chunk):
                assert isinstance(message, dict)
        except ProtocolViolation:
            assert repr(reader) == "<FrameReader broken>"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"", "not JSON"),
        (b"   ", "not JSON"),
        (b"GET / HTTP/1.1\r", "not JSON: Expecting value at character 0"),
        (b'{"a":1} {"b":2}', "not JSON: Extra data at character 8"),
        (b'{"a":', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),  # a byte order mark
        (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),  # which json.loads would take
        ('{"a":1}'.encode("utf-32-le"), "not JSON"),
        (b"[]", "not a JSON object but an array"),
        (b'"text"', "not a JSON object but a string"),
        (b"7", "not a JSON object but a number"),
        (b"7.5", "not a JSON object but a number"),
        (b"true", "not a JSON object but a boolean"),
        (b"null", "not a JSON object but null"),
        (b'{"a":NaN}', "a number that is none"),
        (b'{"a":Infinity}', "a number that is none"),
        (b'{"a":[-Infinity]}', "a number that is none"),
        (b'{"a":1e999}', "a number that is none"),
        (b'{"a":-1e999}', "a number that is none"),
        (b'{"a":' + b"9" * 5000 + b"}", "a number that is none"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)
def test_a_line_that_is_no_frame_is_a_violation_that_says_why(line: bytes, complaint: str) -> None:
    with pytest.raises(ProtocolViolation, match=complaint):
        read(line + b"\n")


def test_frames_before_a_broken_one_in_the_same_chunk_are_not_lost() -> None:
    reader = FrameReader()
    frames = reader.feed(encode({"n": 1}) + encode({"n": 2}) + b"oops\n" + encode({"n": 3}))

    assert [next(frames), next(frames)] == [{"n": 1}, {"n": 2}]
    with pytest.raises(ProtocolViolation):
        next(frames)


def test_nothing_is_believed_after_a_broken_frame() -> None:
    reader = FrameReader()
    with pytest.raises(ProtocolViolation) as first:
        list(reader.feed(b"oops\n"))

    for _ in range(2):
        with pytest.raises(ProtocolViolation, match=first.value.message):
            list(reader.feed(encode({"n": 3})))
    assert reader.pending == 0


def test_frames_of_an_iteration_that_was_given_up_come_with_the_next() -> None:
    reader = FrameReader()
    reader.feed(encode({"n": 1}))  # not iterated at all
    assert next(reader.feed(encode({"n": 2}) + encode({"n": 3}))) == {"n": 1}

    assert list(reader.feed(b"")) == [{"n": 2}, {"n": 3}]


def test_a_frame_may_be_as_long_as_the_bound_and_not_a_byte_longer() -> None:
    [message] = read(frame_of(MAX_FRAME_BYTES) + b"{")
    assert encode(message) == frame_of(MAX_FRAME_BYTES)

    with pytest.raises(ProtocolViolation, match="longer than"):
        read(frame_of(MAX_FRAME_BYTES + 1))
    with pytest.raises(InternalError, match="over the"):
        encode({"a": "x" + str(message["a"])})


def test_a_frame_that_is_too_long_is_found_before_it_is_finished() -> None:
    reader = FrameReader()
    assert list(reader.feed(encode({"n": 1}) + frame_of(MAX_FRAME_BYTES + 1)[: MAX_FRAME_BYTES - 1])) == [
        {"n": 1}
    ]

    with pytest.raises(ProtocolViolation, match="longer than"):
        list(reader.feed(b"x"))
    assert reader.pending == 0


def test_a_stranger_who_never_ends_a_line_cannot_fill_the_memory() -> None:
    reader = FrameReader()
    chunk = b"x" * 65536
    for _ in range(MAX_FRAME_BYTES // len(chunk) - 1):
        assert list(reader.feed(chunk)) == []

    for _ in range(3):
        with pytest.raises(ProtocolViolation):
            list(reader.feed(chunk))
    assert len(reader._buffer) == 0


def test_no_byte_is_searched_twice_for_the_end_of_its_frame() -> None:
    reader = FrameReader()
    list(reader.feed(b'{"a":"' + b"x" * 1000))

    assert reader._searched == reader.pending


@pytest.mark.parametrize(
    "message",
    [{"a": float("nan")}, {"a": float("-inf")}, {"a": b"bytes"}, {"a": object()}, {(1, 2): "key"}],
)
def test_a_message_that_json_cannot_hold_is_our_bug(message: dict[str, object]) -> None:
    with pytest.raises(InternalError, match="cannot be written as JSON"):
        encode(message)


def test_a_message_that_never_ends_is_our_bug() -> None:
    cycle: dict[str, object] = {}
    cycle["self"] = cycle
    deep: dict[str, object] = {}
    for _ in range(200_000):
        deep = {"a": deep}

    for message in (cycle, deep):
        with pytest.raises(InternalError, match="cannot be written as JSON"):
            encode(message)


def test_a_connection_that_ends_within_a_frame_can_be_told_from_a_clean_end() -> None:
    reader = FrameReader()
    list(reader.feed(encode({"n": 1})))
    assert reader.pending == 0

    list(reader.feed(b'{"n"'))
    assert reader.pending == 4


def test_neither_repr_nor_error_shows_what_a_frame_says() -> None:
    reader = FrameReader()
    list(reader.feed(b'{"passphrase":"hunter2"'))
    assert repr(reader) == "<FrameReader 23 bytes pending>"

    with pytest.raises(ProtocolViolation) as caught:
        list(reader.feed(b"!}\n"))
    assert "hunter2" not in str(caught.value)
    assert isinstance(caught.value.__cause__, json.JSONDecodeError)
    assert "hunter2" not in str(caught.value.__cause__)
