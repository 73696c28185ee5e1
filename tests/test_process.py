"""Commands: what of their output is kept, and that they end. More is in test_password_command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import psutil
import pytest

from tunnels.process import Done, run


async def sh(script: str, *, timeout: float = 5, errors: bool = False, spare: bool = False) -> Done:
    return await run(("/bin/sh", "-c", script), timeout=timeout, limit=1000, errors=errors, spare=spare)


async def test_output_and_status_are_those_of_the_program() -> None:
    assert await sh("echo hello; exit 3") == Done(3, b"hello\n")


async def test_words_are_words_and_no_shell_looks_at_them() -> None:
    assert (await run(("printf", "%s|", "$HOME; ls", "a b"), timeout=5, limit=99)).output == b"$HOME; ls|a b|"


async def test_what_it_says_on_stderr_is_kept_only_where_it_is_wanted() -> None:
    assert (await sh("echo a; echo b >&2")).output == b"a\n"
    assert (await sh("echo a; echo b >&2", errors=True)).output == b"a\nb\n"


async def test_of_a_flood_only_the_beginning_is_kept() -> None:
    done = await sh("head -c 5000000 /dev/zero")
    assert (done.status, len(done.output)) == (0, 1000)


async def test_it_has_no_input_and_the_folder_and_variables_it_is_given(home: Path) -> None:
    script = 'cat; pwd; echo "$NAME"'
    done = await run(("/bin/sh", "-c", script), timeout=5, limit=999, env={"NAME": "value"}, folder=home)
    assert done.output == f"{home}\nvalue\n".encode()


async def test_one_that_is_killed_says_by_what() -> None:
    assert (await sh("kill -9 $$")).status == -9


async def test_one_that_does_not_end_in_time_is_killed_with_its_group() -> None:
    done = await sh("sleep 600 & echo $!; wait", timeout=0.3)
    assert done.status is None
    async with asyncio.timeout(2):
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(int(done.output)).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0)


@pytest.mark.parametrize("spare", [True, False])
async def test_what_it_leaves_in_the_background_ends_with_it_unless_it_is_to_be_spared(spare: bool) -> None:
    done = await sh("sleep 600 >/dev/null 2>&1 & echo $!", spare=spare)
    child = psutil.Process(int(done.output)) if psutil.pid_exists(int(done.output)) else None
    try:
        assert done.status == 0
        if spare:
            assert child is not None
            with contextlib.suppress(psutil.TimeoutExpired):
                child.wait(0.2)  # it would be dead by then
            assert child.status() == psutil.STATUS_SLEEPING
        elif child is not None:
            async with asyncio.timeout(2):
                with contextlib.suppress(psutil.NoSuchProcess):
                    while child.status() != psutil.STATUS_ZOMBIE:
                        await asyncio.sleep(0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(done.output), signal.SIGKILL)


async def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        await run(("/nowhere/at-all",), timeout=5, limit=10)
