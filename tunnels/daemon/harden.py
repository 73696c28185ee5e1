"""The way of a profile, seen by those who run its servers: for ``tunnels harden``."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from tunnels.core.harden import Grant, Server, grant_of, grant_of_hop, remarks
from tunnels.core.profile import Profile
from tunnels.errors import TunnelsError
from tunnels.ssh.destination import Destination
from tunnels.ssh.login_key import PublicKey, new_key, public_key_of
from tunnels.ssh.resolve import resolve_all


def make_key(profile: Profile, file: str | None) -> PublicKey:
    """Make a key for this profile alone. Raises BadSetting, also where there is a file already."""
    path = Path(file).expanduser() if file else Path.home() / ".ssh" / f"tunnels-{profile.name}"
    return new_key(path.absolute(), f"tunnels {profile.name}")


def servers(profile: Profile, made: PublicKey | None = None) -> list[Server]:
    """Describe every server on the way, in the order in which they are passed.

    ``made`` is the key that the profile is about to get. Raises ConnectError where the way is not known.
    """
    [route] = asyncio.run(resolve_all([profile]))
    if isinstance(route, TunnelsError):
        raise route
    way = (*route.hops, route.target)
    # Only without ssh_config is the profile's key also that of its jump hosts.
    of_hops = made if (profile.ssh_config or "").strip().lower() == "none" else None
    hops = [_hop(server, behind, of_hops) for server, behind in itertools.pairwise(way)]
    return [*hops, _target(profile, route.target, made)]


def _hop(server: Destination, behind: Destination, made: PublicKey | None) -> Server:
    grant = grant_of_hop(behind.hostname, behind.port)
    others = (
        f"{server.alias} is on the way of this profile: where others go through it with the same key, their "
        "servers belong into the same line"
    )
    return _server(
        server, made, grant, (others, *remarks(grant, (), login=server.user, host=server.alias)), True
    )


def _target(profile: Profile, server: Destination, made: PublicKey | None) -> Server:
    grant = grant_of(profile.forwards)
    said = remarks(
        grant, profile.forwards, login=server.user, host=server.alias, remote_unlink=profile.remote_unlink
    )
    return _server(server, made, grant, said, False)


def _server(
    server: Destination, made: PublicKey | None, grant: Grant, said: tuple[str, ...], is_hop: bool
) -> Server:
    key = made or public_key_of(server)
    about = _about_key(server, key) if made is None else ()
    line, identity = (None, None) if key is None else key
    return Server(server.alias, server.user, is_hop, grant, line, identity, (*said, *about))


def _about_key(server: Destination, key: PublicKey | None) -> tuple[str, ...]:
    said = []
    if key is None:
        said.append("no public key was found for this login: put it at the end of the line, or use --new-key")
    elif not server.identity_files_configured:
        said.append(
            f"{key.identity} is your usual key: with this line it can no longer be used to work on "
            f"{server.alias}; --new-key makes one for the tunnel alone"
        )
    if server.certificate_files:
        said.append(
            "with a certificate authorized_keys has no say: have it signed with -O clear -O permit-port-forwarding, "
            "or use the sshd_config part"
        )
    return tuple(said)
