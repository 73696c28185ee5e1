"""``tunnels logs``: what happened, in time order. Reads the files, so it works without a daemon too."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Annotated

import typer

from tunnels import paths, profiles
from tunnels.cli import known, output
from tunnels.cli.options import complete_profile
from tunnels.cli.run import config_path, verb
from tunnels.core.logline import LogLine, parse
from tunnels.core.since import parse_since
from tunnels.core.status import format_time, parse_time
from tunnels.errors import UsageError
from tunnels.log_file import POLL, LogFile, Selection

#: Lines that are shown where nobody has said how many or since when.
_LINES = 50

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
    log, wanted = LogFile(paths.log_file()), Selection(name)
    last: deque[str] = deque(maxlen=lines)
    try:
        last.extend(_since(Selection(name).of(log.older()), begin))
        last.extend(_since(wanted.of(log.read()), begin))
    finally:
        if not follow:
            log.close()
    for line in last:
        _print(line)
    if name is not None and lines != 0 and not last:
        profiles.select(known.load(config_path()), [name])
    if not follow:
        if not last:
            when = "yet" if since is None else f"since {since}"
            output.note(f"nothing has happened {when}" + (f" to {name}" if name else ""))
        return 0
    while True:
        for line in wanted.of(log.read()):
            _print(line)
        time.sleep(POLL)


def _since(lines: Iterator[str], begin: str | None) -> Iterator[str]:
    """The lines from a moment on. Times of the log sort as text; what is indented belongs to the line above."""
    shown = begin is None
    for line in lines:
        if not shown and begin is not None:
            found = parse(line)
            shown = found is not None and found.time >= begin
        if shown:
            yield line


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
