"""One timer that can be set again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Rings once, at the time that was set last."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def set(self, at: float, ring: Callable[[], None]) -> None:
        """Call ``ring`` at ``at``, in the event loop's time."""
        self.cancel()
        self._handle = self._loop.call_at(at, self._due, ring)

    def _due(self, ring: Callable[[], None]) -> None:
        self._handle = None
        ring()

    def cancel(self) -> None:
        """Do not ring."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
