"""Runs a command of the profile file, bounded in time and in what is kept of its output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tunnels import open_files

#: Seconds for a command that was killed to be gone.
_END_TIMEOUT = 1.0

#: Bytes that are read at once.
_CHUNK = 64 * 1024


class Done(NamedTuple):
    """How a command ended."""

    status: int | None  #: of its exit, negative for a signal; None: it did not end in time, and was killed
    output: bytes  #: the beginning of it


async def run(
    words: Sequence[str],
    *,
    timeout: float,  # noqa: ASYNC109 - what to do when it is over is the point of this function
    limit: int,
    errors: bool = False,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    spare: bool = False,
) -> Done:
    """Run a program until it has ended and its output too, or until ``timeout`` seconds have passed.

    It has no terminal and no input. Of its output, with ``errors`` also of what it says on stderr,
    ``limit`` bytes are kept; the rest is read and thrown away, or it would die of SIGPIPE. With it ends
    everything in its process group, unless it ends by itself and ``spare`` says to let that be.

    Raises OSError where it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *open_files.ours.as_before(words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT if errors else asyncio.subprocess.DEVNULL,
        env=None if env is None else dict(env),  # uvloop takes no other mapping
        cwd=folder,
        start_new_session=True,  # no terminal to read from, and none to print to
    )
    assert process.stdout is not None
    output = b""
    ended = False
    try:
        async with asyncio.timeout(timeout):
            while chunk := await process.stdout.read(_CHUNK):
                output += chunk[: limit - len(output)]
            await process.wait()
            ended = True
    except TimeoutError:
        pass
    finally:
        if not (ended and spare):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started and left behind
        # Something may have a session of its own and hold the pipe, for which wait() would wait too.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_TIMEOUT):
                await process.wait()
        transport = getattr(process, "_transport", None)  # asyncio has no public way to let go of the pipe
        if transport is not None:
            transport.close()
    return Done(process.returncode if ended else None, output)
