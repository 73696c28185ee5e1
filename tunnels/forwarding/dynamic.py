"""Dynamic forwards (``ssh -D``): a SOCKS proxy that answers only when it knows the answer.

The handshake is `core.socks`; this module gives it a socket and a time limit, and then hands the socket
to the relay. Names are resolved at the far end: the name goes into the channel request as it is.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from typing import cast

from tunnels import password_command
from tunnels.core.address import TcpAddress, is_ip_address
from tunnels.core.forward import Forward, ProxyAuth
from tunnels.core.socks import ConnectRequest, Fail, Send, SocksServer
from tunnels.core.state import ForwardState
from tunnels.core.status import ForwardStatus
from tunnels.errors import BadSetting, DialError, ListenError
from tunnels.forwarding.door import Door
from tunnels.forwarding.local import ListeningForwarder, OnRefused, origin_of
from tunnels.forwarding.relay import SocketEnd, reset
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
    ) -> None:
        super().__init__(forward, door, scope, on_change=on_change, on_refused=on_refused)
        self._by_address = 0
        self._credentials: Credentials | None = None
        self._handshakes: set[_Handshake] = set()

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

    def new_handshake(self, handshake: _Handshake) -> SocksServer:
        """Own a client that has not said yet where it wants to go."""
        self._handshakes.add(handshake)
        return SocksServer(credentials=self._credentials)

    def end_handshake(self, handshake: _Handshake) -> None:
        """The handshake is over, in whatever way."""
        self._handshakes.discard(handshake)

    def serve(self, transport: asyncio.Transport, socks: SocksServer, request: ConnectRequest) -> None:
        """Open a channel for a client, and answer it only then."""
        self._by_address += is_ip_address(request.host)
        end = SocketEnd(self.counters, on_lost=self._lose)
        end.far.greeting = socks.succeeded
        end.take_over(transport, socks.trailing)

        def refuse(error: DialError) -> None:
            transport.write(socks.failed(error.reason))
            transport.close()

        self._serve(end, TcpAddress(request.host, request.port), refuse=refuse, origin=origin_of(transport))


class _Handshake(asyncio.Protocol):
    """The socket of one client until its request is complete."""

    def __init__(self, forwarder: DynamicForwarder) -> None:
        self._forwarder = forwarder
        self._transport: asyncio.Transport | None = None
        self._socks: SocksServer | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._socks = self._forwarder.new_handshake(self)
        self._deadline = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT, self.abort)
        if self._forwarder.closed:  # accepted in the very moment of closing
            self.abort()

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        assert self._socks is not None
        for event in self._socks.receive(data):
            match event:
                case Send(reply):
                    self._transport.write(reply)
                case Fail(reply, _):
                    self._transport.write(reply)
                    self._transport.close()
                case ConnectRequest():
                    self._end()
                    self._forwarder.serve(self._transport, self._socks, event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def abort(self) -> None:
        """Too slow, or no longer wanted."""
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
