"""What the verbs share: their options, which profiles they mean, and completion."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from tunnels import paths, profiles
from tunnels.cli import output
from tunnels.client import Client
from tunnels.errors import InternalError, TunnelsError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

P = ParamSpec("P")


class _Global:
    """What was said before the verb."""

    config: str | None = None


def set_config(config: str | None) -> None:
    """``tunnels --config FILE verb``."""
    _Global.config = config


def config_path(config: str | None = None) -> Path:
    """The profile file this command works with."""
    return paths.config_file(config or _Global.config)


def verb(function: Callable[P, int | None]) -> Callable[P, None]:
    """Make a function a verb: what it returns is the exit code, and an error becomes text and its code."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = kwargs.get("as_json") is True
        try:
            code = function(*args, **kwargs) or 0
        except TunnelsError as error:
            output.show_error(error, as_json=as_json)
            code = error.exit_code
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BrokenPipeError:  # the reader of a pipe has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 0
        except Exception as exc:
            if os.environ.get("TUNNELS_DEBUG"):
                raise
            error = InternalError(
                f"{type(exc).__name__}: {exc}", hint="this is a bug; TUNNELS_DEBUG=1 shows where it happened"
            )
            output.show_error(error, as_json=as_json)
            code = error.exit_code
        raise typer.Exit(code)

    return run


def complete_profile(incomplete: str) -> list[str]:
    """Names of the profile file, for the shell."""
    try:
        names = profiles.load(config_path()).profiles
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
