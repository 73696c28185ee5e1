"""``tunnels up``: start tunnels, wait until each is up, and ask what only a person can answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunnels import profiles, spawn
from tunnels.cli import asking, known, output
from tunnels.cli.options import AllOption, ConfigOption, JsonOption, ProfileNames, TagOption
from tunnels.cli.run import config_path, verb
from tunnels.cli.waiting import Waiting
from tunnels.client import Client
from tunnels.core.durations import parse_duration
from tunnels.core.profile import Profile
from tunnels.core.status import Snapshot
from tunnels.errors import TunnelsError, UsageError

#: Seconds that `up` waits for its tunnels; they go on trying afterwards.
DEFAULT_TIMEOUT = "30s"


@verb
def up(
    names: ProfileNames = None,
    tag: TagOption = None,
    everything: AllOption = False,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long to wait; the tunnels go on trying afterwards.")
    ] = DEFAULT_TIMEOUT,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Start them and return at once.")] = False,
    foreground: Annotated[
        bool,
        typer.Option("--foreground", "-f", help="Without the daemon, until SIGTERM; log lines on stderr."),
    ] = False,
    ready_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With -f: a file that exists while all of it works, for health checks."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Start tunnels and wait until each is up.

    Example: tunnels up work-db
    """
    path = config_path(config)
    seconds = seconds_of(timeout)
    if ready_file is not None and not foreground:
        raise UsageError("--ready-file is for `tunnels up -f`", hint="`tunnels status` asks the daemon")
    if foreground and as_json:
        raise UsageError(
            "`up -f` goes on and writes log lines: there is no document for --json",
            hint="without -f, `tunnels up --json` prints one; --ready-file tells programs when all is up",
        )
    file = known.load(path)
    wanted = profiles.select(file, names or [], tags=tag or [], everything=everything)
    if foreground:
        _warn_of_the_daemon([profile.name for profile in wanted])
        from tunnels.daemon.foreground import run_foreground  # noqa: PLC0415 - the engine, for this alone

        return run_foreground(path, wanted, None if ready_file is None else ready_file.absolute())
    with spawn.ensure_daemon(path) as client:
        found = client.up([profile.name for profile in wanted], str(path))
        for name, what in found.items():
            if what == "changed":
                output.note(
                    f"{name} runs with an older version of its profile; `tunnels reload` applies the new one"
                )
        if no_wait:
            return _started(client.status(), wanted, as_json=as_json)
        names = [profile.name for profile in wanted]
        return wait_until_up(client, names, seconds, config=path, as_json=as_json)


def _warn_of_the_daemon(names: list[str]) -> None:
    """Say which of these tunnels the daemon has as well: each is in the way of the other, here and on the server."""
    try:
        with Client.connect() as client:
            theirs = {tunnel.name for tunnel in client.status().tunnels}
    except TunnelsError:  # there is none, or none that can be asked: that is no reason not to start
        return
    both = [name for name in names if name in theirs]
    if both:
        output.note(
            f"the daemon keeps {', '.join(both)} as well, and a port can be listened on only once; "
            f"`tunnels down {' '.join(both)}` ends that"
        )


def wait_until_up(client: Client, names: list[str], timeout: float, *, config: Path, as_json: bool) -> int:
    """Wait until each tunnel is up, or cannot be, or the time is over; says which. Returns the exit code.

    A program that wants JSON is asked nothing, wherever it runs.
    """
    who = None if as_json else asking.person()
    return Waiting(client, names, timeout, who=who, config=str(config), as_json=as_json).run()


def seconds_of(timeout: str) -> float:
    """The value of ``--timeout``. Raises UsageError."""
    try:
        return parse_duration(timeout)
    except (TunnelsError, ValueError) as exc:
        raise UsageError(f"--timeout: {exc}", hint="for example 30s or 2m") from exc


def _started(snapshot: Snapshot, wanted: list[Profile], *, as_json: bool) -> int:
    names = {profile.name for profile in wanted}
    tunnels = tuple(tunnel for tunnel in snapshot.tunnels if tunnel.name in names)
    if as_json:
        output.print_json(snapshot._replace(tunnels=tunnels).to_json())
    else:
        for tunnel in tunnels:
            output.out().print(f"{tunnel.name}: {tunnel.state.value}")
    return 0
