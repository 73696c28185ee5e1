"""Times the answers to keepalives: the round-trip time of the connection, without a byte more on the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncssh


class RoundTrip:
    """The last measured round trip of a connection, and the shortest.

    asyncssh has no public name for what sends a keepalive and waits for its answer; where the private
    one is missing, nothing is measured and nothing breaks.
    """

    def __init__(self, conn: asyncssh.SSHClientConnection) -> None:
        self.milliseconds: float | None = None
        self.shortest: float | None = (
            None  #: milliseconds: the path itself, with nothing queued before or in it
        )
        self._conn = conn
        self._ask: Any = getattr(conn, "_make_keepalive_request", None)
        if self._ask is not None:
            conn._make_keepalive_request = self.measure  # type: ignore[method-assign]  # noqa: SLF001

    async def measure_first(self) -> None:
        """Measure a fresh connection. The first answer may wait 40 ms for an acknowledgement of ours.

        sshd sends what it has to say after the login in small packets, with Nagle's algorithm on
        (RFC 896); while one is not acknowledged, the answer to a keepalive stays with it.
        """
        if self._ask is not None:
            await self._ask()
            await self.measure()

    async def measure(self) -> None:
        """Send a keepalive and time its answer."""
        if self._ask is None:
            return
        started = time.perf_counter()  # not loop.time(), which uvloop keeps in whole milliseconds
        await self._ask()
        if not self._conn.is_closed():  # a connection that ends answers everything at once
            self.milliseconds = round((time.perf_counter() - started) * 1000, 2)
            self.shortest = min(self.milliseconds, self.shortest or self.milliseconds)

    async def answers(self, limit: float, signs: Callable[[], object] = lambda: None) -> bool:
        """Send a keepalive; whether its answer comes within ``limit`` seconds.

        In a connection that is busy the keepalive waits behind megabytes, for longer than any limit. So as
        long as ``signs`` of the other side, such as a count of its packets, go on to change, it is waited for.
        """
        if self._ask is None:
            return True  # nobody to ask: the usual keepalives must find out
        loop = asyncio.get_running_loop()

        seen, timer = signs(), loop.call_later(limit, lambda: look())  # noqa: PLW0108 - it comes below

        def look() -> None:
            nonlocal seen, timer
            before, seen = seen, signs()
            if seen != before:
                timer = loop.call_later(limit, look)
            else:
                patience.reschedule(loop.time())

        try:
            async with asyncio.timeout(None) as patience:
                await self.measure()
        except TimeoutError:
            return False
        finally:
            timer.cancel()
        return not self._conn.is_closed()
