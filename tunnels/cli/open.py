"""``tunnels open``: a tunnel without a profile, with the flags of ssh."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunnels import opened, spawn
from tunnels.cli import output
from tunnels.cli.add import file_of, table_of, write
from tunnels.cli.options import ConfigOption, JsonOption
from tunnels.cli.run import config_path, verb
from tunnels.cli.up import DEFAULT_TIMEOUT, seconds_of, wait_until_up
from tunnels.core.profile import Profile, check_name
from tunnels.core.ssh_flags import take_apart
from tunnels.errors import UsageError


@verb
def open_tunnel(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[SSH FLAGS] DEST", help="As ssh takes them.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What to call it (default: as its host).")
    ] = None,
    save: Annotated[
        str | None,
        typer.Option("--save", metavar="NAME", help="Write it into the profile file, and start it."),
    ] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="How long to wait; it goes on trying afterwards.")
    ] = DEFAULT_TIMEOUT,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Start it and return at once.")] = False,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Without the daemon, until SIGTERM; log lines on stderr.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Open a tunnel without a profile, with the flags of ssh: -L -R -D -J -p -i -l -F -C -c -g -o.

    It stays until `tunnels down NAME`, also when the connection drops or the machine is restarted.

    Example: tunnels open -L 5432:db.internal:5432 me@bastion
    """
    path, seconds = config_path(config), seconds_of(timeout)
    table = table_of(_arguments(words or []))
    _check_options(name, save, foreground=foreground, as_json=as_json)
    file = file_of(path)
    profile = opened.profile_of(save or name or "tunnel", table, file)
    if foreground:
        return _run_here(path, opened.profile_of(name or opened.choose_name(profile.host, ()), table, file))
    if save is not None:
        write(path, save, table)
    with spawn.ensure_daemon(path) as client:
        if save is not None:
            client.up([save], str(path))
            started = save
        else:
            started, _ = client.open(table, str(path), name or "")
        if no_wait:
            if as_json:
                snapshot = client.status()
                tunnels = tuple(tunnel for tunnel in snapshot.tunnels if tunnel.name == started)
                output.print_json(snapshot._replace(tunnels=tunnels).to_json())
            else:
                output.out().print(f"{started}: started", markup=False)
            return 0
        return wait_until_up(client, [started], seconds, config=path, as_json=as_json)


def _arguments(words: list[str]) -> list[str]:
    """Leave out the ``ssh`` of a line that was pasted. Raises UsageError."""
    pasted = words[:1] == ["ssh"] and take_apart(words[1:]).destination is not None
    return words[1:] if pasted else words


def _check_options(name: str | None, save: str | None, *, foreground: bool, as_json: bool) -> None:
    for given in (name, save):
        if given is not None:
            check_name(given)
    if save is not None and (name is not None or foreground):
        raise UsageError(
            "--save NAME names it already, and leaves it to the daemon", hint="leave the other out"
        )
    if foreground and as_json:
        raise UsageError("`open --foreground` goes on and writes log lines: there is no document for --json")


def _run_here(path: Path, profile: Profile) -> int:
    from tunnels.daemon.foreground import run_foreground  # noqa: PLC0415 - the engine, for this alone

    return run_foreground(path, [profile], in_file=False)
