"""Tells watchers that something has changed. They ask for the full picture themselves, so none can miss a part."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

#: Seconds within which changes are told together: a tunnel coming up changes several times at once.
COALESCE = 0.05


class Bus:
    """One per daemon. `changed` costs nothing while nobody watches."""

    def __init__(self) -> None:
        self._watchers: set[asyncio.Event] = set()

    def changed(self) -> None:
        """Something is not as it was."""
        for event in self._watchers:
            event.set()

    def watch(self) -> Watch:
        """Begin to watch; use it as a context manager."""
        return Watch(self._watchers)


class Watch:
    """One watcher."""

    def __init__(self, watchers: set[asyncio.Event]) -> None:
        self._watchers = watchers
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        self._watchers.add(self._event)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watchers.discard(self._event)

    async def wait(self, timeout: float | None) -> None:  # noqa: ASYNC109 - the watcher's own interval
        """Wait for a change, but no longer than ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
                await asyncio.sleep(COALESCE)
        except TimeoutError:
            pass
        self._event.clear()
