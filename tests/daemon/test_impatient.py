"""Threads that nobody waits for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tunnels.daemon.impatient import ImpatientExecutor


def test_a_loop_ends_though_a_thread_does_not() -> None:
    released, ended = threading.Event(), threading.Event()

    def never() -> None:
        released.wait(60)
        ended.set()

    async def give_up() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ImpatientExecutor())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await loop.run_in_executor(None, never)

    asyncio.run(give_up())
    assert not ended.is_set()
    released.set()
    assert ended.wait(10)


async def test_it_gives_what_a_call_gives_or_raises() -> None:
    loop = asyncio.get_running_loop()
    executor = ImpatientExecutor()
    assert await loop.run_in_executor(executor, sorted, [2, 1]) == [1, 2]
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(executor, lambda: 1 // 0)
