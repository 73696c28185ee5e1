"""``tunnels reload``: apply the changed profile file to what runs."""

from __future__ import annotations

from tunnels import spawn
from tunnels.cli import output
from tunnels.cli.options import JsonOption
from tunnels.cli.run import verb
from tunnels.core.status import JSON_VERSION


@verb
def reload(as_json: JsonOption = False) -> int:
    """Apply the changed profile file: only tunnels whose meaning changed are touched.

    Example: tunnels reload
    """
    with spawn.find_daemon() as client:
        plan = client.reload()
    if as_json:
        output.print_json({"version": JSON_VERSION, **plan})
        return 0
    for name in plan["restart"]:
        output.out().print(f"{name}: restarted, its profile has changed")
    for name in plan["stop"]:
        output.out().print(f"{name}: stopped, it is no longer in the file")
    for name in plan["start"]:
        output.out().print(f"{name}: started, it should have been up")
    if not plan["restart"] and not plan["stop"] and not plan["start"]:
        output.out().print("nothing that runs has changed")
    return 0
