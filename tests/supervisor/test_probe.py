"""Probing a connection: one answer is enough, and only the latest probe counts."""

from __future__ import annotations

import asyncio

from tests.fakes import FakeConnection, turns
from tunnels.errors import ConnectionLost
from tunnels.supervisor.connector import Connection
from tunnels.supervisor.probe import Probe
from tunnels.tasks import TaskScope


class Asked(FakeConnection):
    """Answers a probe as the test says."""

    def __init__(self) -> None:
        super().__init__(lambda _error: None)
        self.said: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def probe(self, limit: float) -> bool:
        return await self.said


async def after(*answers: bool | None) -> list[ConnectionLost]:
    """Probe one connection after the other, then let each answer; None: it was stopped before."""
    silent: list[ConnectionLost] = []
    scope = TaskScope("test")
    probe = Probe(lambda: scope, silent.append)
    connections = [Asked() for _ in answers]
    for connection, answer in zip(connections, answers, strict=True):
        asked: Connection = connection
        probe.start(asked)
        await turns()
        if answer is None:
            probe.stop()
    for connection, answer in zip(connections, answers, strict=True):
        if not connection.said.done():
            connection.said.set_result(bool(answer))
    await turns()
    await scope.aclose()
    return silent


async def test_a_connection_that_answers_is_kept() -> None:
    assert await after(True) == []


async def test_a_connection_that_is_silent_is_told_with_how_long_it_had() -> None:
    (error,) = await after(False)
    assert error.message.startswith("no answer within ")


async def test_what_was_stopped_or_replaced_says_nothing() -> None:
    assert await after(None) == []
    assert len(await after(False, False)) == 1
