"""``tunnels exec``: run a command whose traffic goes through a tunnel.

The command takes the place of this process, so its exit code and the signals it gets are its own.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer
from typer.core import TyperCommand

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
from tunnels.core.proxy_environment import proxy_variables
from tunnels.errors import TunnelsError, UsageError

#: As shells have it (POSIX, XCU 2.8.2).
NOT_EXECUTABLE, NOT_FOUND = 126, 127


class _Command(TyperCommand):
    """Leaves alone what comes behind NAME: ``tunnels exec cafe git log -- file`` needs no other ``--``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put the ``--`` where the command begins, if it is not there."""
        takes_value = {
            name for option in self.params for name in option.opts if not getattr(option, "is_flag", True)
        }
        names, index = 0, 0
        while index < len(args) and args[index] != "--":
            if args[index].startswith("-") and args[index] != "-":
                index += args[index] in takes_value
            elif names == 1:
                args = [*args[:index], "--", *args[index:]]
                break
            else:
                names += 1
            index += 1
        return super().parse_args(ctx, args)


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("exec", cls=_Command)
@verb
def execute(
    name: NameArgument,
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND...", help="The command and its arguments.")
    ],
    http: Annotated[
        bool, typer.Option("--http", help="No SOCKS in ALL_PROXY, for programs that stumble over it.")
    ] = False,
    forward: ForwardOption = None,
    timeout: TimeoutOption = DEFAULT_TIMEOUT,
    config: ConfigOption = None,
) -> int:
    """Run a command with the variables that send it through the tunnel.

    The tunnel is brought up if it is not, and stays up. The exit code is the command's.

    Example: tunnels exec cafe -- curl https://example.com
    """
    seconds = seconds_of(timeout)
    way = way_through(name, forward=forward, timeout=seconds, config=config)
    refuse_password(way, "would stand in the environment of every program that it starts")
    note_that_it_stays(way)
    return _become(command, {**os.environ, **proxy_variables(way.proxy, os.environ, http_only=http)})


def _become(command: list[str], environment: dict[str, str]) -> int:
    """Replace this process; returns the exit code where that is not possible."""
    sys.stdout.flush()
    sys.stderr.flush()
    # Python ignores these, and what is ignored stays so in the program that follows.
    for number in (signal.SIGPIPE, getattr(signal, "SIGXFSZ", signal.SIGPIPE)):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - what was asked for
    except FileNotFoundError:
        output.show_error(_cannot(command[0], "no such command"))
        return NOT_FOUND
    except NotADirectoryError:
        output.show_error(_cannot(command[0], "no such command"))
        return NOT_FOUND
    except OSError as exc:
        output.show_error(_cannot(command[0], exc.strerror or str(exc)))
        return NOT_EXECUTABLE
    except ValueError as exc:  # a NUL in it
        output.show_error(_cannot(command[0], str(exc)))
        return NOT_FOUND


def _cannot(command: str, why: str) -> TunnelsError:
    return UsageError(f"{command}: {why}")
