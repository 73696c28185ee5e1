"""What a proxy says in HTTP by itself: refusals, the page about the port, and the PAC file.

Answers are short texts for people. They name the destination, which the client knows, and a reason in words
of ours; never what the server or the tunnel said about it, because a page in a browser may read an answer
that its own request got.

The PAC file has one entry, ``PROXY``. A browser that cannot reach the proxy must fail and not go around it,
so ``DIRECT`` is not in it. Neither is SOCKS: ``SOCKS`` means version 4 to browsers, which then look the
name up here before they say anything (seen with Chromium 156); Firefox before 128 did so with ``SOCKS5``
too, unless it was told otherwise; and Chromium gives a SOCKS proxy no password. An HTTP proxy gets the name
from all of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from tunnels.core.http_head import Field, write_head
from tunnels.errors import DialReason

#: RFC 7617; the realm is what a browser shows beside the two fields it asks for.
ASK_FOR_PASSWORD: Field = (b"Proxy-Authenticate", b'Basic realm="tunnels proxy", charset="UTF-8"')

#: What a client that speaks anything else can perhaps show to its user.
NO_HTTP = (
    b"This port is a proxy. It speaks SOCKS 4, 4a and 5, and HTTP; this was neither.\r\n"
    b"Where PORT is this port, try:  curl -x http://localhost:PORT https://example.com/\r\n"
)

#: Reason phrases (RFC 9110 section 15, RFC 6585 section 5).
_PHRASES = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}

_STATUS_OF = {
    DialReason.PROHIBITED: 403,
    DialReason.TIMED_OUT: 504,
    DialReason.LINK_DOWN: 503,  # the tunnel is away for a while, and the destination may be well
}

#: Proxy error types (RFC 9209 section 2.3). curl shows no body of a refused CONNECT, but its head with ``-v``.
_ERROR_TYPE = {
    DialReason.PROHIBITED: b"http_request_denied",
    DialReason.REFUSED: b"connection_refused",
    DialReason.HOST_UNREACHABLE: b"destination_ip_unroutable",
    DialReason.NETWORK_UNREACHABLE: b"destination_ip_unroutable",
    DialReason.NAME_NOT_RESOLVED: b"dns_error",
    DialReason.TIMED_OUT: b"connection_timeout",
    DialReason.LINK_DOWN: b"proxy_internal_error",
    DialReason.OTHER: b"destination_unavailable",
}


def answer(
    status: int,
    text: str,
    *fields: Field,
    media_type: bytes = b"text/plain; charset=utf-8",
    with_body: bool = True,
) -> bytes:
    """Write a whole answer; without its body for a HEAD (RFC 9110 section 9.3.2).

    No script of another site may read it or run it: ``nosniff``, and Cross-Origin-Resource-Policy.
    """
    body = text.encode()
    first = f"HTTP/1.1 {status} {_PHRASES[status]}".encode()
    head: Iterable[Field] = (
        *fields,
        (b"Content-Type", media_type),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Cross-Origin-Resource-Policy", b"same-origin"),
        (b"Connection", b"close"),
    )
    return write_head(first, head) + (body if with_body else b"")


def rejection(status: int, reason: str, *fields: Field, with_body: bool = True) -> bytes:
    """Refuse a request for itself: ``reason`` is a sentence without its full stop."""
    return answer(status, f"{reason[:1].upper()}{reason[1:]}.\n", *fields, with_body=with_body)


def dial_failure(where: str, reason: DialReason, *, with_body: bool = True) -> bytes:
    """Say that the destination could not be reached."""
    text = f"{where}: {reason.value}.\n"
    if reason is DialReason.LINK_DOWN:
        text += "`tunnels status` says why.\n"
    error = (b"Proxy-Status", b"tunnels; error=" + _ERROR_TYPE[reason])
    return answer(_STATUS_OF.get(reason, 502), text, error, with_body=with_body)


def about(where: str, *, auth: bool) -> str:
    """Say what this port is, and how to use it. ``where`` is the port as the client has named it."""
    login = "USER:PASSWORD@" if auth else ""
    asks = " It wants a username and a password." if auth else ""
    return (
        f"This port is a proxy of `tunnels`: SOCKS 4, 4a and 5, and HTTP.{asks}\n"
        "Names are looked up at the far end of the tunnel.\n"
        "\n"
        f"  curl -x http://{login}{where} https://example.com/\n"
        f"  curl -x socks5h://{login}{where} https://example.com/\n"
        f"  https_proxy=http://{login}{where} http_proxy=http://{login}{where} COMMAND\n"
        "\n"
        f"In a browser, enter http://{where}/proxy.pac as the address of the automatic\n"
        "proxy configuration.\n"
    )


def pac(where: str) -> str:
    """Write the PAC file of this port. ``where`` is a host and a port that have been checked."""
    return f'function FindProxyForURL(url, host) {{\n  return "PROXY {where}";\n}}\n'
