"""How a verb runs: what it returns is the exit code, and an error becomes text and its code. Knows no typer."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec

from tunnels import paths
from tunnels.cli import output
from tunnels.errors import ControlError, InternalError, TunnelsError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

P = ParamSpec("P")


class _Global:
    """What was said before the verb."""

    config: str | None = None


def set_config(config: str | None) -> None:
    """``tunnels --config FILE verb``."""
    _Global.config = config


def chosen_config(config: str | None = None) -> str | None:
    """The profile file that was named on the command line or by TUNNELS_CONFIG; None: the usual one."""
    return config or _Global.config or os.environ.get("TUNNELS_CONFIG") or None


def config_path(config: str | None = None) -> Path:
    """The profile file this command works with."""
    return paths.config_file(config or _Global.config)


def verb(function: Callable[P, int | None]) -> Callable[P, None]:
    """Make a function a verb."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = kwargs.get("as_json") is True
        try:
            code = function(*args, **kwargs) or 0
            sys.stdout.flush()  # here, where a reader that has gone is not yet an error of Python's own end
        except TunnelsError as error:
            output.show_error(error, as_json=as_json)
            code = error.exit_code
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BrokenPipeError:  # the reader of a pipe has seen enough, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 0
        except OSError as exc:  # of stdout: what else can go wrong has an error of its own
            if os.environ.get("TUNNELS_DEBUG"):
                raise
            output.show_error(ControlError(f"the output cannot be written: {exc.strerror or exc}"))
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try once more at its end
            code = 1
        except Exception as exc:
            if os.environ.get("TUNNELS_DEBUG"):
                raise
            bug = InternalError(
                f"{type(exc).__name__}: {exc}", hint="this is a bug; TUNNELS_DEBUG=1 shows where it happened"
            )
            output.show_error(bug, as_json=as_json)
            code = bug.exit_code
        sys.exit(code)

    return run
