"""The options and arguments that verbs share, and their completion."""

from __future__ import annotations

from typing import Annotated

import typer

from tunnels.cli.run import config_path
from tunnels.client import Client
from tunnels.core.standing import needs_answer
from tunnels.errors import TunnelsError


def complete_profile(incomplete: str) -> list[str]:
    """Names of the profile file, for the shell."""
    from tunnels.cli import known  # noqa: PLC0415 - 15 ms that most verbs do without

    try:
        names = known.load(config_path()).profiles
    except TunnelsError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_running(incomplete: str) -> list[str]:
    """Names of the tunnels that run, for the shell."""
    try:
        with Client.connect() as client:
            return [tunnel.name for tunnel in client.status().tunnels if tunnel.name.startswith(incomplete)]
    except TunnelsError:
        return []


def complete_waiting(incomplete: str) -> list[str]:
    """Names of the tunnels that wait for an answer, for the shell."""
    try:
        with Client.connect() as client:
            tunnels = client.status().tunnels
    except TunnelsError:
        return []
    return [it.name for it in tunnels if needs_answer(it) and it.name.startswith(incomplete)]


ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="The profile file (default: TUNNELS_CONFIG).")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, also on errors.")]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", "-t", metavar="TAG", help="Every profile with this tag.")
]
AllOption = Annotated[bool, typer.Option("--all", "-a", help="Every profile.")]
ProfileNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="Names of profiles, or globs.", autocompletion=complete_profile),
]
RunningNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="Names of tunnels, or globs.", autocompletion=complete_running),
]
WaitingNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME...", help="Names of tunnels, or globs.", autocompletion=complete_waiting),
]
