"""The engine: tunnels, what they need of this machine, and who is told of what becomes of them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from functools import partial

from tunnels.core.path import NetworkChange
from tunnels.daemon.observers import Observers
from tunnels.ssh.connect import connect
from tunnels.ssh.hops import Hops
from tunnels.supervisor.network import NetworkMonitor, system_events, system_routes
from tunnels.supervisor.portal_probe import HttpPortalProbe
from tunnels.supervisor.supervisor import Supervisor

_log = logging.getLogger("tunnels")

#: Seconds for all tunnels together to go down.
CLOSE_TIMEOUT = 10.0


class Engine:
    """Everything but who gives the orders; the same in the daemon and in the foreground."""

    def __init__(self, *, on_desired: Callable[[tuple[str, ...]], None], history: bool) -> None:
        self._observers = Observers(history=history)
        routes = system_routes()
        self._hops = Hops()
        self._portals = HttpPortalProbe()
        self.supervisor = Supervisor(
            partial(connect, hops=self._hops),
            random=random.random,
            wall_clock=time.time,
            on_desired=on_desired,
            observer=self._observers.observe,
            routes=routes,
            portals=self._portals,
        )
        self._network = NetworkMonitor(self._network_changed, events=system_events(), routes=routes)

    def start(self) -> None:
        """Begin to watch the network."""
        self._network.start()

    def _network_changed(self, change: NetworkChange) -> None:
        if change.slept:
            self._observers.slept(change.slept)
        if change.clock_set:
            self._observers.clock_set(change.clock_set)
        self.supervisor.network_changed(change)

    async def aclose(self) -> None:
        """Take the tunnels down, without forgetting what should be up; bounded in time."""
        self._network.close()
        self._observers.ending()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.supervisor.aclose()
        except TimeoutError:
            _log.error("some tunnels did not stop in time")
        await self._hops.aclose()
        await self._portals.aclose()
        await self._observers.aclose()
