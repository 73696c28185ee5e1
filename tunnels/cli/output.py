"""Results go to stdout, everything else to stderr; colours and spinners only where a person looks."""

from __future__ import annotations

import json
import sys
from functools import cache
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO

from tunnels.core.logline import printable, printable_lines
from tunnels.core.status import JSON_VERSION, Json, error_to_json
from tunnels.errors import TunnelsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console
    from rich.text import Text


@cache
def out() -> Console:
    """Where results go."""
    return _console(sys.stdout)


@cache
def err() -> Console:
    """Where everything else goes."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    from rich.console import Console  # noqa: PLC0415 - 40 ms that `--json` does not need

    class OurConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # `run.verb` knows what to do; rich would exit with 1

    if isinstance(stream, TextIOWrapper):  # a terminal without UTF-8 gets a ? for each of our marks
        stream.reconfigure(errors="replace")
    # emoji: `5432:a:5432` is a forward, in which rich would see the code of a picture
    return OurConsole(file=stream, highlight=False, emoji=False, soft_wrap=not stream.isatty())


def print_lines(lines: Iterable[Text]) -> None:
    """Lines of a result: folded to the width of a terminal, and one line each where a program reads."""
    from tunnels.cli.render import hanging  # noqa: PLC0415

    for line in lines:
        out().print(hanging(line) if out().is_terminal else line)


def print_for_programs(text: str) -> None:
    """Text that a shell or a file is to have byte for byte; rich would expand its tabs and drop characters."""
    print(text)  # noqa: T201


def print_json(document: Json) -> None:
    """One JSON document on stdout."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a file name that is no Unicode, or a terminal without UTF-8
        text = json.dumps(document, indent=2)
    print(text)  # noqa: T201


def note(message: str) -> None:
    """Something worth knowing that is not the result."""
    from rich.text import Text  # noqa: PLC0415

    err().print(Text(printable_lines(message)))


def show_error(error: TunnelsError, *, as_json: bool = False) -> None:
    """An error and what to do about it: the one place where it becomes text."""
    if as_json:
        print_json({"version": JSON_VERSION, "error": error_to_json(error.info)})
        return
    from rich.text import Text  # noqa: PLC0415

    err().print(Text.assemble(("error: ", "bold red"), printable_lines(error.message)))
    if error.hint:
        err().print(Text.assemble(("hint: ", "bold"), printable_lines(error.hint)))


def ask(prompt: str, *, secret: bool = False) -> str | None:
    """Ask a person; None where they ended the input instead of answering."""
    try:
        if secret:  # rich would show the prompt before it switches the echo off
            from getpass import getpass  # noqa: PLC0415 - only this needs it

            return getpass(f"{printable(prompt)} ", stream=sys.stderr)
        return err().input(f"{printable(prompt)} ", markup=False)
    except EOFError:
        err().print()
        return None


def interactive() -> bool:
    """Whether there is a person to ask: a terminal to read from and one to ask on."""
    return sys.stdin.isatty() and sys.stderr.isatty()
