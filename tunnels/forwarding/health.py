"""What the destination of a forward answered last: to clients, and to probes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tunnels.core.status import DestinationStatus
from tunnels.errors import DialError, DialReason


class Health:
    """How the destination of one forward does. A proxy has many of them, and keeps no account."""

    def __init__(self, on_change: Callable[[], None], *, wall_clock: Callable[[], float] = time.time) -> None:
        self._on_change = on_change
        self._wall_clock = wall_clock
        self.failures = 0  #: in a row
        self.alive_at: float | None = None  #: in the event loop's time: when it was last seen to answer
        self._error: DialError | None = None
        self._at: float | None = None

    def answered(self) -> None:
        """It has taken a connection."""
        self.alive_at = asyncio.get_running_loop().time()
        was_in_trouble = self.failures > 0
        self.failures, self._error, self._at = 0, None, self._wall_clock()
        if was_in_trouble:
            self._on_change()

    def refused(self, error: DialError) -> None:
        """It has not. That the tunnel is not connected says nothing about it."""
        if error.reason is DialReason.LINK_DOWN:
            return
        self.failures += 1
        self._error, self._at = error, self._wall_clock()
        self._on_change()

    def status(self) -> DestinationStatus | None:
        """As it stands now; None where nothing is known."""
        if self._at is None:
            return None
        if self._error is None:
            return DestinationStatus(0, self._at)
        reason = self._error.reason.name.lower().replace("_", "-")
        return DestinationStatus(self.failures, self._at, reason, self._error.message)
