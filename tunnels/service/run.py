"""Runs the programs that a service manager is talked to with."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tunnels.errors import ServiceError

#: Seconds for one such command. Starting the daemon through it takes as long as the daemon.
TIMEOUT = 30.0


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def why(self) -> str:
        """The last thing it said, which is why it failed."""
        said = [line.strip() for line in (*self.out.splitlines(), *self.err.splitlines()) if line.strip()]
        return said[-1] if said else f"exit code {self.code}"


Runner = Callable[[Sequence[str]], Done]


def run(command: Sequence[str]) -> Done:
    """Run a command to its end. Raises ServiceError where there is no such program, or it does not end."""
    if shutil.which(command[0]) is None:
        raise ServiceError(f"there is no {command[0]} on this machine")
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise ServiceError(f"`{' '.join(command)}` did not end within {TIMEOUT:g} s") from exc
    except OSError as exc:
        raise ServiceError(f"{command[0]} cannot be run: {exc.strerror or exc}") from exc
    return Done(
        done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    )
