"""The server side of an HTTP/1 proxy: bytes in, events out, answers as bytes.

One `HttpProxy` is the request of one client, as `socks.SocksServer` is its handshake, with the same events.
Three kinds of request (RFC 9112 section 3.2):

``CONNECT host:port``
    A tunnel (RFC 9110 section 9.3.6). The 200 exists only once the caller says that the far end answered.
``GET http://host/path``
    A plain request. What goes to the server and comes back is the business of an `http_exchange.Exchange`.
``GET /path``
    For this port itself: ``/proxy.pac``, and a page that says what it is. Nothing is forwarded.

The name of a host goes to the far end as the client wrote it. One request a connection, always.

What a page in a browser may do here: a browser sends other sites' pages only the third kind, whose answers
say nothing that is not known, and forbids to read or run them (`http_answers.answer`). Requests for this
port by any name but ``localhost`` are refused: a site could give its own name our address (DNS rebinding)
and would then be the same site. A body is never read as a request.

``/proxy.pac`` and the page need no password: who fetches a PAC file has no way to ask for one, and there
is nothing in them that the client has not sent itself.
"""

from __future__ import annotations

import base64
import enum
import ipaddress
import re
from collections.abc import Callable

from tunnels.core import http_answers
from tunnels.core.http_answers import answer, rejection
from tunnels.core.http_body import SizedBody, body_of
from tunnels.core.http_exchange import CLOSE, UPGRADE, Exchange
from tunnels.core.http_head import Field, Head, HeadReader, Rejected, write_head
from tunnels.core.socks import ConnectRequest, Event, Fail
from tunnels.errors import DialReason, InternalError

#: How far to look for the end of a method, in bytes; the longest one registered with IANA is
#: UPDATEREDIRECTREF, 17.
MAX_METHOD_BYTES = 32

_METHOD = re.compile(rb"[A-Z][A-Z-]*")
_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]*) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")

# Host and port, the latter perhaps missing (RFC 3986 section 3.2). A name is one that DNS or a hosts file
# could know: nothing that could hide something from a log or from a resolver.
_AUTHORITY = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._~-]{1,255}))(?::([0-9]{0,5}))?")

_CONNECT = b"CONNECT"
_ESTABLISHED = (
    b"HTTP/1.1 200 Connection established\r\n\r\n"  # no body, and no length (RFC 9110 section 9.3.6)
)

Credentials = Callable[[bytes, bytes], bool]


class _State(enum.Enum):
    """Where a request is."""

    METHOD = "reading what seems to be a method"
    HEAD = "reading the head"
    CONNECTING = "waiting for the far end"  #: the caller's turn
    ANSWERED = "connected"  #: the bytes belong to the relay
    CLOSED = "refused"


class HttpProxy:
    """One client's request. ``credentials`` is as for `socks.SocksServer`, and is asked before anything leaves."""

    __slots__ = (
        "_credentials",
        "_reader",
        "_start",
        "_state",
        "_trailing",
        "_where",
        "_with_body",
        "exchange",
    )

    def __init__(self, *, credentials: Credentials | None = None) -> None:
        self.exchange: Exchange | None = None  #: what passes on, with a `ConnectRequest` of a plain request
        self._credentials = credentials
        self._state = _State.METHOD
        self._start = b""  # of the method
        self._reader = HeadReader(_REQUEST_LINE)
        self._trailing = bytearray()
        self._where = ""
        self._with_body = True

    def __repr__(self) -> str:  # never the bytes: a password may be among them
        return f"<HttpProxy {self._state.name}>"

    @property
    def trailing(self) -> bytes:
        """What the client sent beyond the head: for the relay, or for the `exchange` where there is one."""
        return bytes(self._trailing)

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the client, and say what to do. As `socks.SocksServer.receive`."""
        match self._state:
            case _State.ANSWERED:
                raise InternalError(f"{self!r} was given bytes that belong to the relay")
            case _State.CLOSED:
                return []
            case _State.CONNECTING:
                self._trailing += data
                return []
            case _State.METHOD:
                return self._read_method(data)
            case _State.HEAD:
                return self._read_head(data)

    def succeeded(self) -> bytes:
        """Say that the far end has answered; gives what the client is told of it.

        Raises:
            InternalError: no `ConnectRequest` is waiting for an answer.

        """
        self._leave_connecting(_State.ANSWERED)
        return _ESTABLISHED if self.exchange is None else b""

    def failed(self, reason: DialReason) -> bytes:
        """Say that the destination could not be reached; gives the answer to send before closing.

        Raises:
            InternalError: no `ConnectRequest` is waiting for an answer.

        """
        self._leave_connecting(_State.CLOSED)
        return http_answers.dial_failure(self._where, reason, with_body=self._with_body)

    def timed_out(self) -> bytes:
        """Say that the head has not come in time; gives the answer to send before closing."""
        self._state = _State.CLOSED
        return rejection(408, "the request did not come in time")

    def _leave_connecting(self, state: _State) -> None:
        if self._state is not _State.CONNECTING:
            raise InternalError(f"{self!r} was given an answer to no request")
        self._state = state
        self._trailing = self._trailing if state is _State.ANSWERED else bytearray()

    # --- reading ----------------------------------------------------------------------------------

    def _read_method(self, data: bytes) -> list[Event]:
        """Tell a request, ``GET /``, from anything else that begins with an upper-case letter."""
        start = (self._start + data)[: MAX_METHOD_BYTES + 1]
        method, space, _ = start.partition(b" ")
        if not _METHOD.fullmatch(method) or len(method) > MAX_METHOD_BYTES:
            self._state, self._start = _State.CLOSED, b""
            return [Fail(http_answers.NO_HTTP, "the client speaks neither SOCKS nor HTTP")]
        if not space:
            self._start = start
            return []
        self._state = _State.HEAD
        data, self._start = self._start + data, b""
        return self._read_head(data)

    def _read_head(self, data: bytes) -> list[Event]:
        fields: list[Field] = []
        try:
            found = self._reader.receive(data)
            if found is None:
                return []
            head, rest = found
            match = _REQUEST_LINE.fullmatch(head.first)
            assert match is not None
            method, target, major, minor = match.groups()
            self._with_body = method != b"HEAD"
            if major != b"1":
                raise Rejected(505, "this proxy speaks HTTP/1.1 and HTTP/1.0")
            if len(head.values(b"host")) > 1:  # RFC 9112 section 3.2
                raise Rejected(400, "there is more than one Host")
            if target.startswith(b"/"):
                return [self._own_page(method, target, head)]
            if not self._may_pass(head):
                fields.append(http_answers.ASK_FOR_PASSWORD)
                raise Rejected(407, "this proxy wants a username and a password")
            request = self._request(method, target, head, min(int(minor), 1))
        except Rejected as error:
            reply = rejection(error.status, error.reason, *fields, with_body=self._with_body)
            return [self._fail(reply, error.reason)]
        self._trailing += rest
        self._state = _State.CONNECTING
        return [request]

    def _fail(self, reply: bytes, reason: str) -> Fail:
        self._state = _State.CLOSED
        return Fail(reply, reason)

    def _may_pass(self, head: Head) -> bool:
        """Compare username and password (RFC 7617)."""
        if self._credentials is None:
            return True
        given = head.values(b"proxy-authorization")
        scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        if scheme.lower() != b"basic":
            return False
        try:
            username, colon, password = base64.b64decode(token.strip(), validate=True).partition(b":")
        except ValueError:
            return False
        return bool(colon) and self._credentials(username, password)

    # --- the three kinds --------------------------------------------------------------------------

    def _request(self, method: bytes, target: bytes, head: Head, minor: int) -> ConnectRequest:
        if method == _CONNECT:
            return self._tunnel(target, head, minor)
        return self._plain(method, target, head, minor)

    def _tunnel(self, target: bytes, head: Head, minor: int) -> ConnectRequest:
        host, port = _host_and_port(target, default=None)
        body = body_of(head, minor=minor)
        if not isinstance(body, SizedBody) or not body.done:  # whose is what follows: the server's, or ours?
            raise Rejected(400, "CONNECT has no body")
        self._where = target.decode("ascii")
        return ConnectRequest(host, port)

    def _plain(self, method: bytes, target: bytes, head: Head, minor: int) -> ConnectRequest:
        scheme, colon, rest = target.partition(b"://")
        if not colon or not scheme.isalnum():
            raise Rejected(400, "the address of a request to a proxy is http://host/path")
        if scheme.lower() != b"http":
            name = scheme[:20].decode("ascii").lower()
            raise Rejected(501, f"this proxy takes {name}:// addresses only by CONNECT")
        if method == b"TRACE":  # it sends back what it got, cookies and all (RFC 9110 section 9.3.8)
            raise Rejected(501, "this proxy does not carry TRACE")
        if b"#" in rest:
            raise Rejected(400, "a fragment (#) stays in the browser")
        authority, path = rest, b""
        for at, byte in enumerate(rest):
            if byte in b"/?":
                authority, path = rest[:at], rest[at:]
                break
        host, port = _host_and_port(authority, default=80)
        if not path.startswith(b"/"):  # RFC 9112 sections 3.2.1 and 3.2.4
            path = b"*" if method == b"OPTIONS" and not path else b"/" + path
        body = body_of(head, minor=minor)
        upgrade = minor == 1 and b"upgrade" in head.options(b"connection")
        upgrade = upgrade and head.options(b"upgrade") == {b"websocket"}
        but = [b"host", b"content-length"] + ([b"expect"] if minor == 0 else [])  # RFC 9110 section 10.1.1
        fields = [
            (b"Host", authority.removesuffix(b":")),  # an empty port is allowed, and confuses some
            *head.onward(but=but),
            *body.fields,
            *(UPGRADE if upgrade else [CLOSE]),
        ]
        self._where = authority.decode("ascii")
        self.exchange = Exchange(
            write_head(b"%s %s HTTP/1.%d" % (method, path, minor), fields),
            body,
            method=method,
            minor=minor,
            upgrade=upgrade,
            where=self._where,
        )
        return ConnectRequest(host, port)

    def _own_page(self, method: bytes, target: bytes, head: Head) -> Fail:
        """Answer a request for this port itself; every way the client is served and the connection closed."""
        where = _own_name(head)
        if method not in {b"GET", b"HEAD"}:
            reply = rejection(405, "this is a proxy, and no web server", (b"Allow", b"GET, HEAD"))
            return self._fail(reply, "the client takes the proxy for a web server")
        auth = self._credentials is not None
        path = target.partition(b"?")[0]
        if path == b"/proxy.pac":
            media_type = b"application/x-ns-proxy-autoconfig"
            reply = answer(200, http_answers.pac(where), media_type=media_type, with_body=self._with_body)
            return self._fail(reply, "the client was given the PAC file")
        status = 200 if path == b"/" else 404
        reply = answer(status, http_answers.about(where, auth=auth), with_body=self._with_body)
        return self._fail(reply, "the client takes the proxy for a web server")


def _host_and_port(authority: bytes, *, default: int | None) -> tuple[str, int]:
    """Read ``host:port``. Without a default the port must be there (RFC 9110 section 9.3.6). Raises Rejected."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise Rejected(400, "the destination is not host:port")
    literal, name, digits = match.groups()
    port = int(digits) if digits else default
    if port is None or not 0 < port < 65536:
        raise Rejected(400, "the port of the destination is not a number from 1 to 65535")
    if literal is None:
        return name.decode("ascii"), port
    try:
        return str(ipaddress.IPv6Address(literal.decode("ascii"))), port
    except ValueError:
        raise Rejected(400, "what is in the brackets is not an IPv6 address") from None


def _own_name(head: Head) -> str:
    """Find out as what the client knows this port. Raises Rejected for names that anybody may give to it."""
    given = head.values(b"host")
    if not given:
        raise Rejected(400, "there is no Host")
    host, port = _host_and_port(given[0], default=80)
    if host.lower() == "localhost":
        return f"localhost:{port}"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise Rejected(403, "this is a proxy; by its address or as localhost it says more") from None
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
