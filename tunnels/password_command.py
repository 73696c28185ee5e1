"""Runs a `password_command` of the profile file. Its output is a secret: it is returned, and nowhere else."""

from __future__ import annotations

from tunnels import process
from tunnels.errors import BadSetting

#: Seconds; a password manager may have to ask a person first.
TIMEOUT = 60.0

#: Bytes of output that are looked at.
_LIMIT = 64 * 1024


async def run(command: str) -> str:
    """The first line that ``sh -c command`` prints, without its end of line.

    Raises BadSetting where the command fails, prints nothing or does not end within `TIMEOUT` seconds;
    the message has the command's exit status, never its output.
    """
    done = await process.run(("/bin/sh", "-c", command), timeout=TIMEOUT, limit=_LIMIT)
    if done.status is None:
        raise BadSetting(f"password_command did not end within {TIMEOUT:g} s")
    if done.status != 0:
        raise BadSetting(
            f"password_command ended with status {done.status}",
            hint="try it in a shell: it must print the secret",
        )
    line = done.output.split(b"\n", 1)[0].rstrip(b"\r")
    if not line:
        raise BadSetting(
            "password_command printed nothing", hint="its first line of output must be the secret"
        )
    return line.decode("utf-8", "surrogateescape")
