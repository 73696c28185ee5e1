"""``tunnels status``: every tunnel, its state, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from tunnels.cli import glance
from tunnels.cli.options import ConfigOption, JsonOption, RunningNames
from tunnels.cli.run import verb


@verb
def status(
    names: RunningNames = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it, until Ctrl-C.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show the tunnels: state, since when, why, round-trip time, reconnects, clients and bytes.

    Exit code with names: 0 if each of them is up, 3 if one is not. Without names it is 0.

    Example: tunnels status -w
    """
    return glance.show(names or [], watch=watch, config=config, as_json=as_json)
