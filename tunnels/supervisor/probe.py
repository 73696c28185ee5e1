"""Finds out, in a short time, whether a connection still works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tunnels.core.backoff import probe_limit
from tunnels.errors import ConnectionLost
from tunnels.supervisor.connector import Connection
from tunnels.tasks import TaskScope


class Probe:
    """One probe at a time, of one tunnel's connection of the moment."""

    def __init__(self, scope: Callable[[], TaskScope], on_silent: Callable[[ConnectionLost], None]) -> None:
        self._scope = scope
        self._on_silent = on_silent
        self._task: asyncio.Task[None] | None = None

    def start(self, connection: Connection) -> None:
        """Ask for a sign of life; ``on_silent`` is told if none came. It takes the place of one under way."""
        self.stop()
        self._task = self._scope().spawn(self._ask(connection), name="probe")

    def stop(self) -> None:
        """The answer is of no interest any more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _ask(self, connection: Connection) -> None:
        limit = probe_limit(connection.rtt_ms)
        if await connection.probe(limit):
            connection.expect_outage(False)
        elif (
            self._task is asyncio.current_task()
        ):  # or the answer is about a connection that has been replaced
            self._task = None  # or the tunnel would cancel it when it lets go of the connection
            self._on_silent(ConnectionLost(f"no answer within {limit:.1f} s after the network had changed"))
