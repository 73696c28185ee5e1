"""Remote forwards (``ssh -R``): the server listens, and this machine connects to the destination.

A forward without a destination is a proxy on the server's side; its clients say where they want to go.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import aiohappyeyeballs

from tunnels import open_files
from tunnels.core.address import Address, TcpAddress, describe_listen
from tunnels.core.backoff import LISTEN_RETRIES, listen_delay
from tunnels.core.forward import Forward
from tunnels.core.proxy import ProxyServer
from tunnels.core.state import ForwardState
from tunnels.errors import DialError, DialReason, ForwardError, ListenError
from tunnels.forwarding.channel import ChannelEnd, Link, LinkLost, ListenRefused, Origin, RemoteListener
from tunnels.forwarding.dynamic import Credentials, credentials_of
from tunnels.forwarding.forwarder import Forwarder, Visit
from tunnels.forwarding.relay import SocketEnd
from tunnels.forwarding.remote_proxy import ProxyEnd
from tunnels.forwarding.unix_listener import expand
from tunnels.tasks import TaskScope

#: Seconds for connecting to the destination; the client on the server's side waits meanwhile.
CONNECT_TIMEOUT = 10.0

OnRefused = Callable[[Address, DialError], None]


class RemoteForwarder(Forwarder):
    """``-R``: asked for again on every connection, because the server forgets it with the connection."""

    def __init__(
        self, forward: Forward, scope: TaskScope, *, on_change: Callable[[], None], on_refused: OnRefused
    ) -> None:
        super().__init__(forward, on_change=on_change)
        self._scope = scope
        self._on_refused = on_refused
        self._listener: RemoteListener | None = None
        self._retry: asyncio.Task[None] | None = None
        self._link: Link | None = None
        self._has_listened = False  # on this connection or one before
        self._credentials: Credentials | None = None  # that clients of a proxy must give

    async def open(self, link: Link) -> None:
        """Ask the server to listen. A refusal becomes the state, and is tried again while ``link`` lives."""
        self._link = link
        if not await self._try_to_listen(link) and isinstance(self.error, ListenError):
            self._retry = self._scope.spawn(
                self._keep_trying(link), name=f"remote listen {self.forward.listen}"
            )

    async def _try_to_listen(self, link: Link) -> bool:
        try:
            if self.forward.auth is not None and self._credentials is None:
                self._credentials = await credentials_of(self.forward.auth)
            listener = await link.listen(self.forward.listen, self._accept)
        except LinkLost:
            return False  # the next connection asks again
        except ForwardError as refusal:
            error = self._judge(refusal)
            if self.error is None or self.error.message != error.message:
                self._become(ForwardState.FAILED, error)
            return False
        except Exception as exc:  # noqa: BLE001 - a bug is the end of this forward, not of its siblings
            self._fail_with_bug(exc)
            return False
        self._listener = listener
        self._has_listened = True
        self._become(ForwardState.LISTENING)
        return True

    def _judge(self, refusal: ForwardError) -> ForwardError:
        """What had listened before and is refused now is held by our own last connection until proven otherwise."""
        listen = self.forward.listen
        chosen_by_server = isinstance(listen, TcpAddress) and listen.port == 0
        if not isinstance(refusal, ListenRefused) or not self._has_listened or chosen_by_server:
            return refusal
        if not isinstance(
            listen, TcpAddress
        ):  # what was found out about a socket says more than we can guess
            message = f"the server still holds {listen}, most likely for our own last connection"
            return ListenError(message, hint=refusal.hint)
        return ListenError(
            f"the server still holds port {listen.port}, most likely for our own last connection",
            # Measured with sshd 9.2: it does not count while clients keep coming to the port it holds for us.
            hint=(
                "ClientAliveInterval 15 and ClientAliveCountMax 3 in its sshd_config let go of dead connections "
                "sooner, within about 2 minutes if nobody knocks at it meanwhile; "
                f"tried again every {LISTEN_RETRIES[-1]:g} s"
            ),
        )

    async def _keep_trying(self, link: Link) -> None:
        failures = 1
        while self.state is ForwardState.FAILED:
            await asyncio.sleep(listen_delay(failures))
            if await self._try_to_listen(link):
                return
            failures += 1

    def link_lost(self) -> None:
        """The connection is away, and the server's listener with it."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._listener = self._link = None
        self.reset_clients()  # also those whose channel was about to open, and now never will
        self._become(ForwardState.PENDING)

    async def _accept(self, origin: Origin) -> ChannelEnd:
        """A client has connected on the server: connect to the destination for it, or ask where it wants to go."""
        if self.forward.connect is None:
            return ProxyEnd(
                ProxyServer(credentials=self._credentials), partial(self._dial, origin), self._scope
            )
        return (await self._dial(origin, self.forward.connect)).far

    async def _dial(self, origin: Origin, connect: Address) -> SocketEnd:
        """Connect to a destination for a client. Raises DialError."""
        link = self._link
        end = SocketEnd(self.counters, on_made=self._made, on_lost=self._lose)
        try:
            await connect_here(lambda: end, connect)
        except DialError as error:
            self.health.refused(error)
            self._on_refused(connect, error)
            raise
        self.health.answered()
        if not end.gone:
            self.visits[end] = Visit(origin, connect)
        if self._link is not link:  # lost while we connected: nobody is left to talk to
            end.reset()
            raise DialError("the connection is gone", reason=DialReason.LINK_DOWN)
        return end

    def _made(self, end: SocketEnd) -> None:
        self.visits[end] = None

    def _listen_text(self) -> str:
        listener, listen = self._listener, self.forward.listen
        if listener is not None and isinstance(listen, TcpAddress) and listen.port == 0:
            return describe_listen(replace(listen, port=listener.port))
        return super()._listen_text()


async def connect_here(factory: Callable[[], asyncio.BaseProtocol], connect: Address) -> asyncio.Transport:
    """Connect to a destination on this machine's side, within `CONNECT_TIMEOUT`. Raises DialError."""
    if open_files.ours.none_left():
        open_files.ours.turn_away()
        raise DialError("this process may open no more files", reason=DialReason.OTHER)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            return await _connect(factory, connect)
    except (OSError, UnicodeError) as exc:  # TimeoutError and gaierror are OSErrors
        raise _dial_error(exc, connect) from exc


async def _connect(factory: Callable[[], asyncio.BaseProtocol], connect: Address) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    if not isinstance(connect, TcpAddress):
        transport, _ = await loop.create_unix_connection(factory, expand(connect))
        return transport
    found = await loop.getaddrinfo(connect.host or "localhost", connect.port, type=socket.SOCK_STREAM)
    sock = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=0.25, interleave=1)
    try:
        transport, _ = await loop.create_connection(factory, sock=sock)
    except BaseException:  # also when nobody waits for it any more
        sock.close()
        raise
    return transport


_REASONS = {
    errno.ECONNREFUSED: DialReason.REFUSED,
    errno.EHOSTUNREACH: DialReason.HOST_UNREACHABLE,
    errno.ENETUNREACH: DialReason.NETWORK_UNREACHABLE,
    errno.ETIMEDOUT: DialReason.TIMED_OUT,
}


def _dial_error(exc: OSError | UnicodeError, connect: Address) -> DialError:
    match exc:
        case socket.gaierror() | UnicodeError():  # the latter: a name that no IDNA codec takes
            return DialError(f"{connect}: the name was not found", reason=DialReason.NAME_NOT_RESOLVED)
        case TimeoutError():
            message = f"{connect} did not answer within {CONNECT_TIMEOUT:g} s"
            return DialError(message, reason=DialReason.TIMED_OUT)
    number = exc.errno or 0
    text = os.strerror(number) if number else str(exc)
    return DialError(f"{connect}: {text}", reason=_REASONS.get(number, DialReason.OTHER))
