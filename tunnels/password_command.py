"""Runs a `password_command` of the profile file. Its output is a secret: it is returned, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

from tunnels.errors import BadSetting

#: Seconds; a password manager may have to ask a person first.
TIMEOUT = 60.0

#: Seconds for a command that was killed to be gone.
_END_TIMEOUT = 1.0

#: Bytes of output that are looked at.
_LIMIT = 64 * 1024


async def run(command: str) -> str:
    """The first line that ``sh -c command`` prints, without its end of line.

    Raises BadSetting where the command fails, prints nothing or does not end within `TIMEOUT` seconds;
    the message has the command's exit status, never its output.
    """
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # no terminal to read from, and none to print to
    )
    assert process.stdout is not None
    output = b""
    try:
        async with asyncio.timeout(TIMEOUT):
            while chunk := await process.stdout.read(
                _LIMIT
            ):  # to the end, or the command would die of SIGPIPE
                output += chunk[: _LIMIT - len(output)]
            await process.wait()
    except TimeoutError as exc:
        raise BadSetting(f"password_command did not end within {TIMEOUT:g} s") from exc
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started and left behind
        # Something may have a session of its own and hold the pipe, for which wait() would wait too.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_TIMEOUT):
                await process.wait()
        transport = getattr(process, "_transport", None)  # asyncio has no public way to let go of the pipe
        if transport is not None:
            transport.close()
    if process.returncode != 0:
        raise BadSetting(
            f"password_command ended with status {process.returncode}",
            hint="try it in a shell: it must print the secret",
        )
    line = output.split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise BadSetting(
            "password_command printed nothing", hint="its first line of output must be the secret"
        )
    return line.decode("utf-8", "surrogateescape")
