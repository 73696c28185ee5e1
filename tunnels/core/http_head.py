"""The head of an HTTP/1 message: bytes in, lines out; what may not travel further is left behind.

A head that has been read is written anew and never passed on as it came: whoever reads it next then sees
the same lines as we did, which is what request smuggling lives on when it is not so.

Requests are read strictly: a line ends with CR LF, a field has no space before its colon and no second
line. Answers are read as leniently as RFC 9112 asks a proxy to be (sections 2.2, 5.1 and 5.2), because
old servers send such things.

Sources: RFC 9110 (semantics) and RFC 9112 (HTTP/1.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: Bytes of a whole head, with its first line. What Chromium sends at most is far below: servers commonly
#: take 8 to 64 KiB.
MAX_HEAD = 64 * 1024

#: Fields in a head. Apache httpd's LimitRequestFields is 100 too.
MAX_FIELDS = 100

#: What concerns one connection only (RFC 9110 section 7.6.1), and what clients of proxies say to them. Of these
#: Upgrade and Transfer-Encoding are written anew where they are to travel.
_HOP_BY_HOP = {
    *(b"connection", b"proxy-connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding"),
    *(b"upgrade", b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info"),
}

Field = tuple[bytes, bytes]  #: name as it came, value without the space around it

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # token (RFC 9110 section 5.6.2)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # all but HTAB (RFC 9110 section 5.5)
_SPACE = b" \t"


class Rejected(Exception):
    """A message makes no sense, or is refused; it never leaves the machines that read HTTP."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status  #: what to answer
        self.reason = reason  #: a sentence without its full stop


@dataclass(frozen=True, slots=True)
class Head:
    """The first line, and the fields in their order."""

    first: bytes
    fields: tuple[Field, ...]

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a field, whose name is given in lower case."""
        return [value for each, value in self.fields if each.lower() == name]

    def options(self, name: bytes) -> set[bytes]:
        """The words of a field that is a list, in lower case (RFC 9110 section 5.6.1)."""
        return {word.strip(_SPACE).lower() for value in self.values(name) for word in value.split(b",")} - {
            b""
        }

    def onward(self, *, but: Iterable[bytes] = ()) -> list[Field]:
        """Fields that go on to the next connection, without those that are named."""
        dropped = _HOP_BY_HOP | self.options(b"connection") | set(but)
        return [(name, value) for name, value in self.fields if name.lower() not in dropped]


def write_head(first: bytes, fields: Iterable[Field]) -> bytes:
    """Write a head, with the empty line at its end."""
    lines = [first, *(name + b": " + value for name, value in fields)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class HeadReader:
    """Reads one head. It never keeps more than `MAX_HEAD` bytes, and how they are cut makes no difference."""

    __slots__ = ("_fields", "_first", "_lenient", "_line", "_pattern", "_size")

    def __init__(self, pattern: re.Pattern[bytes], *, lenient: bool = False) -> None:
        """``pattern`` is what the first line has to be, and ``lenient`` is for answers."""
        self._pattern = pattern
        self._lenient = lenient
        self._line = bytearray()  # the unfinished one
        self._size = 0
        self._first: bytes | None = None
        self._fields: list[Field] = []

    def receive(self, data: bytes) -> tuple[Head, bytes] | None:
        """Take bytes; give the head and what follows it, or ``None`` while it is incomplete.

        Raises:
            Rejected: it is no head, or a larger one than we take.

        """
        start = 0
        while True:
            end = data.find(b"\n", start) + 1
            self._size += (end or len(data)) - start
            if self._size > MAX_HEAD:
                self._line.clear()
                raise self._too_large()
            self._line += data[start : end or len(data)]
            if not end:
                return None
            start = end
            line = self._finished()
            if line:
                self._add(line)
            elif self._first is None:
                raise Rejected(400, "the first line is empty")
            else:
                return Head(self._first, tuple(self._fields)), data[start:]

    def _too_large(self) -> Rejected:
        if self._first is None and not self._lenient:
            return Rejected(414, f"the address is longer than {MAX_HEAD // 1024} KiB")
        return Rejected(431, f"the head is larger than {MAX_HEAD // 1024} KiB")

    def _finished(self) -> bytes:
        line = bytes(self._line)
        self._line.clear()
        if line.endswith(b"\r\n"):
            line = line[:-2]
        elif self._lenient:
            line = line[:-1]
        else:
            raise Rejected(400, "a line does not end with CR LF")
        if _CONTROL.search(line):
            raise Rejected(400, "there is a control character in the head")
        return line

    def _add(self, line: bytes) -> None:
        if self._first is None:
            # Looked at now: who speaks something else may wait for an answer before it sends more.
            if not self._pattern.fullmatch(line):
                raise Rejected(400, f"the first line is no {'answer' if self._lenient else 'request'}")
            self._first = line
            return
        if line[:1] in (b" ", b"\t"):  # obs-fold (RFC 9112 section 5.2)
            if not self._lenient or not self._fields:
                raise Rejected(400, "a field goes on in a second line")
            name, value = self._fields[-1]
            self._fields[-1] = (name, value + b" " + line.strip(_SPACE))
            return
        name, colon, value = line.partition(b":")
        if self._lenient:
            name = name.rstrip(_SPACE)
        if not colon or not _NAME.fullmatch(name):
            raise Rejected(400, "a line of the head is no field")
        if len(self._fields) >= MAX_FIELDS:
            raise Rejected(431, f"the head has more than {MAX_FIELDS} fields")
        self._fields.append((name, value.strip(_SPACE)))
