"""Dynamic forwards (``ssh -D``): a SOCKS and HTTP proxy that answers only when it knows the answer.

The handshake is `core.proxy`; this module gives it a socket and a time limit, and then hands the socket
to the relay, or to `plain_http` in between. Names are resolved at the far end: the name goes into the
channel request as it is.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
from collections.abc import Callable
from typing import cast

from tunnels import password_command
from tunnels.core.address import TcpAddress, is_ip_address
from tunnels.core.forward import Forward, ProxyAuth
from tunnels.core.proxy import ProxyServer
from tunnels.core.socks import ConnectRequest, Fail, Send
from tunnels.core.state import ForwardState
from tunnels.core.status import ForwardStatus
from tunnels.errors import BadSetting, DialError, ListenError
from tunnels.forwarding.door import Door
from tunnels.forwarding.local import ListeningForwarder, OnRefused, origin_of
from tunnels.forwarding.plain_http import Lingering, PlainClient
from tunnels.forwarding.relay import SocketEnd
from tunnels.forwarding.sockets import reset
from tunnels.tasks import TaskScope

#: Seconds from connecting to a complete request. A program does it at once; a stranger may not.
HANDSHAKE_TIMEOUT = 10.0

Credentials = Callable[[bytes, bytes], bool]


class DynamicForwarder(ListeningForwarder):
    """``-D``: every client says where it wants to go."""

    def __init__(
        self,
        forward: Forward,
        door: Door,
        scope: TaskScope,
        *,
        on_change: Callable[[], None],
        on_refused: OnRefused,
        tunnel: str = "",
    ) -> None:
        super().__init__(forward, door, scope, on_change=on_change, on_refused=on_refused, tunnel=tunnel)
        self._by_address = 0
        self._credentials: Credentials | None = None
        self._handshakes: set[_Handshake | Lingering] = set()  # and those that are being sent away

    async def _try_to_bind(self) -> bool:
        """Find the password, if one is wanted, and listen."""
        auth = self.forward.auth
        if auth is not None and self._credentials is None:
            try:
                self._credentials = await credentials_of(auth)
            except ListenError as failure:
                if self.error is None or self.error.message != failure.message:
                    self._become(ForwardState.FAILED, failure)
                return False
        return await super()._try_to_bind()

    def close(self) -> None:
        """Stop listening, and end every client with a reset."""
        super().close()
        for handshake in list(self._handshakes):
            handshake.abort()

    def status(self) -> ForwardStatus:
        """The forward as it stands now, and how many have asked for an address: they resolve names here."""
        return super().status()._replace(by_address=self._by_address)

    def _new_client(self) -> asyncio.BaseProtocol:
        return _Handshake(self)

    def new_handshake(self, handshake: _Handshake) -> ProxyServer:
        """Own a client that has not said yet where it wants to go."""
        self._handshakes.add(handshake)
        return ProxyServer(credentials=self._credentials)

    def end_handshake(self, handshake: _Handshake) -> None:
        """The handshake is over, in whatever way."""
        self._handshakes.discard(handshake)

    def send_away(self, transport: asyncio.Transport, reply: bytes, end: SocketEnd | None = None) -> None:
        """Tell a client why, and let it go; ``end`` is told when it has gone."""

        def lost(lingering: Lingering, exc: Exception | None) -> None:
            self._handshakes.discard(lingering)
            if end is not None:
                end.connection_lost(exc)

        self._handshakes.add(Lingering(transport, reply, lost))

    def serve(self, transport: asyncio.Transport, server: ProxyServer, request: ConnectRequest) -> None:
        """Open a channel for a client, and answer it only then."""
        self._by_address += is_ip_address(request.host)
        end = SocketEnd(self.counters, on_lost=self._lose)
        if server.exchange is None:
            end.far.greeting = server.succeeded
            end.take_over(transport, server.trailing)
        else:
            early = server.exchange.request(server.trailing)
            if isinstance(early, Fail):
                self.send_away(transport, early.reply)
                return
            client = PlainClient(
                transport, server.exchange, end, functools.partial(self.send_away, transport)
            )
            end.take_over(client, early)

        def refuse(error: DialError) -> None:
            reply = server.failed(error.reason)
            if server.in_http:
                self.send_away(transport, reply, end)
            else:
                transport.write(reply)
                transport.close()

        self._serve(end, TcpAddress(request.host, request.port), refuse=refuse, origin=origin_of(transport))


class _Handshake(asyncio.Protocol):
    """The socket of one client until its request is complete."""

    def __init__(self, forwarder: DynamicForwarder) -> None:
        self._forwarder = forwarder
        self._transport: asyncio.Transport | None = None
        self._server: ProxyServer | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server = self._forwarder.new_handshake(self)
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT, self._too_slow)
        if self._forwarder.closed:  # accepted in the very moment of closing
            self.abort()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        assert self._server is not None
        for event in self._server.receive(data):
            match event:
                case Send(reply):
                    self._transport.write(reply)
                case Fail(reply, _):
                    self._refuse(reply)
                case ConnectRequest():
                    self._end()
                    self._forwarder.serve(self._transport, self._server, event)

    def _refuse(self, reply: bytes) -> None:
        assert self._transport is not None
        assert self._server is not None
        if self._server.in_http:
            self._end()
            self._forwarder.send_away(self._transport, reply)
        else:
            self._transport.write(reply)
            self._transport.close()

    def _too_slow(self) -> None:
        assert self._server is not None
        reply = self._server.timed_out()
        if reply:
            self._refuse(reply)
        else:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def abort(self) -> None:
        """Too slow to be told so, or no longer wanted."""
        if self._transport is not None:
            reset(self._transport)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._forwarder.end_handshake(self)


async def credentials_of(auth: ProxyAuth) -> Credentials:
    """Find the password that clients of a proxy must give. Raises ListenError where there is none."""
    try:
        secret = await password_command.run(auth.password_command)
    except BadSetting as error:
        raise ListenError(f"auth: {error.message}", hint=error.hint) from error
    return _checker(auth.username, secret)


def _checker(username: str, password: str) -> Credentials:
    """Compare in constant time, so that the time an answer takes says nothing about the secret."""
    wanted_name, wanted_password = username.encode(), password.encode("utf-8", "surrogateescape")

    def check(name: bytes, secret: bytes) -> bool:
        name_ok = hmac.compare_digest(name, wanted_name)
        return hmac.compare_digest(secret, wanted_password) and name_ok

    return check
