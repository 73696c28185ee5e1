"""The body of an HTTP/1 request that passes through: where it ends, and not a byte more.

Where a body ends is decided once, from the head (RFC 9112 section 6.3), and then held: what follows it never
reaches the server behind it. A chunked body is written anew, chunk by chunk, without extensions and
trailers, so that there is nothing in it that two readers could read differently. Data is passed on as it
comes and is not collected.
"""

from __future__ import annotations

import re
from typing import Protocol

from tunnels.core.http_head import MAX_FIELDS, Field, Head, Rejected

#: Bytes of a line between chunks: a size and extensions that nobody uses, or a trailer.
MAX_LINE = 8 * 1024

_LENGTH = re.compile(rb"[0-9]{1,18}")  # below 2**63, which is what others compute with
# chunk-size and chunk-ext (RFC 9112 section 7.1); only the size is of interest, and the rest must be text.
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")


class Body(Protocol):
    """What is still to come of a body."""

    done: bool  #: its last byte has passed

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the client; give what goes on. What comes after the end is dropped. Raises Rejected."""

    @property
    def fields(self) -> list[Field]:
        """How the head says where it ends."""


class SizedBody:
    """A body of so many bytes; of none, where the head says nothing (RFC 9112 section 6.3, rule 7)."""

    __slots__ = ("_left", "_size", "done")

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._left = size or 0
        self.done = not self._left

    @property
    def fields(self) -> list[Field]:
        """Content-Length, where there was one."""
        return [] if self._size is None else [(b"Content-Length", b"%d" % self._size)]

    def receive(self, data: bytes) -> bytes:
        """Pass on what belongs to it."""
        passed = data if len(data) <= self._left else data[: self._left]
        self._left -= len(passed)
        self.done = not self._left
        return passed


class ChunkedBody:
    """A body in chunks (RFC 9112 section 7.1)."""

    __slots__ = ("_between", "_last", "_left", "_line", "_trailers", "done")

    def __init__(self) -> None:
        self.done = False
        self._left = 0  # bytes of the chunk
        self._between = False  # after the data of a chunk, before its CR LF
        self._last = False  # the chunk of size 0 has come; trailers follow
        self._trailers = 0
        self._line = bytearray()  # the unfinished one

    @property
    def fields(self) -> list[Field]:
        """Transfer-Encoding."""
        return [(b"Transfer-Encoding", b"chunked")]

    def receive(self, data: bytes) -> bytes:
        """Pass on chunks. Raises Rejected."""
        passed: list[bytes] = []
        at = 0
        while at < len(data) and not self.done:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                self._between = not self._left
                passed.append(piece)
                continue
            end = data.find(b"\n", at) + 1
            if len(self._line) + (end or len(data)) - at > MAX_LINE:
                self._line.clear()
                raise Rejected(400, "a line between the chunks is too long")
            self._line += data[at : end or len(data)]
            if not end:
                break
            at = end
            passed.append(self._take_line())
        return b"".join(passed)

    def _take_line(self) -> bytes:
        line = bytes(self._line)
        self._line.clear()
        if not line.endswith(b"\r\n"):
            raise Rejected(400, "a line between the chunks does not end with CR LF")
        line = line[:-2]
        if self._between:
            if line:
                raise Rejected(400, "a chunk is longer than it said")
            self._between = False
            return b"\r\n"
        if self._last:
            return self._take_trailer(line)
        if not (match := _CHUNK.fullmatch(line)):
            raise Rejected(400, "the size of a chunk is not a number")
        self._left = int(match[1], 16)
        self._last = not self._left
        return b"%x\r\n" % self._left if self._left else b""

    def _take_trailer(self, line: bytes) -> bytes:
        if not line:
            self.done = True
            return b"0\r\n\r\n"
        self._trailers += 1
        if self._trailers > MAX_FIELDS or not _TRAILER.fullmatch(line):
            raise Rejected(400, "what follows the last chunk makes no sense")
        return b""


def body_of(head: Head, *, minor: int) -> Body:
    """Say where the body of a request ends (RFC 9112 section 6.3); ``minor`` is the client's HTTP/1 version.

    Raises:
        Rejected: the head leaves room for two opinions, or uses an encoding that we cannot follow.

    """
    encodings, lengths = head.values(b"transfer-encoding"), head.values(b"content-length")
    if encodings:
        if lengths:
            raise Rejected(400, "the head has both Content-Length and Transfer-Encoding")
        if minor == 0:  # RFC 9112 section 6.1
            raise Rejected(400, "HTTP/1.0 has no Transfer-Encoding")
        if [encoding.lower() for encoding in encodings] != [b"chunked"]:
            raise Rejected(501, "of Transfer-Encoding only `chunked` is understood")
        return ChunkedBody()
    if not lengths:
        return SizedBody(None)
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Rejected(400, "Content-Length is not one number")
    return SizedBody(int(lengths[0]))
