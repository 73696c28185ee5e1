r"""Frames of the control protocol, version 1: one JSON object a line.

A frame is a JSON object (RFC 8259) in UTF-8, ended by ``\\n``, and at most
:data:`MAX_FRAME_BYTES` long, or :data:`MAX_REPLY_BYTES` if it is an answer of the daemon.
JSON escapes line breaks within strings, so the first ``\\n`` is always the end, and a person can talk to
the daemon with ``socat``. This module cuts bytes into objects and knows nothing of what they mean.

There is no way to find the next frame after a broken one that would not be a guess, so a broken frame is
the end of the conversation: :class:`FrameReader` raises, and keeps raising.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import NoReturn

from tunnels.errors import InternalError, ProtocolViolation

#: Largest frame in bytes, with its ``\n``: room for any message that makes sense, and bounded memory.
MAX_FRAME_BYTES = 1024 * 1024

#: Bytes of an answer, which the daemon makes itself: a status of a tunnel is about 1 kB, and there may be
#: thousands of them.
MAX_REPLY_BYTES = 64 * 1024 * 1024


def encode(message: Mapping[str, object], *, limit: int = MAX_FRAME_BYTES) -> bytes:
    """Return the frame of ``message``.

    The frame is ASCII: other characters are escaped, and so survive where they are not proper Unicode, as
    in the file names of ``os.fsdecode``.

    Raises:
        InternalError: it holds something that JSON does not (a foreign type, NaN, a cycle), or its frame
            would be larger than ``limit`` bytes; the other side would refuse it.

    """
    try:
        text = json.dumps(dict(message), separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InternalError(f"a control message cannot be written as JSON: {exc}") from exc
    frame = text.encode("ascii") + b"\n"
    if len(frame) > limit:
        raise InternalError(f"a control message of {len(frame)} bytes is over the {limit} of a frame")
    return frame


class FrameReader:
    """Cuts the bytes of one connection into frames, however they are cut on their way.

    It holds at most one unfinished frame and the chunk that was fed last.
    """

    __slots__ = ("_broken", "_buffer", "_limit", "_searched")

    def __init__(self, *, limit: int = MAX_FRAME_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0  # no end of a frame before this index: a byte is looked at once
        self._broken: str | None = None

    def __repr__(self) -> str:  # never the bytes: a passphrase may be among them
        state = "broken" if self._broken is not None else f"{self.pending} bytes pending"
        return f"<FrameReader {state}>"

    @property
    def pending(self) -> int:
        """How many bytes have not yet become a frame. Not 0 at the end of a connection: it was cut off."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[dict[str, object]]:
        """Take the bytes ``data``; return the objects that are complete now, to be iterated at once.

        The iteration raises at the broken frame, so everything before it has been seen, whatever came in
        one chunk. What an iteration that is given up leaves behind comes with the next one.

        Raises:
            ProtocolViolation: from the iteration: a frame is longer than ``limit`` bytes, finished
                or not, or is not UTF-8, not JSON, or not an object. Every later iteration raises it again.

        """
        if self._broken is None:
            self._buffer += data  # here and not in the generator, which does nothing until it is iterated
        return self._frames()

    def _frames(self) -> Iterator[dict[str, object]]:
        if self._broken is not None:
            raise ProtocolViolation(self._broken)
        while True:
            end = self._buffer.find(b"\n", self._searched, self._limit)
            if end < 0:
                self._searched = len(self._buffer)
                if self._searched >= self._limit:
                    self._break(f"a frame is longer than {self._limit} bytes")
                return
            line = self._buffer[:end]
            del self._buffer[: end + 1]  # cheap: a bytearray moves its start, not its content
            self._searched = 0
            yield self._decode(line)

    def _decode(self, line: bytearray) -> dict[str, object]:
        # Messages name what is wrong and where, never what it says: it may be a passphrase.
        try:
            # Decoded here, because json.loads would guess at UTF-16 and UTF-32.
            message = json.loads(line.decode("utf-8"), parse_float=_finite, parse_constant=_reject)
        except UnicodeDecodeError as exc:
            self._break(f"a frame is not UTF-8 at byte {exc.start}", exc)
        except json.JSONDecodeError as exc:
            self._break(f"a frame is not JSON: {exc.msg} at character {exc.pos}", exc)
        except ValueError as exc:  # NaN, infinities, or an integer too long for int()
            self._break("a frame holds a number that is none", exc)
        except RecursionError as exc:
            self._break("a frame is nested too deeply", exc)
        if not isinstance(message, dict):
            self._break(f"a frame is not a JSON object but {_KINDS[type(message)]}")
        return message

    def _break(self, message: str, cause: Exception | None = None) -> NoReturn:
        self._broken = message
        self._buffer.clear()
        raise ProtocolViolation(message) from cause


_KINDS: Mapping[type, str] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # 1e999: well-formed, but encode() could not write what it becomes
        raise ValueError
    return number


def _reject(_constant: str) -> NoReturn:
    """Refuse NaN, Infinity and -Infinity, which Python reads and JSON does not know."""
    raise ValueError
