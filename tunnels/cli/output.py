"""Results go to stdout, everything else to stderr; colours and spinners only where a person looks."""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import TYPE_CHECKING

from tunnels.core.status import JSON_VERSION, Json, error_to_json
from tunnels.errors import TunnelsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.text import Text


@cache
def out() -> Console:
    """Where results go."""
    from rich.console import Console  # noqa: PLC0415 - 40 ms that `--json` does not need

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@cache
def err() -> Console:
    """Where everything else goes."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def print_lines(lines: Iterable[Text]) -> None:
    """Lines of a result: folded to the width of a terminal, and one line each where a program reads."""
    from tunnels.cli.render import hanging  # noqa: PLC0415

    for line in lines:
        out().print(hanging(line) if out().is_terminal else line)


def print_json(document: Json) -> None:
    """One JSON document on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201


def note(message: str) -> None:
    """Something worth knowing that is not the result."""
    from rich.text import Text  # noqa: PLC0415

    err().print(Text(message))


def show_error(error: TunnelsError, *, as_json: bool = False) -> None:
    """An error and what to do about it: the one place where it becomes text."""
    if as_json:
        print_json({"version": JSON_VERSION, "error": error_to_json(error.info)})
        return
    from rich.text import Text  # noqa: PLC0415

    err().print(Text.assemble(("error: ", "bold red"), error.message))
    if error.hint:
        err().print(Text.assemble(("hint: ", "bold"), error.hint))


def interactive() -> bool:
    """Whether there is a person to ask: a terminal to read from and one to ask on."""
    return sys.stdin.isatty() and sys.stderr.isatty()
