"""``tunnels import``: profiles from the forwards of ssh_config."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tunnels import opened
from tunnels.cli import output
from tunnels.cli.add import file_of, print_toml
from tunnels.cli.options import ConfigOption
from tunnels.cli.run import config_path, verb
from tunnels.core.config_forward import KEYWORD_OF
from tunnels.core.ssh_command import flag
from tunnels.core.ssh_profile import Table
from tunnels.errors import TunnelsError, UsageError
from tunnels.profiles import ProfileFile

#: The keys of a profile, and what they are in ssh_config.
_KEYWORDS = {kind.value: keyword for kind, keyword in KEYWORD_OF.items()}


@verb
def import_hosts(
    hosts: Annotated[
        list[str] | None,
        typer.Argument(metavar="HOST...", help="Hosts of ssh_config (default: all that have forwards)."),
    ] = None,
    ssh_config: Annotated[
        Path | None, typer.Option("--ssh-config", metavar="FILE", help="Another file than ~/.ssh/config.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the profiles, and write nothing.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put them in the place of profiles with their names.")
    ] = False,
    config: ConfigOption = None,
) -> int:
    """Make profiles of the LocalForward, RemoteForward and DynamicForward in ssh_config.

    User, port, keys and the rest stay there: a profile names its Host. ssh_config itself is not changed.

    Example: tunnels import --dry-run
    """
    path = config_path(config)
    file = file_of(path)
    found, errors = _found(hosts, None if ssh_config is None else str(ssh_config.expanduser().absolute()))
    tables: dict[str, Table] = {}
    for host, table in found.items():
        name = host if host in file.profiles else opened.choose_name(host, tables)
        if name in file.profiles and not replace:
            if hosts:
                errors.append(
                    UsageError(
                        f"{path} has a profile {name} already", hint="--replace puts this one in its place"
                    )
                )
            else:
                output.note(f"{name}: there is such a profile already")
            continue
        if good := _possible(host, name, table, file, errors):
            tables[name] = good
    if dry_run:
        print_toml(tables)
    elif tables:
        _write(path, tables, file, replace=replace)
    for each in errors:
        output.show_error(each)
    if not found and not errors:
        where = ssh_config or "~/.ssh/config"
        output.note(f"no Host in {where} has a LocalForward, RemoteForward or DynamicForward")
    return 2 if errors else 0


def _found(hosts: list[str] | None, ssh_config: str | None) -> tuple[dict[str, Table], list[TunnelsError]]:
    """What ssh says of each host that has forwards; and what is wrong with those that were named."""
    import asyncio  # noqa: PLC0415

    from tunnels.ssh.config_forwards import named_hosts, tables  # noqa: PLC0415 - asks `ssh -G`; only this needs it

    names = list(dict.fromkeys(hosts or ()))
    if not names:
        names, patterns = named_hosts(ssh_config)
        if patterns:
            output.note(
                f"left out, because they are patterns: {', '.join(patterns)}; `tunnels import HOST` takes one host"
            )
    found: dict[str, Table] = {}
    errors: list[TunnelsError] = []
    for host, said in zip(names, asyncio.run(tables(names, ssh_config)), strict=True):
        if isinstance(said, TunnelsError):
            errors.append(said)
            continue
        table, refused = said
        errors += refused
        if not {"local", "remote", "dynamic"} & set(table):
            if refused:
                continue
            errors.append(
                UsageError(
                    f"{host} has no forward in ssh_config",
                    hint=f"tunnels add {host} 'ssh -L 5432:db.internal:5432 {host}'",
                )
            )
        else:
            found[host] = table
    return found, errors


def _possible(
    host: str, name: str, table: Table, file: ProfileFile, errors: list[TunnelsError]
) -> Table | None:
    """The table without the forwards that no profile may have; each of them is an error of its own."""
    try:
        opened.profile_of(name, table, file)
    except TunnelsError:
        pass
    else:
        return table
    good: Table = {key: value for key, value in table.items() if key not in _KEYWORDS}
    for kind, keyword in _KEYWORDS.items():
        for forward in table.get(kind, ()):
            more = {**good, kind: [*good.get(kind, ()), forward]}
            try:
                opened.profile_of(name, more, file)
            except TunnelsError as error:
                why = re.sub(r"^\w+\[\d+\]: ", "", error.message)
                errors.append(UsageError(f"{host}: {keyword} {forward}: {why}", hint=error.hint))
            else:
                good = more
    return good if set(_KEYWORDS) & set(good) else None


def _write(path: Path, tables: dict[str, Table], file: ProfileFile, *, replace: bool) -> None:
    from tunnels import profile_writer  # noqa: PLC0415 - tomlkit is 40 ms

    profile_writer.add(path, tables, replace=replace)
    for name, table in tables.items():
        forwards = opened.profile_of(name, table, file).forwards
        flags = " ".join(flag(forward) for forward in forwards)
        output.out().print(f"{name}: {flags}", markup=False, soft_wrap=True)
    output.note(f"written to {path}; `tunnels up NAME` starts one")
    output.note(
        "`ssh HOST` makes these forwards too, and only one can have a port: -o ClearAllForwardings=yes"
    )
