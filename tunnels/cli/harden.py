"""``tunnels harden``: what to write on the server, so that a login can do what its profile needs and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunnels import profiles
from tunnels.cli import doctor, known, output
from tunnels.cli.options import ConfigOption, JsonOption, complete_profile
from tunnels.cli.run import config_path, verb
from tunnels.core import checkup
from tunnels.core.harden import Server
from tunnels.core.profile import Profile
from tunnels.core.status import JSON_VERSION
from tunnels.errors import UsageError


@verb
def harden(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The profile.", autocompletion=complete_profile)
    ],
    test: Annotated[
        bool, typer.Option("--test", help="Show on the server: what is needed works, the rest is refused.")
    ] = False,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Make a key for this profile alone (ed25519).")
    ] = False,
    key_file: Annotated[
        str | None, typer.Option("--key-file", metavar="FILE", help="Where --new-key puts it.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Print what to write on the server, so that this login can do what the profile needs and nothing else.

    A line for authorized_keys and a block for sshd_config, for every server on the way. With --test it logs in
    and tries: exit code 1 where the server allows more than that, or less.

    Example: tunnels harden home --new-key
    """
    if test and new_key:
        raise UsageError(
            "a new key is not on the server yet", hint="first --new-key, then its line there, then --test"
        )
    if key_file is not None and not new_key:
        raise UsageError("--key-file says where a new key goes", hint="add --new-key")
    file = known.load(config_path(config))
    profile = profiles.select(file, [name])[0]
    if test:
        return _test(file.path, profile, as_json=as_json)
    from tunnels.daemon.harden import make_key, servers  # noqa: PLC0415 - the way, and the keys, are the engine's

    made = make_key(profile, key_file) if new_key else None
    found = servers(profile, made)
    if as_json:
        output.print_json(
            {
                "version": JSON_VERSION,
                "name": profile.name,
                "new_key": None if made is None else {"file": made.identity, "public_key": made.line},
                "servers": [server.to_json() for server in found],
            }
        )
        return 0
    for server in found:
        _show(server)
    if made is not None:
        output.note(f"made {made.identity}; it has no passphrase, so that nobody is needed for it")
        if profile.name in file.opened:
            output.note(
                f"it has no profile: `tunnels down {profile.name}`, then `tunnels open -i {made.identity} …`"
            )
        else:
            output.note(f'in [profiles.{profile.name}]: identity_file = "{made.identity}"')
    output.note(f"when it is there: tunnels harden {profile.name} --test")
    return 0


def _test(path: Path, profile: Profile, *, as_json: bool) -> int:
    """Let the doctor look, and then at what should be refused."""
    from tunnels.daemon.doctor import run_doctor  # noqa: PLC0415 - the engine, for this alone

    found = doctor.told(
        lambda reader, running: run_doctor(
            path, [profile], reader, running=running, may_ask=not as_json, refusals=True
        ),
        as_json=as_json,
    )
    return checkup.exit_code(found)


def _show(server: Server) -> None:
    out = output.out()

    def say(text: str = "") -> None:
        out.print(text, markup=False, soft_wrap=True)

    role = "jump host " if server.is_hop else ""
    say(f"# {role}{server.host}: ~/.ssh/authorized_keys of {server.login}")
    say(server.authorized_keys)
    say()
    say(f"# {role}{server.host}: sshd_config; for an account that does nothing else, whatever its key")
    for line in server.grant.sshd_config(server.login):
        say(line)
    say()
    for remark in server.remarks:
        output.note(f"note: {server.host}: {remark}")
