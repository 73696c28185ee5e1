"""``tunnels restart``: take tunnels down and bring them up again, with the file as it is now."""

from __future__ import annotations

from typing import Annotated

import typer

from tunnels import profiles, spawn
from tunnels.cli import known
from tunnels.cli.options import AllOption, ConfigOption, JsonOption, ProfileNames, TagOption
from tunnels.cli.run import config_path, verb
from tunnels.cli.up import DEFAULT_TIMEOUT, seconds_of, wait_until_up


@verb
def restart(
    names: ProfileNames = None,
    tag: TagOption = None,
    everything: AllOption = False,
    timeout: Annotated[
        str, typer.Option(metavar="TIME", help="How long to wait; the tunnels go on trying afterwards.")
    ] = DEFAULT_TIMEOUT,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Take tunnels down and bring them up again.

    Example: tunnels restart work-db
    """
    path = config_path(config)
    seconds = seconds_of(timeout)
    wanted = profiles.select(known.load(path), names or [], tags=tag or [], everything=everything)
    with spawn.ensure_daemon(path) as client:
        client.restart([profile.name for profile in wanted], str(path))
        return wait_until_up(
            client, [profile.name for profile in wanted], seconds, config=path, as_json=as_json
        )
