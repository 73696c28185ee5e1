"""``tunnels daemon``: the background process itself."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tunnels import ending, paths
from tunnels.cli import output, render
from tunnels.cli.be_daemon import be_daemon
from tunnels.cli.options import ConfigOption, JsonOption
from tunnels.cli.run import verb
from tunnels.client import Client
from tunnels.core.status import JSON_VERSION

app = typer.Typer(
    add_completion=False,
    help="The background process that keeps the tunnels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("run")
@verb
def run(
    config: ConfigOption = None,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> int:
    """Be the daemon, in the foreground. `tunnels up` starts one in the background by itself.

    Example: tunnels daemon run
    """
    return be_daemon(config, ready_fd=ready_fd)


@app.command("stop")
@verb
def stop(as_json: JsonOption = False) -> int:
    """End the daemon. Its tunnels go down, and come back when the next one starts.

    Example: tunnels daemon stop
    """
    names = ending.end_daemon()
    if as_json:
        output.print_json({"version": JSON_VERSION, "tunnels": list(names)})
        return 0
    output.out().print("the daemon has ended")
    if names:
        output.note(f"with the next daemon these come back: {', '.join(names)}")
    return 0


@app.command("status")
@verb
def status(as_json: JsonOption = False) -> int:
    """Say whether the daemon runs. Exit code 3: it does not.

    Example: tunnels daemon status
    """
    with Client.connect() as client:
        snapshot = client.status()
    assert snapshot.daemon is not None
    daemon = snapshot.daemon
    if as_json:
        output.print_json({"version": JSON_VERSION, "daemon": daemon.to_json()})
        return 0
    out = output.out()
    since = render.duration(time.time() - daemon.started_at)
    out.print(f"running for {since}, pid {daemon.pid}, version {daemon.version}", markup=False)
    out.print(f"profile file: {daemon.config}", markup=False, soft_wrap=True)
    out.print(f"log: {paths.log_file()}", markup=False, soft_wrap=True)
    out.print(render.plural(len(snapshot.tunnels), "tunnel"), markup=False)
    if daemon.turned_away:
        output.note(f"clients were turned away: {render.turned_away(daemon)}")
    if daemon.config_error is not None:
        output.note(f"the profile file has a problem:\n{daemon.config_error}")
    return 0
