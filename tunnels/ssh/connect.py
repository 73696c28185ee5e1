"""Makes SSH connections: finds the way, passes each hop of it, and hands over what has come of it."""

from __future__ import annotations

from collections.abc import Callable

import asyncssh

from tunnels.core.profile import Profile
from tunnels.core.question import Dialogue, NobodyThere
from tunnels.errors import BadSetting, HostUnreachable
from tunnels.ssh.connection import OnLost, SshConnection
from tunnels.ssh.destination import Route
from tunnels.ssh.hop import Hop
from tunnels.ssh.key_check import check_explicit
from tunnels.ssh.resolve import resolve
from tunnels.ssh.steps import QUIET, Steps

OnFound = Callable[[tuple[str, ...]], None]


async def connect(
    profile: Profile,
    on_lost: OnLost,
    on_found: OnFound = lambda _addresses: None,
    dialogue: Dialogue | None = None,
    steps: Steps = QUIET,
) -> SshConnection:
    """Resolve a profile, pass its jump hosts, check every host key and log in.

    ``on_found`` is told the addresses of the first host on the way, before they are dialled. ``dialogue`` asks
    whatever only a person can answer, and ``steps`` is told how far it has got.

    Raises ConnectError, or PersonNeeded where somebody must answer something before the next attempt.
    Cancelling ends the attempt and what there is of the connection.
    """
    if profile.identity_file:
        check_explicit(profile.identity_file)
    try:
        route = await resolve(profile)
    except OSError as exc:  # no file descriptor, no room in the temporary folder: not for ever
        raise HostUnreachable(f"ssh could not be asked about {profile.host}: {exc.strerror or exc}") from exc
    route = steps.way(route)
    _refuse_unsupported(route)
    hops: list[asyncssh.SSHClientConnection] = []
    try:
        for destination in (*route.hops, route.target):
            hop = Hop(
                profile,
                destination,
                dialogue or NobodyThere(),
                hops[-1] if hops else None,
                steps,
                before=route.hops[: len(hops)],
                # It prints the password of one server, and no other is to be told it.
                password_command=profile.password_command if destination is route.target else None,
            )
            hops.append(await hop.connect(on_found))
        *before, conn = hops
        return SshConnection(conn, before, hop.client, on_lost, remote_unlink=profile.remote_unlink)
    except BaseException:
        for conn in reversed(hops):
            conn.abort()
        raise


def _refuse_unsupported(route: Route) -> None:
    """Say what this version cannot do, instead of doing something else."""
    for destination in (*route.hops, route.target):
        if destination.proxy_command is not None:
            raise BadSetting(
                f"{destination.alias} is reached through a ProxyCommand, which is not supported yet",
                hint='a jump host can be used instead: jump = "bastion"',
            )
