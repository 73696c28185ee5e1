"""``tunnels ui``: a full-screen view, for people who would rather look."""

from __future__ import annotations

import os
import sys

from tunnels.cli.options import ConfigOption
from tunnels.cli.run import chosen_config, config_path, verb
from tunnels.errors import UsageError

#: What textual would be told by these may have it write down every key, those of a password too.
_NOT_FOR_TEXTUAL = ("TEXTUAL", "TEXTUAL_LOG", "TEXTUAL_PRESS", "TEXTUAL_SCREENSHOT", "TEXTUAL_DRIVER")


@verb
def ui(config: ConfigOption = None) -> None:
    """Show and steer the tunnels on the whole screen.

    It can do what the commands can; ? shows its keys. `tunnels status -w` is the light one.

    Example: tunnels ui
    """
    if not (all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))):
        raise UsageError(
            "`tunnels ui` needs a terminal", hint="`tunnels status` prints the same, also as --json"
        )
    for name in _NOT_FOR_TEXTUAL:
        os.environ.pop(name, None)
    try:
        from tunnels.ui.app import run  # noqa: PLC0415 - 200 ms, and a library that may be absent
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] != "textual":
            raise
        raise UsageError(
            "`tunnels ui` needs textual, which is not installed",
            hint="pip install 'tunnels[ui]', or with pipx: pipx inject tunnels textual",
        ) from exc
    run(None if chosen_config(config) is None else config_path(config))
