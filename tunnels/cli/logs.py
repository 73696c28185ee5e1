"""``tunnels logs``: what happened, in time order. Reads the files, so it works without a daemon too."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TextIO

import typer

from tunnels import paths, profiles
from tunnels.cli import known, output
from tunnels.cli.options import complete_profile
from tunnels.cli.run import config_path, verb
from tunnels.core.logline import LogLine, parse
from tunnels.core.since import parse_since
from tunnels.core.status import format_time, parse_time
from tunnels.errors import UsageError

#: Lines that are shown where nobody has said how many or since when.
_LINES = 50

#: Seconds between two looks at a file that is followed.
_POLL = 0.2

_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@verb
def logs(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only this tunnel.", autocompletion=complete_profile)
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as lines are written, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int | None,
        typer.Option("--lines", "-n", metavar="N", help="How many of the last lines (default: 50)."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help='Only since then: "1h", "09:30", "2026-11-20 09:30".'),
    ] = None,
) -> int:
    """Show what happened, in time order.

    Example: tunnels logs work-db -f
    """
    if lines is not None and lines < 0:
        raise UsageError("-n wants a number that is not negative")
    begin = None if since is None else format_time(parse_since(since, time.time()), precise=True)
    if lines is None and since is None:
        lines = _LINES
    path = paths.log_file()
    file = _open(path)
    last: deque[str] = deque(maxlen=lines)
    for text in _older(path):
        last.extend(_since(_wanted(text, name), begin))
    if file is not None:
        last.extend(_since(_wanted(file, name), begin))
    for line in last:
        _print(line)
    if name is not None and lines != 0 and not last:
        profiles.select(known.load(config_path()), [name])
    if not follow:
        if not last:
            when = "yet" if since is None else f"since {since}"
            output.note(f"nothing has happened {when}" + (f" to {name}" if name else ""))
        if file is not None:
            file.close()
        return 0
    for line in _wanted(_follow(path, file), name):
        _print(line)
    return 0


def _open(path: Path) -> TextIO | None:
    try:
        return path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _older(path: Path) -> Iterator[TextIO]:
    """The file that was rotated away, if there is one."""
    file = _open(path.with_name(path.name + ".1"))
    if file is not None:
        with file:
            yield file


def _wanted(text: Iterator[str] | TextIO, name: str | None) -> Iterator[str]:
    """The lines about a tunnel, and what is indented below them."""
    shown = name is None
    for line in text:
        found = parse(line)
        if found is not None and name is not None:
            shown = found.tunnel == name
        if shown:
            yield line.rstrip("\n")


def _since(lines: Iterator[str], begin: str | None) -> Iterator[str]:
    """The lines from a moment on. Times of the log sort as text; what is indented belongs to the line above."""
    shown = begin is None
    for line in lines:
        if not shown and begin is not None:
            found = parse(line)
            shown = found is not None and found.time >= begin
        if shown:
            yield line


def _follow(path: Path, file: TextIO | None) -> Iterator[str]:
    """Lines as they are written, also after the file has been rotated."""
    partial = ""
    while True:
        replaced = file is None or _replaced(path, file)  # looked at first: what it still got is read below
        if file is not None:
            while line := file.readline():
                partial += line
                if partial.endswith("\n"):
                    yield partial
                    partial = ""
        if replaced and (newer := _open(path)) is not None:
            if file is not None:
                file.close()
            file, partial = newer, ""
        else:
            time.sleep(_POLL)


def _replaced(path: Path, file: TextIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _print(line: str) -> None:
    """A line with the local time, as a person reads it; as it is where a program reads."""
    found = parse(line)
    if found is None or not output.out().is_terminal:
        print(line, flush=True)  # noqa: T201
        return
    from rich.text import Text  # noqa: PLC0415

    output.out().print(
        Text.assemble(
            (_local(found), "dim"),
            "  ",
            (found.tunnel or "daemon", "bold"),
            "  ",
            (found.message, _COLOURS.get(found.level, "")),
        )
    )


def _local(line: LogLine) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(parse_time(line.time)))
