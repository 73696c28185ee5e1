"""What the three kinds of forward have in common: a state, counters, and a status."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Callable, Iterator

from tunnels.core.address import Address, describe_connect, describe_listen
from tunnels.core.audience import audience
from tunnels.core.client_status import ClientStatus
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.state import ForwardState
from tunnels.core.status import ForwardStatus
from tunnels.errors import InternalError, TunnelsError
from tunnels.forwarding import interfaces
from tunnels.forwarding.channel import Origin
from tunnels.forwarding.health import Health
from tunnels.forwarding.relay import Counters, SocketEnd

_log = logging.getLogger("tunnels")


class Visit:
    """What is known of a client."""

    __slots__ = ("came", "connect", "origin", "waiting")

    def __init__(self, origin: Origin, connect: Address) -> None:
        self.origin = origin  #: where it comes from
        self.connect = connect  #: where it goes
        self.came = asyncio.get_running_loop().time()  #: in the event loop's time
        #: what waits for the connection for it, and is cancelled when it goes
        self.waiting: asyncio.Task[None] | None = None


class Forwarder:
    """One forward of a running tunnel."""

    def __init__(self, forward: Forward, *, on_change: Callable[[], None]) -> None:
        self.forward = forward
        self.counters = Counters()
        self.health = Health(on_change)  #: of its destination
        self.state = ForwardState.PENDING
        self.error: TunnelsError | None = None
        #: told when a forward that had failed listens after all: the forward, and how many seconds it took
        self.on_healed: Callable[[Forward, float], None] = lambda _forward, _seconds: None
        self._failing_since: float | None = None  # of the monotonic clock
        self._on_change = on_change
        self.last_client_at = 0.0  #: when the last client went, in the event loop's time
        #: every end until it is lost; whose, as soon as that is known
        self.visits: dict[SocketEnd, Visit | None] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.forward}: {self.state.value}, {self.counters.clients} clients>"

    def _become(self, state: ForwardState, error: TunnelsError | None = None) -> None:
        self.state = state
        self.error = error
        if state is not ForwardState.FAILED:
            since, self._failing_since = self._failing_since, None
            if since is not None and state is ForwardState.LISTENING:
                self.on_healed(self.forward, time.monotonic() - since)
        elif self._failing_since is None:
            self._failing_since = time.monotonic()
        self._on_change()

    def _fail_with_bug(self, exc: Exception) -> None:
        _log.error("%s ended with a bug", self.forward, exc_info=exc)
        error = InternalError(f"{type(exc).__name__}: {exc}", hint="`tunnels logs` has the details")
        self._become(ForwardState.FAILED, error)

    def _lose(self, end: SocketEnd) -> None:
        """The socket of an end is gone; whoever still waits for its channel need not."""
        self.last_client_at = asyncio.get_running_loop().time()
        visit = self.visits.pop(end, None)
        if visit is not None and visit.waiting is not None:
            visit.waiting.cancel()

    def reset_clients(self) -> None:
        """End every client of this forward with a reset."""
        for end in list(self.visits):
            end.reset()

    def each_client(self) -> Iterator[ClientStatus]:
        """Who uses this forward now; of which tunnel it is, and where in the profile, its owner knows."""
        now, kind = asyncio.get_running_loop().time(), self.forward.kind
        for end, visit in list(self.visits.items()):
            if visit is None:
                continue
            origin = visit.origin
            yield ClientStatus(
                tunnel="",
                forward=0,
                kind=kind.value,
                origin=origin if origin[0] else None,
                connect=describe_connect(visit.connect) or "",
                seconds=round(now - visit.came, 1),
                waiting=visit.waiting is not None,
                pid=None if origin[0] or kind is ForwardKind.REMOTE else peer_pid(end.transport),
            )

    def status(self) -> ForwardStatus:
        """The forward as it stands now."""
        counters = self.counters
        if self.forward.kind is ForwardKind.REMOTE:  # there, the socket is the destination's
            bytes_in, bytes_out = counters.from_socket, counters.to_socket
        else:
            bytes_in, bytes_out = counters.to_socket, counters.from_socket
        return ForwardStatus(
            name=self.forward.name,
            kind=self.forward.kind.value,
            listen=self._listen_text(),
            connect=describe_connect(self.forward.connect),
            state=self.state,
            clients=counters.clients,
            clients_total=counters.clients_total,
            held=counters.held,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            error=None if self.error is None else self.error.info,
            reachable_by_others=self.forward.reachable_by_others,
            audience=self._audience(),
            destination=None if self.forward.is_proxy else self.health.status(),
        )

    def _audience(self) -> str | None:
        """Who can connect, where it is not this machine alone."""
        if not self.forward.reachable_by_others:
            return None
        addresses, firewall = interfaces.facts()
        return audience(self.forward, host="the server", interfaces=addresses, firewall=firewall).text

    def _listen_text(self) -> str:
        return describe_listen(self.forward.listen)


def peer_pid(transport: asyncio.BaseTransport | None) -> int | None:
    """The process at the other end of a unix socket; None where the system does not tell (unix(7), SO_PEERCRED)."""
    sock = None if transport is None else transport.get_extra_info("socket")
    option = getattr(socket, "SO_PEERCRED", None)
    if sock is None or option is None or sock.family != socket.AF_UNIX:
        return None
    try:
        pid, _uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, 12))
    except OSError:  # it has gone this very moment
        return None
    return pid or None
