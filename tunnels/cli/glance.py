"""What ``status`` does. Apart from its options, because a bare ``tunnels status`` is run without typer."""

from __future__ import annotations

import time

from tunnels import spawn
from tunnels.cli import output, render
from tunnels.cli.run import config_path
from tunnels.client import Client
from tunnels.core.state import WORKING
from tunnels.core.status import Snapshot
from tunnels.errors import DaemonNotRunning

#: `status NAME` of a tunnel that is not up (systemctl's code for "not running").
NOT_UP = 3


def show(wanted: list[str], *, watch: bool = False, config: str | None = None, as_json: bool = False) -> int:
    """Show the tunnels with these names or globs, or all. Returns the exit code."""
    try:
        client = spawn.find_daemon()
    except DaemonNotRunning:
        check_names(wanted, Snapshot(None), config)
        return _show(Snapshot(None), wanted, as_json=as_json)
    with client:
        if watch:
            return _watch(client, wanted, config, as_json=as_json)
        snapshot = client.status()
    check_names(wanted, snapshot, config)
    return _show(snapshot, wanted, as_json=as_json)


def check_names(wanted: list[str], snapshot: Snapshot, config: str | None) -> None:
    """A name that is neither running nor in the file is a mistake. Raises NoSuchProfile."""
    unknown = [name for name in wanted if not picked(snapshot, [name]).tunnels]
    if unknown:
        from tunnels import profiles  # noqa: PLC0415 - 15 ms that a bare `status` does without
        from tunnels.cli import known  # noqa: PLC0415

        profiles.select(known.load(config_path(config)), unknown)


def picked(snapshot: Snapshot, wanted: list[str]) -> Snapshot:
    """The tunnels with these names or globs; without any, all."""
    if not wanted:
        return snapshot
    from fnmatch import fnmatchcase  # noqa: PLC0415

    tunnels = tuple(t for t in snapshot.tunnels if any(fnmatchcase(t.name, name) for name in wanted))
    return snapshot._replace(tunnels=tunnels)


def _show(snapshot: Snapshot, wanted: list[str], *, as_json: bool) -> int:
    shown = picked(snapshot, wanted)
    if as_json:
        output.print_json(shown.to_json())
    elif shown.tunnels:
        output.print_lines(render.snapshot_lines(shown, time.time()))
    else:
        what = f"{', '.join(wanted)}: not running" if wanted else "no tunnel is running"
        output.note(f"{what}; `tunnels list` shows the profiles, `tunnels up NAME` starts one")
        if snapshot.daemon is not None and snapshot.daemon.config_error is not None:
            output.note(f"the profile file has a problem:\n{snapshot.daemon.config_error}")
    if not wanted:
        return 0
    all_up = all(any(t.state in WORKING for t in picked(shown, [name]).tunnels) for name in wanted)
    none_down = all(tunnel.state in WORKING for tunnel in shown.tunnels)
    return 0 if all_up and none_down else NOT_UP


def _watch(client: Client, wanted: list[str], config: str | None, *, as_json: bool) -> int:
    snapshots = client.watch(1.0)
    first = next(snapshots)
    check_names(wanted, first, config)
    if as_json or not output.out().is_terminal:
        _show(first, wanted, as_json=as_json)
        for snapshot in snapshots:
            _show(snapshot, wanted, as_json=as_json)
        return 0
    from rich.live import Live  # noqa: PLC0415

    with Live(console=output.out(), screen=True, auto_refresh=False) as live:
        live.update(render.live_view(picked(first, wanted), time.time()), refresh=True)
        for snapshot in snapshots:
            live.update(render.live_view(picked(snapshot, wanted), time.time()), refresh=True)
    return 0
