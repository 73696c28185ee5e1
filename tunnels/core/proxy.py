"""What every client of a proxy's port meets first: its first byte decides which machine it talks to.

::

    first byte ─┬─ 4, 5 ──────────────► `socks.SocksServer`
                ├─ A to Z ────────────► `http_proxy.HttpProxy`
                └─ anything else: TLS, a text, bytes ─► refused, in words where somebody may read them

The events are the same, and so is what follows: a `ConnectRequest` is answered with ``succeeded()`` or
``failed()``. Then the bytes belong to the relay, as they are, or, for a plain HTTP request, by way of
``exchange``.
"""

from __future__ import annotations

from collections.abc import Callable

from tunnels.core.http_answers import NO_HTTP, rejection
from tunnels.core.http_exchange import Exchange
from tunnels.core.http_proxy import HttpProxy
from tunnels.core.socks import Event, Fail, SocksServer, Speech, sniff
from tunnels.errors import DialReason, InternalError


class ProxyServer:
    """One client of a proxy, until it is connected. ``credentials`` is as for `socks.SocksServer`."""

    __slots__ = ("_credentials", "_refused", "_server")

    def __init__(self, *, credentials: Callable[[bytes, bytes], bool] | None = None) -> None:
        self._credentials = credentials
        self._server: SocksServer | HttpProxy | None = None  # until the first byte
        self._refused = False

    def __repr__(self) -> str:
        return f"<ProxyServer: {self._server or ('refused' if self._refused else 'nothing said')!r}>"

    @property
    def exchange(self) -> Exchange | None:
        """What changes the bytes in both directions from now on; ``None`` where they pass as they are."""
        return self._server.exchange if isinstance(self._server, HttpProxy) else None

    @property
    def trailing(self) -> bytes:
        """What the client sent beyond its request; for the `exchange`, where there is one."""
        return b"" if self._server is None else self._server.trailing

    @property
    def in_http(self) -> bool:
        """Whether the client may still be sending while it is refused: the body of an HTTP request."""
        return isinstance(self._server, HttpProxy)

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the client, and say what to do. As `socks.SocksServer.receive`."""
        if self._refused or not data:
            return []
        if self._server is None:
            match sniff(data[0]):
                case Speech.SOCKS4 | Speech.SOCKS5:
                    self._server = SocksServer(credentials=self._credentials)
                case Speech.HTTP:
                    self._server = HttpProxy(credentials=self._credentials)
                case other:
                    self._refused = True
                    return [_refuse(other, data[0])]
        return self._server.receive(data)

    def succeeded(self) -> bytes:
        """Say that the far end has answered; gives what to tell the client. As `socks.SocksServer.succeeded`."""
        return self._asking().succeeded()

    def failed(self, reason: DialReason) -> bytes:
        """Say that the destination could not be reached; gives what to tell the client before closing."""
        return self._asking().failed(reason)

    def timed_out(self) -> bytes:
        """Say that the client was too slow; gives what to tell it before closing, empty where nobody would read it."""
        return self._server.timed_out() if isinstance(self._server, HttpProxy) else b""

    def _asking(self) -> SocksServer | HttpProxy:
        if self._server is None:
            raise InternalError(f"{self!r} was given an answer to no request")
        return self._server


def _refuse(speech: Speech, first: int) -> Fail:
    if speech is Speech.TLS:
        # In plain text. What TLS libraries make of it, "wrong version number", is what everybody knows as
        # "this port has no TLS"; an alert of TLS would be one of many that mean anything.
        reply = rejection(400, "this proxy is spoken to without TLS: write http:// before its address")
        return Fail(reply, "the client speaks TLS to the proxy itself")
    reason = f"the client speaks neither SOCKS nor HTTP: first byte 0x{first:02X}"
    is_text = 0x20 <= first <= 0x7E or first in b"\r\n\t"
    return Fail(NO_HTTP if is_text else b"", reason)
