"""What ``daemon run`` does. Apart from its options: a daemon lives for weeks, and typer would take 2 MB of it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import NamedTuple

from tunnels.cli.run import config_path


class Words(NamedTuple):
    """What the words of ``daemon run`` say."""

    config: str
    ready_fd: int | None


def words_of(arguments: Sequence[str]) -> Words | None:
    """Read the words that `spawn` and the services start a daemon with; None for any others, which typer reads."""
    match arguments:
        case ["--config", config, "daemon", "run"]:
            return Words(config, None)
        case ["--config", config, "daemon", "run", "--ready-fd", number] if number.isdecimal():
            return Words(config, int(number))
    return None


def be_daemon(config: str | None, *, ready_fd: int | None) -> int:
    """Be the daemon. Returns the exit code."""
    gc.disable()  # nothing that is imported is garbage: it would be looked through for 25 of 400 ms
    try:
        from tunnels.daemon.app import ready_on, run_daemon  # noqa: PLC0415 - the engine, which only this needs
    finally:
        gc.enable()

    return run_daemon(config_path(config), ready=ready_on(ready_fd))
