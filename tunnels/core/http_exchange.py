"""One plain request through the proxy, and its answer: what each side gets of what the other one sends.

One request a connection. The server is asked to close afterwards and the client is told that it is so,
whatever the server says about it; what a client sends after its request goes nowhere. So a request can
never reach a server that it was not meant for, and where an answer ends needs nobody's opinion: its body
passes as it is.

An answer that only announces another one (100, 103) passes and the real one is waited for. After 101,
which only a client that asked for a WebSocket can get, both directions pass as they are. No ``Via`` is
added (RFC 9110 section 7.6.3 would have it): it would tell every site that there is a tunnel.
"""

from __future__ import annotations

import re

from tunnels.core.http_answers import answer, rejection
from tunnels.core.http_body import Body
from tunnels.core.http_head import Field, Head, HeadReader, Rejected, write_head
from tunnels.core.socks import Fail

_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9][0-9])(?: (.*))?")

CLOSE: Field = (b"Connection", b"close")
UPGRADE: list[Field] = [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]


class Exchange:
    """A request that is on its way. Nothing that the two send raises: what makes no sense becomes a `Fail`.

    After a `Fail` the client gets its ``reply`` and both sides are given up; nothing more may be passed in.
    """

    __slots__ = (
        "_answered",
        "_body",
        "_head",
        "_minor",
        "_raw",
        "_reader",
        "_upgrade",
        "_where",
        "_with_body",
    )

    def __init__(
        self, head: bytes, body: Body, *, method: bytes, minor: int, upgrade: bool, where: str
    ) -> None:
        """``head`` is what the server gets, ``minor`` the client's HTTP/1 version, ``where`` the server's name."""
        self._head = head
        self._body = body
        self._minor = minor
        self._upgrade = upgrade
        self._where = where
        self._with_body = method != b"HEAD"
        self._reader: HeadReader | None = HeadReader(_STATUS_LINE, lenient=True)
        self._answered = False  # the head of the real answer has passed
        self._raw = False  # what the client sends belongs to another protocol

    def __repr__(self) -> str:  # never a head: cookies and passwords are in it
        return f"<Exchange with {self._where}, {'answered' if self._answered else 'not answered'}>"

    def request(self, data: bytes) -> bytes | Fail:
        """Take bytes of the client; give what the server gets."""
        if self._raw:
            return data
        try:
            passed = self._body.receive(data)
        except Rejected as error:
            reply = (
                b"" if self._answered else rejection(error.status, error.reason, with_body=self._with_body)
            )
            return Fail(reply, f"the body of a request makes no sense: {error.reason}")
        if self._head:
            passed, self._head = self._head + passed, b""
        return passed

    def request_ended(self) -> Fail | None:
        """The client has sent its last byte. A request that is incomplete must not look complete."""
        if self._raw or self._body.done:
            return None
        return Fail(b"", "the client has ended in the middle of its request")

    def response(self, data: bytes) -> bytes | Fail:
        """Take bytes of the server; give what the client gets."""
        reader = self._reader
        if reader is None:
            return data
        passed = b""
        try:
            while reader is not None:
                found = reader.receive(data)
                if found is None:
                    return passed
                head, data = found
                passed += self._answer(head)
                reader = self._reader
        except Rejected as error:
            reason = f"{self._where} did not answer in HTTP: {error.reason}"
            return Fail(passed + self._bad_gateway(reason), reason)
        return passed + data

    def response_ended(self) -> bytes:
        """The server has sent its last byte; give what the client is told before it is told so too."""
        if self._reader is None:
            return b""
        self._reader = None
        return self._bad_gateway(f"{self._where} has closed the connection without an answer")

    def _bad_gateway(self, reason: str) -> bytes:
        self._answered = True
        error = (b"Proxy-Status", b"tunnels; error=http_protocol_error")
        return answer(502, f"{reason}.\n", error, with_body=self._with_body)

    def _answer(self, head: Head) -> bytes:
        """Write the head of an answer anew; see whether it is the real one."""
        match = _STATUS_LINE.fullmatch(head.first)
        assert match is not None
        status = int(match[1])
        first = b"HTTP/1.1 %d %s" % (status, match[2] or b"")
        if status == 101:
            if not self._upgrade:
                raise Rejected(502, "it changes to a protocol that nobody has asked for")
            self._answered = self._raw = True
            self._reader = None
            return write_head(first, [*head.onward(), *UPGRADE])
        if status < 200:
            self._reader = HeadReader(_STATUS_LINE, lenient=True)
            # RFC 9110 section 15.2: a client of HTTP/1.0 does not know them.
            return b"" if self._minor == 0 else write_head(first, head.onward())
        self._answered = True
        self._reader = None
        return write_head(first, [*head.onward(but=[b"content-length"]), *_framing(head), CLOSE])


def _framing(head: Head) -> list[Field]:
    """How an answer says where it ends: once (RFC 9112 sections 6.1 and 6.3)."""
    if encodings := head.values(b"transfer-encoding"):
        return [(b"Transfer-Encoding", b", ".join(encodings))]
    lengths = {length.strip() for value in head.values(b"content-length") for length in value.split(b",")}
    if len(lengths) > 1 or not all(length.isdigit() for length in lengths):
        raise Rejected(502, "its Content-Length is not one number")
    return [(b"Content-Length", length) for length in lengths]
