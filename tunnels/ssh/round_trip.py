"""Times the answers to keepalives: the round-trip time of the connection, without a byte more on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh


class RoundTrip:
    """The last measured round trip of a connection.

    asyncssh has no public name for what sends a keepalive and waits for its answer; where the private
    one is missing, nothing is measured and nothing breaks.
    """

    def __init__(self, conn: asyncssh.SSHClientConnection) -> None:
        self.milliseconds: float | None = None
        self._conn = conn
        self._ask: Any = getattr(conn, "_make_keepalive_request", None)
        if self._ask is not None:
            conn._make_keepalive_request = self.measure  # type: ignore[method-assign]  # noqa: SLF001

    async def measure(self) -> None:
        """Send a keepalive and time its answer."""
        if self._ask is None:
            return
        loop = asyncio.get_running_loop()
        started = loop.time()
        await self._ask()
        if not self._conn.is_closed():  # a connection that ends answers everything at once
            self.milliseconds = round((loop.time() - started) * 1000, 2)
