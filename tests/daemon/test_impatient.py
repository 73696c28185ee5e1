"""Threads that nobody waits for."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from tunnels.daemon.impatient import ImpatientExecutor

NEVER = """
import asyncio, threading
from tunnels.daemon.impatient import ImpatientExecutor

async def give_up():
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ImpatientExecutor())
    try:
        async with asyncio.timeout(0.01):
            await loop.run_in_executor(None, threading.Event().wait, 60)
    except TimeoutError:
        print("given up")

asyncio.run(give_up())
"""


def test_neither_a_loop_nor_a_program_waits_for_a_thread_that_does_not_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NEVER], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "given up\n"


async def test_it_gives_what_a_call_gives_or_raises() -> None:
    loop = asyncio.get_running_loop()
    executor = ImpatientExecutor()
    assert await loop.run_in_executor(executor, sorted, [2, 1]) == [1, 2]
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(executor, lambda: 1 // 0)
