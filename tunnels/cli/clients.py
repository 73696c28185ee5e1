"""``tunnels clients``: who uses the forwards now, with the names of the programs on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunnels import spawn
from tunnels.cli import glance, output, render
from tunnels.cli.options import ConfigOption, JsonOption, RunningNames
from tunnels.cli.run import verb
from tunnels.core.client_status import Clients, ClientStatus
from tunnels.core.status import JSON_VERSION, Snapshot
from tunnels.errors import DaemonNotRunning
from tunnels.programs import Program, Programs

if TYPE_CHECKING:
    from rich.text import Text


@verb
def clients(names: RunningNames = None, config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Show who uses the forwards now: the program on this machine, from where, for how long.

    Of a proxy also where each of them goes; of a remote forward, what the server says of them.

    Example: tunnels clients work-db
    """
    try:
        client = spawn.find_daemon()
    except DaemonNotRunning:
        for name in names or []:
            glance.check_names([name], Snapshot(None), config)
        raise
    with client:
        snapshot = client.status()
        glance.check_names(names or [], snapshot, config)
        snapshot = glance.picked(snapshot, names or [])
        wanted = [tunnel.name for tunnel in snapshot.tunnels]
        found = client.clients(wanted) if wanted else Clients()
    programs = Programs().of(found.shown)
    if as_json:
        shown = [_as_json(client, programs.get(client)) for client in found.shown]
        output.print_json({"version": JSON_VERSION, "clients": shown, "left_out": found.left_out})
        return 0
    output.print_lines(_lines(snapshot, found, programs))
    if not found.shown:
        output.note(
            "no program uses a tunnel now" if not names else f"no program uses {', '.join(names)} now"
        )
    if found.left_out:
        output.note(f"and {found.left_out} more")
    return 0


def _as_json(client: ClientStatus, program: Program | None) -> dict[str, object]:
    name, pid = (None, client.pid) if program is None else program
    return {**client.to_json(), "program": name, "pid": pid}


def _lines(snapshot: Snapshot, found: Clients, programs: dict[ClientStatus, Program]) -> list[Text]:
    from rich.text import Text  # noqa: PLC0415

    lines: list[Text] = []
    for tunnel in snapshot.tunnels:
        of_tunnel = [client for client in found.shown if client.tunnel == tunnel.name]
        if of_tunnel:
            lines.append(Text(tunnel.name, "bold"))
        for place, forward in enumerate(tunnel.forwards):
            of_forward = [client for client in of_tunnel if client.forward == place]
            if of_forward:
                lines.append(Text(f"    {render.route(forward)}", "dim"))
            for client in of_forward:
                line = Text(f"        {render.client_words(client, programs.get(client))}")
                lines.append(line.append(f"  {render.client_facts(client, forward)}", "dim"))
    return lines
