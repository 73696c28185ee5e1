"""Whether a login gets more of a server than forwards: a command, a shell, a terminal.

For ``tunnels harden --test``. What is run, where it can be, is an ``echo``.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import asyncssh

from tunnels.forwarding.channel import LinkLost
from tunnels.ssh.connection import SshConnection

#: Seconds for a server to answer, and for what it runs to say something.
TIME_LIMIT = 10.0

#: Bytes of what a command prints that are read: a forced command may print anything, for ever.
_MOST = 64 * 1024


async def runs_commands(conn: SshConnection) -> bool:
    """Whether a command is run as it was asked for. A forced command in its place is a no."""
    first, second = secrets.token_hex(8), secrets.token_hex(8)
    # The shell must have put it together: a forced command may print what it was asked (SSH_ORIGINAL_COMMAND).
    return await _says(conn, f"{first}{second}", command=f"echo '{first}''{second}'")


async def gives_shell(conn: SshConnection) -> bool:
    """Whether there is a shell that does what it is told."""
    first, second = secrets.token_hex(8), secrets.token_hex(8)
    return await _says(conn, f"{first}{second}", typed=f"echo '{first}''{second}'\nexit\n")


async def gives_terminal(conn: SshConnection) -> bool:
    """Whether the server hands out a pseudo-terminal, whatever is then run on it."""
    return await _says(conn, "", command="true", terminal="dumb")


async def _says(
    conn: SshConnection,
    expected: str,
    *,
    command: str | None = None,
    typed: str = "",
    terminal: str | None = None,
) -> bool:
    """Open a session; whether it opens, and prints what is expected. Raises LinkLost."""
    ssh: Any = conn._conn  # noqa: SLF001 - of this room; a tunnel has no use for a session
    try:
        async with asyncio.timeout(TIME_LIMIT):
            process = await ssh.create_process(
                command, term_type=terminal, encoding="utf-8", errors="replace", stderr=asyncssh.DEVNULL
            )
    except asyncssh.ChannelOpenError as exc:
        if ssh.is_closed():
            raise LinkLost("the connection ended while a session was asked for") from exc
        return False
    except (asyncssh.Error, OSError, AssertionError) as exc:  # asyncssh asserts that it is still connected
        raise LinkLost("the connection ended while a session was asked for") from exc
    except TimeoutError:
        return False
    try:
        if not expected:
            return True
        if typed:
            process.stdin.write(typed)
            process.stdin.write_eof()
        return await _printed(process, expected)
    except (asyncssh.Error, OSError):  # it has ended before it was told anything
        return False
    finally:
        process.close()


async def _printed(process: Any, expected: str) -> bool:
    said = ""
    try:
        async with asyncio.timeout(TIME_LIMIT):
            while len(said) < _MOST and (piece := await process.stdout.read(4096)):
                said += piece
                if expected in said:
                    return True
    except TimeoutError:
        pass
    return False
