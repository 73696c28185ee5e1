"""Local forwards (``ssh -L``): clients connect here, the server connects to the destination."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tunnels.core.address import Address, TcpAddress
from tunnels.core.backoff import listen_delay
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.state import ForwardState
from tunnels.errors import DialError, ForwardError, ListenError
from tunnels.forwarding.channel import Link, LinkLost, Origin
from tunnels.forwarding.door import Door
from tunnels.forwarding.forwarder import Forwarder
from tunnels.forwarding.listener import Listener
from tunnels.forwarding.relay import SocketEnd
from tunnels.forwarding.unix_listener import UnixListener
from tunnels.tasks import TaskScope

#: Told of every client that could not be served: (destination, why).
OnRefused = Callable[[Address, DialError], None]


class ListeningForwarder(Forwarder):
    """A forward that listens on this machine: its sockets, and the way of a client to a channel."""

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
        super().__init__(forward, on_change=on_change)
        self._tunnel = tunnel  # whose forward it is, for others to whom it is in the way
        self._door = door
        self._scope = scope
        self._on_refused = on_refused
        self._listener: Listener | UnixListener | None = None
        self._retry: asyncio.Task[None] | None = None
        self.closed = True  # between `close` and the next `bind`

    async def bind(self) -> None:
        """Listen. A failure becomes the state of this forward, and is tried again until `close`."""
        self.closed = False
        if await self._try_to_bind():
            return
        if isinstance(self.error, ListenError):
            self._retry = self._scope.spawn(self._keep_trying(), name=f"listen on {self.forward.listen}")

    async def _try_to_bind(self) -> bool:
        address = self.forward.listen
        try:
            listener = await self._listen(address)
        except ForwardError as error:
            changed = self.error is None or self.error.message != error.message
            if changed or self.state is not ForwardState.FAILED:
                self._become(ForwardState.FAILED, error)
            return False
        except Exception as exc:  # noqa: BLE001 - a bug is the end of this forward, not of its siblings
            self._fail_with_bug(exc)
            return False
        self._listener = listener
        self._become(ForwardState.LISTENING)
        return True

    async def _listen(self, address: Address) -> Listener | UnixListener:
        if isinstance(address, TcpAddress):
            return await Listener.bind(address, self._new_client, self._tunnel)
        if self.forward.kind is ForwardKind.DYNAMIC:  # no program takes a path for its proxy
            raise ForwardError("a proxy cannot listen on a unix socket", hint="give it a port")
        return await UnixListener.bind(address, self._new_client, self._tunnel)

    async def _keep_trying(self) -> None:
        failures = 1
        while True:
            await asyncio.sleep(listen_delay(failures))
            if await self._try_to_bind():
                return
            failures += 1

    def close(self) -> None:
        """Stop listening, and end every client with a reset."""
        self.closed = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self.reset_clients()
        if self.state is not ForwardState.PENDING:
            self._become(ForwardState.PENDING)

    def _new_client(self) -> asyncio.BaseProtocol:
        raise AssertionError("every kind has its own way to begin")

    def _serve(
        self,
        end: SocketEnd,
        connect: Address,
        *,
        refuse: Callable[[DialError], None],
        origin: Origin | None = None,
    ) -> None:
        """Begin to open a channel for a client; ``refuse`` says how the client is told that there is none."""
        if origin is None:
            assert end.transport is not None
            origin = origin_of(end.transport)
        self._know(end, origin, connect)
        coroutine = self._open(end, connect, origin, refuse)
        self._add(end, self._scope.spawn(coroutine, name=f"client for {connect}"))

    async def _open(
        self, end: SocketEnd, connect: Address, origin: Origin, refuse: Callable[[DialError], None]
    ) -> None:
        """Find the connection, waiting for it if need be, and couple the client to a channel.

        A connection that is lost meanwhile is not the client's fault: it waits for the next one.
        """
        dead: Link | None = None
        try:
            while True:
                self.counters.held += 1
                try:
                    link = await self._door.enter(after=dead)
                finally:
                    self.counters.held -= 1
                # From here on the channel looks after itself: cancelling would leave it open for ever on
                # the server's side (asyncssh), so a client that goes now is noticed when it opens.
                self._let_open(end)
                try:
                    await link.open_channel(end.far, connect, origin)
                except LinkLost:
                    if end.gone:
                        return
                    dead = link
                    self._add(end, asyncio.current_task())  # it waits again, and may be called off again
                else:
                    self.health.answered()
                    return
        except DialError as error:
            if not end.gone:
                self.health.refused(error)
                self._on_refused(connect, error)
                refuse(error)
        except BaseException:
            end.reset()
            raise


def origin_of(transport: asyncio.BaseTransport) -> Origin:
    """Where a client comes from, as the server is told. A unix socket has no such address."""
    peer = transport.get_extra_info("peername")
    return (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else ("", 0)


class LocalForwarder(ListeningForwarder):
    """``-L``: every client goes to the same destination."""

    def _new_client(self) -> asyncio.BaseProtocol:
        return SocketEnd(self.counters, on_made=self._arrived, on_lost=self._lose)

    def _arrived(self, end: SocketEnd) -> None:
        if self.closed:  # accepted in the very moment of closing
            end.reset()
            return
        connect = self.forward.connect
        assert connect is not None
        # Refused with a reset and not an end of file: there was no answer that could have ended.
        self._serve(end, connect, refuse=lambda _: end.reset())
