"""Work in threads: what it gives, what it raises, and that nobody has to wait for one that hangs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tunnels.ssh.in_thread import in_thread


async def test_what_it_returns_and_what_it_raises_comes_back() -> None:
    def fail() -> None:
        raise ValueError("no card")

    assert await in_thread(lambda: threading.current_thread().name, name="card") == "card"
    with pytest.raises(ValueError, match="no card"):
        await in_thread(fail, name="card")


async def test_nobody_waits_for_work_that_hangs_and_the_end_of_the_program_neither() -> None:
    go_on = threading.Event()
    began = threading.Event()
    daemonic = []

    def hang() -> None:
        daemonic.append(threading.current_thread().daemon)
        began.set()
        go_on.wait(10)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await in_thread(hang, name="card")
    assert began.wait(5)
    go_on.set()
    assert daemonic == [True]
