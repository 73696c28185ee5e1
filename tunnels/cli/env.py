"""``tunnels env``: the commands that send a shell's programs through a tunnel."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tunnels.cli import output
from tunnels.cli.options import ConfigOption
from tunnels.cli.run import verb
from tunnels.cli.through import (
    ForwardOption,
    NameArgument,
    TimeoutOption,
    note_that_it_stays,
    refuse_password,
    way_through,
)
from tunnels.cli.up import DEFAULT_TIMEOUT, seconds_of
from tunnels.core.proxy_environment import Shell, proxy_variables, set_commands, shell_named, unset_commands
from tunnels.errors import UsageError


@verb
def env(
    name: NameArgument,
    shell: Annotated[
        str | None,
        typer.Option(metavar="SHELL", help="bash, zsh, sh, fish or powershell (default: that of $SHELL)."),
    ] = None,
    unset: Annotated[bool, typer.Option("--unset", help="The commands that undo it.")] = False,
    http: Annotated[
        bool, typer.Option("--http", help="No SOCKS in ALL_PROXY, for programs that stumble over it.")
    ] = False,
    forward: ForwardOption = None,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    config: ConfigOption = None,
) -> int:
    """Print the commands that send what this shell starts through the tunnel.

    For bash and zsh: eval "$(tunnels env cafe)"; for fish: tunnels env cafe | source; for
    PowerShell: tunnels env cafe --shell powershell | Out-String | Invoke-Expression.

    Example: tunnels env cafe
    """
    seconds = seconds_of(timeout)
    language = _shell(shell)
    if unset:
        lines = unset_commands(language, os.environ)
    else:
        way = way_through(name, forward=forward, timeout=seconds, config=config)
        refuse_password(way, "would stand in the environment of every program")
        note_that_it_stays(way)
        lines = set_commands(language, proxy_variables(way.proxy, os.environ, http_only=http))
    for line in lines:
        output.print_for_programs(line)
    return 0


def _shell(wanted: str | None) -> Shell:
    if wanted is None:
        return shell_named(os.environ.get("SHELL", "")) or Shell.SH
    found = shell_named(wanted)
    if found is None:
        raise UsageError(
            f"--shell: {wanted} is none that this command knows",
            hint="one of " + ", ".join(each.value for each in Shell),
        )
    return found
