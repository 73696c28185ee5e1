"""Local forwards (``ssh -L``): clients connect here, the server connects to the destination."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tunnels.core.address import Address, TcpAddress
from tunnels.core.backoff import listen_delay
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.state import ForwardState
from tunnels.errors import DialError, ForwardError, ListenError
from tunnels.forwarding.channel import Link, LinkLost, Origin
from tunnels.forwarding.door import Door
from tunnels.forwarding.forwarder import Forwarder, Visit
from tunnels.forwarding.listener import Listener
from tunnels.forwarding.relay import SocketEnd
from tunnels.forwarding.unix_listener import UnixListener
from tunnels.tasks import TaskScope

_log = logging.getLogger("tunnels")

#: Told of every client that could not be served: (destination, why).
OnRefused = Callable[[Address, DialError], None]

#: Tells a client that there is no channel for it.
Refuse = Callable[[DialError], None]


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
        self.door = door  #: where the connection is met
        self.scope = scope  #: of tasks
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
            self._retry = self.scope.spawn(self._keep_trying(), name=f"listen on {self.forward.listen}")

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
        refuse: Refuse,
        origin: Origin | None = None,
    ) -> None:
        """Couple a client to a channel; ``refuse`` says how the client is told that there is none."""
        if origin is None:
            assert end.transport is not None
            origin = origin_of(end.transport)
        self.visits[end] = approach = Approach(self, end, connect, origin, refuse)
        link = self.door.link
        if link is None:
            approach.wait()
        else:
            approach.ask(link)

    def turn_away(self, end: SocketEnd, connect: Address, error: DialError, refuse: Refuse) -> None:
        """There is no channel for a client."""
        if not end.gone:
            self.health.refused(error)
            self._on_refused(connect, error)
            refuse(error)


class Approach(Visit):
    """The way of one client to its channel. It takes a task only while the connection is away."""

    __slots__ = ("_end", "_forwarder", "_link", "_refuse")

    def __init__(
        self,
        forwarder: ListeningForwarder,
        end: SocketEnd,
        connect: Address,
        origin: Origin,
        refuse: Refuse,
    ) -> None:
        super().__init__(origin, connect)
        self._forwarder = forwarder
        self._end = end
        self._refuse = refuse
        self._link: Link | None = None  # that was asked for the channel

    def wait(self) -> None:
        """Wait for the connection, or for another one than that which was lost."""
        name = f"client for {self.connect}"
        self.waiting = self._forwarder.scope.spawn(self._through_the_door(), name=name)

    async def _through_the_door(self) -> None:
        forwarder, end = self._forwarder, self._end
        forwarder.counters.held += 1
        try:
            link = await forwarder.door.enter(after=self._link)
        except DialError as error:
            forwarder.turn_away(end, self.connect, error, self._refuse)
        except BaseException:
            end.reset()
            raise
        else:
            self.waiting = None  # from here on a client that goes is noticed when its channel opens
            self.ask(link)
        finally:
            forwarder.counters.held -= 1

    def ask(self, link: Link) -> None:
        """Ask for a channel."""
        self._link = link
        try:
            link.open_channel(self._end.far, self.connect, self.origin, self._answered)
        except Exception:  # noqa: BLE001 - a bug is the end of this client, and of no other
            self._fail_with_bug()

    def _answered(self, error: DialError | LinkLost | None) -> None:
        forwarder, end = self._forwarder, self._end
        try:
            if error is None:
                forwarder.health.answered()
            elif isinstance(error, DialError):
                forwarder.turn_away(end, self.connect, error, self._refuse)
            elif not end.gone and not forwarder.closed:
                self.wait()  # that the connection was lost meanwhile is not the client's fault
        except Exception:  # noqa: BLE001 - as above
            self._fail_with_bug()

    def _fail_with_bug(self) -> None:
        _log.exception("a client for %s ended with a bug", self.connect)
        self._end.reset()


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
