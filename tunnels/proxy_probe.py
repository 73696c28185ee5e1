"""A client of a proxy that asks it what programs ask it. Blocking, for `tunnels leaktest`."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import urllib.parse
from collections.abc import Iterator

from tunnels.core.proxy_address import ProxyAddress
from tunnels.core.socks_words import CONNECT, connect_request, reply_text
from tunnels.errors import DialError

#: Seconds for one answer: a name server that is asked at the far end may take its time.
TIMEOUT = 20.0

#: Bytes of a page that is read for an address.
_PAGE = 4096


def ask(proxy: ProxyAddress, command: int, host: str, port: int) -> int:
    """Ask a proxy for something by SOCKS5 (RFC 1928); the code of its reply. Raises DialError if there is none."""
    with _asked(proxy, command, host, port) as (_, code):
        return code


@contextlib.contextmanager
def _asked(proxy: ProxyAddress, command: int, host: str, port: int) -> Iterator[tuple[socket.socket, int]]:
    try:
        with socket.create_connection(proxy, timeout=TIMEOUT) as sock:
            sock.sendall(b"\x05\x01\x00")
            if _exactly(sock, 2) != b"\x05\x00":
                raise DialError(f"{proxy} is no SOCKS proxy that lets everybody of this machine in")
            sock.sendall(connect_request(command, host, port))
            head = _exactly(sock, 4)
            length = {1: 4, 4: 16}.get(head[3])
            _exactly(sock, (_exactly(sock, 1)[0] if length is None else length) + 2)
            yield sock, head[1]
    except OSError as exc:
        raise DialError(f"the proxy {proxy} does not answer: {exc.strerror or exc}") from exc


def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = sock.recv(count - len(data))
        if not chunk:
            raise DialError("the proxy hung up in the middle of its answer")
        data += chunk
    return data


def fetch(proxy: ProxyAddress, url: str) -> str:
    """The first line of a page, fetched through the proxy. Raises DialError."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DialError(f"{url} is no http:// or https:// address")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with _asked(proxy, CONNECT, parts.hostname, port) as (sock, code):
            if code:
                raise DialError(f"{parts.hostname}:{port}: {reply_text(code)}")
            connection = http.client.HTTPConnection(parts.hostname, port, timeout=TIMEOUT)
            connection.sock = sock
            if parts.scheme == "https":
                context = ssl.create_default_context()
                connection.sock = context.wrap_socket(sock, server_hostname=parts.hostname)
            path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            connection.request("GET", path, headers={"User-Agent": "curl/8 (tunnels leaktest)"})
            answer = connection.getresponse()
            page = answer.read(_PAGE).decode("utf-8", "replace").strip()
            connection.sock.close()
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise DialError(f"{url}: {exc}") from exc
    if answer.status != 200:
        raise DialError(f"{url}: it answers {answer.status} {answer.reason}")
    return page.splitlines()[0] if page else ""


def resolves_here(name: str) -> bool:
    """Whether this machine itself finds an address for a name; its resolver hears of the name by this."""
    try:
        return bool(socket.getaddrinfo(name, None))
    except (OSError, UnicodeError):
        return False
