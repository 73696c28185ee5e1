"""The ``tunnels`` command: its beginning, before anything slow is imported."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import TYPE_CHECKING

from tunnels import lean_import

if TYPE_CHECKING:
    from tunnels.cli.be_daemon import Words

#: What prompts, status bars and scripts ask many times a minute: run without typer, which costs as much
#: again as everything else that they need.
_QUICK = {("status",): False, ("status", "--json"): True}


def main() -> None:
    """Run a command line."""
    try:
        _main()
    except KeyboardInterrupt:  # while something was imported; what runs has its own answer (`cli.run`)
        sys.exit(130)


def _main() -> None:
    # At its end Python searches everything that was imported for garbage, a sixth of what a short command costs;
    # the system gets it all back at once anyway.
    atexit.register(gc.freeze)
    for name in ("stdout", "stderr"):  # closed by whoever runs us, as with `>&-`
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - until the end
    as_json = _QUICK.get(tuple(sys.argv[1:]))
    if as_json is not None:
        from tunnels.cli.glance import show  # noqa: PLC0415
        from tunnels.cli.run import verb  # noqa: PLC0415

        verb(show)([], as_json=as_json)
        return
    lean_import.install()
    if sys.argv[3:5] == ["daemon", "run"] and (words := _daemon_words()):
        from tunnels.cli.be_daemon import be_daemon  # noqa: PLC0415
        from tunnels.cli.run import verb  # noqa: PLC0415

        verb(be_daemon)(words.config, ready_fd=words.ready_fd)
    else:
        from tunnels.cli.app import app  # noqa: PLC0415

        app(prog_name="tunnels")


def _daemon_words() -> Words | None:
    from tunnels.cli.be_daemon import words_of  # noqa: PLC0415

    return words_of(sys.argv[1:])
