"""``tunnels down``: take tunnels down; their ports are free when it returns."""

from __future__ import annotations

import fnmatch

from tunnels import profiles, spawn
from tunnels.cli import known, output
from tunnels.cli.options import AllOption, ConfigOption, JsonOption, RunningNames, TagOption
from tunnels.cli.run import config_path, verb
from tunnels.core.status import JSON_VERSION
from tunnels.errors import DaemonNotRunning, NoSuchProfile, ProfileError, TunnelsError, UsageError


@verb
def down(
    names: RunningNames = None,
    tag: TagOption = None,
    everything: AllOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Take tunnels down.

    Example: tunnels down work-db
    """
    if not names and not tag and not everything:
        raise UsageError(
            "which tunnel?", hint="give names, or --tag TAG, or --all; `tunnels status` shows them"
        )
    try:
        client = spawn.find_daemon()
    except DaemonNotRunning:
        wanted = _meant(names or [], tag or [], everything, running=[], config=config)
        return _report([], wanted, as_json=as_json)
    with client:
        running = [tunnel.name for tunnel in client.status().tunnels]
        wanted = _meant(names or [], tag or [], everything, running=running, config=config)
        return _report(client.down(wanted, everything=everything), wanted, as_json=as_json)


def _meant(
    names: list[str], tags: list[str], everything: bool, *, running: list[str], config: str | None
) -> list[str]:
    """The tunnels that are meant: those that run, also if their profile is gone, and those of the file."""
    meant = list(running) if everything else []
    unknown = []
    for name in names:
        found = [candidate for candidate in running if fnmatch.fnmatchcase(candidate, name)]
        meant += found
        if not found:
            unknown.append(name)
    if unknown or tags:
        try:
            meant += [
                profile.name
                for profile in profiles.select(known.load(config_path(config)), unknown, tags=tags)
            ]
        except TunnelsError as error:
            if isinstance(error, NoSuchProfile) or tags:
                raise
            # A broken file must not keep anybody from taking a tunnel down, nor from hearing that there is none.
            said = f"no tunnel {', '.join(unknown)} is running"
            if isinstance(error, ProfileError) and profiles.is_missing(error):
                said += f"; {error.message}"
            raise NoSuchProfile(said, hint="`tunnels status`") from error
    return list(dict.fromkeys(meant))


def _report(stopped: list[str], wanted: list[str], *, as_json: bool) -> int:
    idle = [name for name in wanted if name not in stopped]
    if as_json:
        output.print_json({"version": JSON_VERSION, "stopped": stopped, "not_running": idle})
        return 0
    for name in stopped:
        output.out().print(f"{name}: stopped")
    for name in idle:
        output.note(f"{name} was not running")
    if not wanted:
        output.note("nothing was running")
    return 0
