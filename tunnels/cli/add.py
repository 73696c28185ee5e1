"""``tunnels add``: a profile from the command line of ssh that somebody has in their notes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tunnels import opened, profiles
from tunnels.cli import output
from tunnels.cli.options import ConfigOption
from tunnels.cli.run import config_path, verb
from tunnels.core.profile import check_name
from tunnels.core.shell_line import parse_line, parse_words
from tunnels.core.ssh_command import flag
from tunnels.core.ssh_profile import Table, read_command
from tunnels.errors import ProfileError, UsageError
from tunnels.profiles import ProfileFile


@verb
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call the profile.")],
    line: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LINE", help="The command of ssh or autossh, in quotes; - reads it from stdin."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the profile, and write nothing.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of the profile with this name.")
    ] = False,
    config: ConfigOption = None,
) -> int:
    """Write a profile that does what a command line of ssh does; its comments and layout are kept.

    What no profile can say is refused by name.

    Example: tunnels add work-db 'ssh -N -L 5432:db.internal:5432 me@bastion'
    """
    path = config_path(config)
    check_name(name)
    words = line or []
    if words == ["-"]:
        words = [sys.stdin.read()]
    command = parse_line(words[0]) if len(words) == 1 else parse_words(words)
    for note in command.notes:
        output.note(f"note: {note}")
    table = table_of(command.arguments)
    if dry_run:
        opened.profile_of(name, table, file_of(path))
        print_toml({name: table})
        return 0
    write(path, name, table, replace=replace)
    output.note(f"`tunnels up {name}` starts it")
    return 0


def table_of(arguments: Sequence[str]) -> Table:
    """What the arguments of ssh say; what was left out of them is said. Raises UsageError."""
    table, notes = read_command(arguments, folder=str(Path.cwd()), keywords=_keywords)
    for note in notes:
        output.note(f"note: {note}")
    return table


def _keywords() -> list[str]:
    from tunnels.ssh.keywords import KEYWORDS  # noqa: PLC0415 - only after a slip

    return [keyword.name for keyword in KEYWORDS.values()]


def file_of(path: Path) -> ProfileFile:
    """The profile file, or an empty one where there is none. Raises ProfileError."""
    try:
        return profiles.load(path)
    except ProfileError as error:
        if profiles.is_missing(error):
            return ProfileFile(path, {})
        raise


def print_toml(tables: Mapping[str, Table]) -> None:
    """Print profiles as the file would have them."""
    from tunnels import profile_writer  # noqa: PLC0415 - tomlkit is 40 ms

    text = "\n".join(profile_writer.render(name, table) for name, table in tables.items())
    output.print_for_programs(text.removesuffix("\n"))


def write(path: Path, name: str, table: Table, *, replace: bool = False) -> None:
    """Put one profile into the file and say so. Raises UsageError, ProfileError: then nothing has changed."""
    from tunnels import profile_writer  # noqa: PLC0415 - tomlkit is 40 ms

    profile = opened.profile_of(
        name, table, file_of(path)
    )  # its problems first, without the file around them
    if not profile.forwards:
        raise UsageError("there is nothing to forward")
    profile_writer.add(path, {name: table}, replace=replace)
    output.out().print(f"{name}: written to {path}", markup=False, soft_wrap=True)
    for forward in profile.forwards:
        where = "on the server's side" if forward.kind.value == "remote" else "on this machine"
        others = f"  other machines can reach this port {where}" if forward.reachable_by_others else ""
        output.out().print(f"    {flag(forward)}{others}", markup=False)
