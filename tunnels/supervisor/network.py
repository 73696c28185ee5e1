"""Tells when the network of this machine changes, and when the machine has slept.

Where the news comes from: rtnetlink on Linux (``supervisor.rtnetlink``), the routing socket on macOS and the
BSDs (route(4)), and on other systems a look at the addresses every `TICK` seconds. The monotonic
clock stands still while the machine sleeps, and on Linux CLOCK_BOOTTIME does not (clock_gettime(2)): the
difference is sleep. A wall clock that goes further than both was set. Where there is no such clock the two
cannot be told apart, and count as sleep. A tick that comes much too late is this process alone being stopped.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import time
from collections.abc import Callable
from typing import Protocol

from tunnels.core.path import NetworkChange
from tunnels.supervisor.routes import ANYWHERE, Routes, SocketRoutes

_log = logging.getLogger("tunnels")

#: Seconds between two looks at the clocks.
TICK = 2.0

#: Seconds that the clocks may differ after a tick, and that a tick may be late, before it counts as sleep. A
#: busy machine is late by less; a time server that sets the clock costs nothing but a probe.
SLEEP = 5.0

#: Changes come in bursts: a new Wi-Fi is a link, some addresses and some routes within some milliseconds.
DEBOUNCE = 0.1


#: Goes on while the machine sleeps; None where the system has no such clock.
BOOTTIME: Callable[[], float] | None = (
    functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else None
)


class Events(Protocol):
    """Where news of the network comes from."""

    def fileno(self) -> int:
        """What becomes readable when there is news."""

    def read(self) -> NetworkChange | None:
        """The news since the last time; None: nothing that matters. Never blocks, never raises."""

    def close(self) -> None:
        """Stop listening."""


class RoutingSocket:
    """macOS and the BSDs: a message for each change of links, addresses and routes (route(4))."""

    def __init__(self) -> None:
        self._sock = socket.socket(17, socket.SOCK_RAW, 0)  # PF_ROUTE; Python has no name for it
        self._sock.setblocking(False)

    def fileno(self) -> int:
        """See `Events`."""
        return self._sock.fileno()

    def read(self) -> NetworkChange | None:
        """See `Events`. What exactly has changed is looked up in the routes."""
        found = None
        while True:
            try:
                self._sock.recv(65_536)
            except BlockingIOError:
                return found
            except OSError:
                return NetworkChange(missed=True)
            found = NetworkChange()

    def close(self) -> None:
        """See `Events`."""
        self._sock.close()


def system_events() -> Events | None:
    """Where this system tells of changes; None: nowhere, or it does not let us listen."""
    try:
        if hasattr(socket, "AF_NETLINK"):
            from tunnels.supervisor.rtnetlink import NetlinkEvents  # noqa: PLC0415 - AF_NETLINK is Linux only

            return NetlinkEvents()
        return RoutingSocket()
    except OSError as exc:
        _log.warning("changes of the network cannot be heard (%s); they are looked for", exc.strerror or exc)
        return None


def system_routes() -> Routes:
    """How this system is asked for routes."""
    if hasattr(socket, "AF_NETLINK"):
        from tunnels.supervisor.rtnetlink import NetlinkRoutes  # noqa: PLC0415 - AF_NETLINK is Linux only

        try:
            return NetlinkRoutes()
        except OSError as exc:
            _log.warning("routes cannot be asked for with netlink: %s", exc.strerror or exc)
    return SocketRoutes()


class NetworkMonitor:
    """Calls ``on_change`` after each burst of changes, and after sleep."""

    def __init__(
        self,
        on_change: Callable[[NetworkChange], None],
        *,
        events: Events | None,
        routes: Routes,
        wall_clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        boottime: Callable[[], float] | None = BOOTTIME,
    ) -> None:
        self._on_change = on_change
        self._events = events
        self._routes = routes
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._boottime = boottime
        self._loop: asyncio.AbstractEventLoop  # from `start` on
        self._pending: NetworkChange | None = None
        self._debounce: asyncio.TimerHandle | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._clocks = (0.0, 0.0, 0.0)
        self._seen = routes.paths(ANYWHERE)

    def start(self) -> None:
        """Begin to listen."""
        self._loop = asyncio.get_running_loop()
        if self._events is not None:
            self._loop.add_reader(self._events.fileno(), self._read)
        self._clocks = self._read_clocks()
        self._tick = self._loop.call_later(TICK, self._look)

    def close(self) -> None:
        """Stop. Does nothing the second time."""
        for timer in (self._debounce, self._tick):
            if timer is not None:
                timer.cancel()
        if self._events is not None:
            if self._tick is not None:
                self._loop.remove_reader(self._events.fileno())
            self._events.close()
            self._events = None
        self._routes.close()

    def _read(self) -> None:
        assert self._events is not None
        change = self._events.read()
        if change is not None:
            self._changed(change)

    def _changed(self, change: NetworkChange) -> None:
        self._pending = change if self._pending is None else self._pending.merged(change)
        if self._debounce is None:
            self._debounce = self._loop.call_later(DEBOUNCE, self._tell)

    def _tell(self) -> None:
        change, self._pending, self._debounce = self._pending, None, None
        assert change is not None
        self._on_change(change)

    def _read_clocks(self) -> tuple[float, float, float]:
        """The wall clock, the time awake, and the time with all sleep in it."""
        wall = self._wall_clock()
        return wall, self._monotonic(), wall if self._boottime is None else self._boottime()

    def _look(self) -> None:
        """Look at the clocks, and, where nobody tells of changes, at the routes."""
        self._tick = self._loop.call_later(TICK, self._look)
        before, self._clocks = self._clocks, self._read_clocks()
        wall, awake, all_of_it = (now - then for now, then in zip(self._clocks, before, strict=True))
        if max(all_of_it - awake, awake - TICK) > SLEEP:
            slept = max(all_of_it, awake)  # without CLOCK_BOOTTIME: the wall clock may have been set back
            _log.info("the machine, or this process, slept for %.0f s", slept)
            self._changed(NetworkChange(slept=slept))
        if wall - all_of_it > SLEEP:
            _log.info("the clock was put forward by %.0f s", wall - all_of_it)
            self._changed(NetworkChange(clock_set=wall - all_of_it))
        if self._events is None:
            seen = self._routes.paths(ANYWHERE)
            if seen != self._seen:
                self._seen = seen
                self._changed(NetworkChange())
