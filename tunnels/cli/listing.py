"""``tunnels list``: the profiles in the file, running or not."""

from __future__ import annotations

from tunnels import profiles
from tunnels.cli import output, render
from tunnels.cli.options import ConfigOption, JsonOption
from tunnels.cli.run import chosen_config, config_path, verb
from tunnels.client import Client
from tunnels.core.profile import Profile
from tunnels.core.ssh_command import flag
from tunnels.core.state import TunnelState
from tunnels.core.status import JSON_VERSION
from tunnels.errors import ProfileError, TunnelsError
from tunnels.profiles import ProfileFile


@verb
def list_profiles(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """List the profiles in the file.

    Example: tunnels list
    """
    file = _load(config)
    states = _states()
    found = list(file.profiles.values())
    if as_json:
        output.print_json(
            {"version": JSON_VERSION, "profiles": [_as_json(profile, states) for profile in found]}
        )
        return 0
    for warning in file.warnings:
        output.note(f"warning: {warning}")
    if not found:
        how = "`tunnels init` writes it" if file.is_missing else "`tunnels edit` opens it"
        output.note(f"no profile in {file.path} yet; {how}")
        return 0
    from rich.text import Text  # noqa: PLC0415

    name_width = max(len(profile.name) for profile in found)
    for profile in found:
        mark, colour = render.MARKS[states.get(profile.name, TunnelState.STOPPED)]
        head = Text.assemble(
            (mark, colour), " ", (profile.name.ljust(name_width), "bold"), "  ", profile.host
        )
        facts = [
            *(f"#{tag}" for tag in profile.tags),
            *([profile.description] if profile.description else []),
        ]
        if profile.autostart:
            facts.append("starts with the daemon")
        head.append("".join(f" · {fact}" for fact in facts), "dim")
        output.out().print(head)
        for forward in profile.forwards:
            name = f"  {forward.name}" if forward.name else ""
            output.out().print(Text.assemble("    ", flag(forward), (name, "dim")))
    return 0


def _load(config: str | None) -> ProfileFile:
    """Read the profile file. Who only opens tunnels has none, which is no error unless one was named."""
    path = config_path(config)
    try:
        return profiles.load(path)
    except ProfileError as error:
        if chosen_config(config) is not None or not profiles.is_missing(error):
            raise
        return ProfileFile(path, {}, is_missing=True)


def _as_json(profile: Profile, states: dict[str, TunnelState]) -> dict[str, object]:
    return {
        "name": profile.name,
        "host": profile.host,
        "description": profile.description,
        "tags": list(profile.tags),
        "autostart": profile.autostart,
        "forwards": [
            {"kind": forward.kind.value, "forward": str(forward), "name": forward.name}
            for forward in profile.forwards
        ],
        "state": states.get(profile.name, TunnelState.STOPPED).value,
    }


def _states() -> dict[str, TunnelState]:
    """What runs now; a list of profiles is of use without it too."""
    try:
        with Client.connect() as client:
            return {tunnel.name: tunnel.state for tunnel in client.status().tunnels}
    except TunnelsError:
        return {}
