"""Watches for how long a connection has had no clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tunnels.supervisor.alarm import Alarm
from tunnels.supervisor.forwards import Forwards


class IdleWatch:
    """From `start` to `stop`, calls ``unused`` once there has been no client for ``timeout`` seconds."""

    def __init__(
        self,
        forwards: Forwards,
        timeout: float,
        unused: Callable[[], None],
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._forwards = forwards
        self._timeout = timeout
        self._unused = unused
        self._loop = loop
        self._timer = Alarm(loop)
        self._started_at = 0.0

    def start(self) -> None:
        """The connection is there."""
        self.stop()
        self._started_at = self._loop.time()
        self._look()

    def stop(self) -> None:
        """The connection is away."""
        self._timer.cancel()

    def _look(self) -> None:
        """Look again when it could have been for long enough."""
        now = self._loop.time()
        since = now if self._forwards.clients else max(self._forwards.last_client_at, self._started_at)
        if now >= since + self._timeout:
            self._unused()
        else:
            self._timer.set(since + self._timeout, self._look)
