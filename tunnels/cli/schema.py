"""``tunnels schema``: the profile file as a JSON Schema, for editors."""

from __future__ import annotations

from tunnels.cli import output
from tunnels.cli.run import verb
from tunnels.core.schema import profile_schema


@verb
def schema() -> int:
    """Print a JSON Schema of the profile file: editors complete and check it with that.

    Write it beside the file, and name it in the first line of that: #:schema ./profiles.schema.json

    Example: tunnels schema > ~/.config/tunnels/profiles.schema.json
    """
    output.print_json(profile_schema())
    return 0
