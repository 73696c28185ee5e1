"""``tunnels check``: validate the profile file, and show what a profile means."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import typer

from tunnels import profiles
from tunnels.cli import known, output
from tunnels.cli.options import ConfigOption, JsonOption, ProfileNames
from tunnels.cli.run import config_path, verb
from tunnels.core.audience import Audience, Reach, audience
from tunnels.core.config_forward import KEYWORD_OF, read_config_forward
from tunnels.core.forward import Forward
from tunnels.core.profile import Profile
from tunnels.core.ssh_command import flag, ssh_command
from tunnels.core.status import JSON_VERSION, Json, error_to_json
from tunnels.errors import TunnelsError


@verb
def check(
    names: ProfileNames = None,
    ssh: Annotated[bool, typer.Option("--ssh", help="Print the equivalent ssh command line.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Validate the profile file and show what each profile means.

    Example: tunnels check work-db --ssh
    """
    path = config_path(config)
    file = known.load(path) if names else profiles.load(path)  # by its name, also what was opened
    wanted = profiles.select(file, names) if names else list(file.profiles.values())
    if ssh and as_json:
        commands: list[Json] = [{"name": one.name, "command": ssh_command(one)} for one in wanted]
        output.print_json({"version": JSON_VERSION, "config": str(file.path), "profiles": commands})
        return 0
    if ssh:
        for profile in wanted:
            output.out().print(ssh_command(profile), markup=False, soft_wrap=True)
        return 0
    asked = {one.name for one in wanted}
    warnings = [warning for warning in file.warnings if asked.intersection(warning.profiles)]
    found = list(zip(wanted, _resolve(wanted), strict=True))
    failed = any(isinstance(resolved, TunnelsError) for _, resolved in found)
    if as_json:
        output.print_json(
            {
                "version": JSON_VERSION,
                "config": str(file.path),
                "warnings": [str(warning) for warning in warnings],
                "profiles": [_as_json(profile, resolved) for profile, resolved in found],
            }
        )
        return 2 if failed else 0
    for warning in warnings:
        output.note(f"warning: {warning}")
    for profile, resolved in found:
        _show(profile, resolved)
    for line in notes(found):
        output.note(f"note: {line}")
    count = len(file.profiles) - len(file.opened)
    many = "1 profile" if count == 1 else f"{count} profiles"
    verdict = "see the errors above" if failed else f"{many}, no problem"
    if not file.is_missing:
        output.note(f"{file.path}: {verdict}")
    return 2 if failed else 0


class Note(NamedTuple):
    """Something that ssh_config says and that is not done."""

    host: str  #: the server that it concerns, as the user calls it
    hop: bool  #: whether that is one on the way
    keyword: str  #: "" where it is about none
    value: str
    text: str


class Described(NamedTuple):
    """What ssh_config makes of a profile."""

    rows: list[tuple[str, str]]
    notes: list[Note]


Resolved = Described | TunnelsError


def _resolve(wanted: Sequence[Profile]) -> list[Resolved]:
    """Ask what ssh_config makes of the profiles."""
    import asyncio  # noqa: PLC0415

    from tunnels.ssh.describe import describe, remarks  # noqa: PLC0415
    from tunnels.ssh.resolve import resolve_all  # noqa: PLC0415 - asks `ssh -G`; only this needs it

    found: list[Resolved] = []
    for profile, route in zip(wanted, asyncio.run(resolve_all(wanted)), strict=True):
        if isinstance(route, TunnelsError):
            found.append(route)
            continue
        try:
            said = [Note(remark.host, remark.is_hop, *remark.note) for remark in remarks(route)]
            said = [note for note in said if not has_forward(profile, note.keyword, note.value)]
            said += _missing_keys(profile)
            found.append(Described(describe(route), said))
        except TunnelsError as error:
            found.append(error)
    return found


def has_forward(profile: Profile, keyword: str, value: str) -> bool:
    """Whether the profile has the forward that ssh_config has too, as after `tunnels import`."""
    kind = next((kind for kind, name in KEYWORD_OF.items() if name == keyword), None)
    if kind is None:
        return False
    try:
        rule = str(read_config_forward(kind, value))
    except TunnelsError:
        return False
    there = {str(forward) for forward in profile.forwards if forward.kind is kind}
    return bool({rule, f"*:{rule}"} & there)  # GatewayPorts opens it


def _missing_keys(profile: Profile) -> list[Note]:
    """A key that is not here may be where the file is used; `up` would end there."""
    from tunnels.ssh.key_check import check_explicit  # noqa: PLC0415

    try:
        check_explicit(profile.identity_file)
    except TunnelsError as error:
        return [Note(profile.host, False, "", "", f"{error.message}; `up` will say so and end there")]
    return []


def notes(found: Sequence[tuple[Profile, Resolved]]) -> list[str]:
    """Write each thing that ssh_config says and that is not done once, with the profiles that it concerns."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for profile, resolved in found:
        if isinstance(resolved, TunnelsError):
            continue
        for note in resolved.notes:
            where = f"{note.host} before {profile.name}" if note.hop else profile.name
            known = places.setdefault((note.keyword, note.value, note.text), [])
            if where not in known:
                known.append(where)
    together: dict[tuple[str, str, str, tuple[str, ...]], tuple[list[str], dict[str, None]]] = {}
    for (keyword, value, text), concerned in places.items():
        several = keyword == "ControlPath" or keyword in KEYWORD_OF.values()  # %C makes one for every host
        whose = tuple(concerned) if keyword in KEYWORD_OF.values() else ()
        key = (keyword, "" if several else value, text, whose)
        values, those = together.setdefault(key, ([], {}))
        values.append(value)
        those.update(dict.fromkeys(concerned))
    lines = []
    for (keyword, _, text, _), (values, those) in together.items():
        more = f" (and {len(values) - 1} more)" if len(values) > 1 else ""
        said = f"{keyword} {values[0]}{more}".strip()
        lines.append(f"{said} ({', '.join(those)}): {text}" if said else f"{', '.join(those)}: {text}")
    return lines


def _show(profile: Profile, resolved: Resolved) -> None:
    from rich.text import Text  # noqa: PLC0415

    out = output.out()
    out.print(
        Text.assemble((profile.name, "bold"), f"  {profile.description}" if profile.description else "")
    )
    for forward in profile.forwards:
        line = Text(f"    {flag(forward)}")
        reach, who = _audience(profile, forward)
        quiet = reach is Reach.MACHINE
        line.append(f"  ({who})" if quiet else f"  open to {who}", "dim" if quiet else "yellow")
        out.print(line)
    if isinstance(resolved, TunnelsError):
        output.show_error(resolved)
    else:
        for key, value in resolved.rows:
            out.print(Text.assemble("    ", (key.ljust(16), "dim"), value))
    for event, words in _hooks(profile).items():
        out.print(Text.assemble("    ", (event.ljust(16), "dim"), shlex.join(words)))


def _audience(profile: Profile, forward: Forward) -> Audience:
    """Who can connect to it."""
    if not forward.reachable_by_others:
        return audience(forward, host=profile.host)
    from tunnels.forwarding.interfaces import facts  # noqa: PLC0415 - psutil, for this alone

    addresses, firewall = facts()
    return audience(forward, host=profile.host, interfaces=addresses, firewall=firewall)


def _as_json(profile: Profile, resolved: Resolved) -> Json:
    error = resolved if isinstance(resolved, TunnelsError) else None
    return {
        "name": profile.name,
        "forwards": [_forward_as_json(profile, forward) for forward in profile.forwards],
        "resolved": None if isinstance(resolved, TunnelsError) else [list(item) for item in resolved.rows],
        "notes": [] if isinstance(resolved, TunnelsError) else [note._asdict() for note in resolved.notes],
        "hooks": {event: list(words) for event, words in _hooks(profile).items()},
        "error": None if error is None else error_to_json(error.info),
    }


def _forward_as_json(profile: Profile, forward: Forward) -> Json:
    reach, who = _audience(profile, forward)
    return {
        "kind": forward.kind.value,
        "forward": str(forward),
        "audience": {"reach": reach.value, "text": who},
    }


def _hooks(profile: Profile) -> dict[str, tuple[str, ...]]:
    """The commands that the profile wants run, as they are run."""
    hooks = {"on_up": profile.on_up, "on_down": profile.on_down, "on_failed": profile.on_failed}
    return {event: words for event, words in hooks.items() if words}
