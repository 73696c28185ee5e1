"""The forwards of one tunnel, together: bound, opened on a connection, released, counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from tunnels.core.client_status import ClientStatus
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.state import ForwardState
from tunnels.core.status import ForwardStatus
from tunnels.errors import TunnelsError
from tunnels.forwarding.channel import Link
from tunnels.forwarding.door import Door
from tunnels.forwarding.dynamic import DynamicForwarder
from tunnels.forwarding.forwarder import Forwarder
from tunnels.forwarding.local import ListeningForwarder, LocalForwarder, OnRefused
from tunnels.forwarding.remote import RemoteForwarder
from tunnels.supervisor.destination_probes import DestinationProbes, OnProbed
from tunnels.tasks import TaskScope

#: Told of a forward that cannot listen: (forward, why).
OnFailed = Callable[[Forward, TunnelsError], None]


#: Told of a forward that listens after all: (forward, seconds after it was first refused).
OnHealed = Callable[[Forward, float], None]


class Forwards:
    """What listens here is bound with the tunnel; what listens on the server, with each connection."""

    def __init__(
        self,
        forwards: tuple[Forward, ...],
        door: Door,
        scope: TaskScope,
        *,
        on_change: Callable[[], None],
        on_refused: OnRefused,
        on_failed: OnFailed,
        on_healed: OnHealed,
        on_bound: Callable[[], None],
        on_probed: OnProbed = lambda _forward, _error: None,
    ) -> None:
        self._scope = scope
        self._on_failed = on_failed
        self._on_bound = on_bound
        self._binding: asyncio.Task[None] | None = None
        self.listening: list[ListeningForwarder] = []
        self.remote: list[RemoteForwarder] = []
        self._all: list[Forwarder] = []
        for forward in forwards:
            forwarder: LocalForwarder | DynamicForwarder | RemoteForwarder
            if forward.kind is ForwardKind.REMOTE:
                forwarder = RemoteForwarder(forward, scope, on_change=on_change, on_refused=on_refused)
                self.remote.append(forwarder)
            else:
                kind = LocalForwarder if forward.kind is ForwardKind.LOCAL else DynamicForwarder
                forwarder = kind(
                    forward, door, scope, on_change=on_change, on_refused=on_refused, tunnel=scope.name
                )
                self.listening.append(forwarder)
            forwarder.on_healed = on_healed
            self._all.append(forwarder)
        self._probes = DestinationProbes(self._all, scope, on_probed)

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return f"<Forwards: {self._all!r}>"

    def statuses(self) -> tuple[ForwardStatus, ...]:
        """Every forward as it stands now, in the order of the profile."""
        return tuple(forwarder.status() for forwarder in self._all)

    def each_client(self, tunnel: str) -> Iterator[ClientStatus]:
        """Every client there is now, for the tunnel of this name."""
        for place, forwarder in enumerate(self._all):
            for client in forwarder.each_client():
                yield client._replace(tunnel=tunnel, forward=place)

    @property
    def clients(self) -> int:
        """How many clients there are now, waiting or served."""
        return sum(forwarder.counters.clients for forwarder in self._all)

    @property
    def last_client_at(self) -> float:
        """When the last client went, in the event loop's time; 0 if there was none."""
        return max((forwarder.last_client_at for forwarder in self._all), default=0.0)

    @property
    def first_error(self) -> TunnelsError | None:
        """Why the first of those that cannot listen cannot."""
        return next((forwarder.error for forwarder in self._all if forwarder.error is not None), None)

    def bind(self) -> None:
        """Begin to listen on this machine; a forward that cannot keeps trying by itself."""
        self._binding = self._scope.spawn(self._bind(), name="bind")

    async def _bind(self) -> None:
        await asyncio.gather(*(forwarder.bind() for forwarder in self.listening))
        self._tell_failed(self.listening)
        self._on_bound()

    async def bound(self) -> None:
        """Wait until every forward that listens here has been tried."""
        binding = self._binding
        if binding is not None:
            # Not awaited itself: the end of whoever waits must not be the end of the binding.
            await asyncio.wait([binding])
            if self._binding is binding:
                self._binding = None

    async def open(self, link: Link) -> None:
        """Ask the server for the remote listeners."""
        await asyncio.gather(*(forwarder.open(link) for forwarder in self.remote))
        self._tell_failed(self.remote)
        self._probes.start(link)

    def _tell_failed(self, forwarders: list[ListeningForwarder] | list[RemoteForwarder]) -> None:
        for forwarder in forwarders:
            if forwarder.state is ForwardState.FAILED and forwarder.error is not None:
                self._on_failed(forwarder.forward, forwarder.error)

    def link_lost(self) -> None:
        """The connection is away, and the server's listeners with it."""
        self._probes.stop()
        for forwarder in self.remote:
            forwarder.link_lost()

    def release(self) -> None:
        """Stop listening on this machine, and end every client there with a reset."""
        if self._binding is not None:
            self._binding.cancel()
            self._binding = None
        for forwarder in self.listening:
            forwarder.close()

    def reset_remote_clients(self) -> None:
        """End every client that came from the server's side with a reset."""
        for forwarder in self.remote:
            forwarder.reset_clients()
