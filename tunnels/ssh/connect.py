"""Makes SSH connections: finds the way, passes each hop of it, and hands over what has come of it."""

from __future__ import annotations

from tunnels.core.profile import Profile
from tunnels.core.question import Dialogue, NobodyThere
from tunnels.errors import BadSetting, HostUnreachable
from tunnels.ssh.connection import OnLost, SshConnection
from tunnels.ssh.destination import Route
from tunnels.ssh.hop import Hop
from tunnels.ssh.hops import Hops, Key, OnFound
from tunnels.ssh.key_check import check_explicit
from tunnels.ssh.resolve import resolve
from tunnels.ssh.steps import QUIET, Steps


async def connect(
    profile: Profile,
    on_lost: OnLost,
    on_found: OnFound = lambda _addresses: None,
    dialogue: Dialogue | None = None,
    steps: Steps = QUIET,
    *,
    hops: Hops | None = None,
) -> SshConnection:
    """Resolve a profile, pass its jump hosts, check every host key and log in.

    ``on_found`` is told the addresses of the first host on the way, before they are dialled; none where only a
    proxy command knows. ``dialogue`` asks whatever only a person can answer, and ``steps`` is told how far it
    has got. ``hops`` are the connections to jump hosts that there are.

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
    hops = hops or Hops(steps)
    dialogue = dialogue or NobodyThere()
    through = None
    try:
        if route.hops:
            key = Key(route.hops, profile.host_key_policy, None if profile.share_jump else object())
            through = await hops.lease(profile, key, dialogue, on_found)
        hop = Hop(
            profile,
            route.target,
            dialogue,
            None if through is None else through.onward,
            steps,
            scope=hops.scope,
            before=route.hops,
            # It prints the password of one server, and no other is to be told it.
            password_command=profile.password_command,
        )
        conn = await hop.connect(on_found)
    except BaseException:
        if through is not None:
            through.release()
        raise
    return SshConnection(
        conn, hop.client, on_lost, through=through, command=hop.command, remote_unlink=profile.remote_unlink
    )


def _refuse_unsupported(route: Route) -> None:
    """Say what this version cannot do, instead of doing something else."""
    for destination in (*route.hops, route.target):
        if destination.proxy_command is not None and destination.proxy_use_fdpass:
            raise BadSetting(
                f"{destination.alias} is reached through a ProxyCommand with ProxyUseFdpass, which is not supported",
                hint="set ProxyUseFdpass no, and use a command that passes the data on itself",
            )
