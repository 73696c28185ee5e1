"""Brings a tunnel up for a command that goes through its proxy, and says where that is."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import typer

from tunnels import profiles, spawn
from tunnels.cli import asking, known, output
from tunnels.cli.options import complete_profile
from tunnels.cli.run import config_path
from tunnels.cli.waiting import Waiting
from tunnels.client import Client
from tunnels.core.address import TcpAddress, describe_listen
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.profile import Profile
from tunnels.core.proxy_address import ProxyAddress, proxy_address
from tunnels.core.state import WORKING, ForwardState
from tunnels.core.status import ForwardStatus, Snapshot, TunnelStatus
from tunnels.errors import NotAsAsked, TunnelsError, UsageError

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a profile.", autocompletion=complete_profile)
]
ForwardOption = Annotated[
    str | None,
    typer.Option(
        "--forward", metavar="NAME", help="Which dynamic forward, by name or port (default: the first)."
    ),
]
TimeoutOption = Annotated[str, typer.Option(metavar="TIME", help="How long to wait for the tunnel.")]


class Way(NamedTuple):
    """A proxy that listens, and what is known of it."""

    tunnel: str
    proxy: ProxyAddress
    forward: ForwardStatus
    needs_password: bool  #: the forward has ``auth``
    brought_up: bool  #: it was not up before this command


def way_through(
    name: str, *, forward: str | None, timeout: float, config: str | None, as_json: bool = False
) -> Way:
    """Have the tunnel up, asking on the terminal what must be asked, and find its proxy.

    Another forward of the tunnel that cannot listen is said and does no harm. Raises TunnelsError.
    """
    path = config_path(config)
    chosen = profiles.select(known.load(path), [name])
    if len(chosen) != 1:
        raise UsageError(
            f"{name} means {len(chosen)} profiles", hint="one of " + ", ".join(each.name for each in chosen)
        )
    profile = chosen[0]
    rule = _chosen_forward(profile, forward)
    with spawn.ensure_daemon(path) as client:
        found = client.up([profile.name], str(path)).get(profile.name)
        who = None if as_json else asking.person()
        waiting = Waiting(
            client, [profile.name], timeout, who=who, config=str(path), as_json=as_json, shows=False
        )
        waiting.run()
    with Client.connect() as client:  # the other one is busy with the watch
        tunnel = _the_tunnel(client.status(), profile.name)
    status = None if tunnel is None else _as_it_runs(tunnel, rule)
    works = tunnel is not None and tunnel.state in WORKING
    if works and status is None:
        raise NotAsAsked(
            f"{profile.name} runs with an older version of its profile, without this forward",
            hint="tunnels reload",
        )
    if not works or status is None or status.state is not ForwardState.LISTENING:
        raise _why_not(profile.name, status, waiting.errors)
    if not as_json:
        for error in waiting.errors:
            output.note(f"note: {error.message}")
    brought_up = found == "started"
    return Way(profile.name, proxy_address(status.listen), status, rule.auth is not None, brought_up)


def refuse_password(way: Way, what: str) -> None:
    """For what cannot ask a person. Raises UsageError."""
    if way.needs_password:
        raise UsageError(
            f"{way.forward.listen} of {way.tunnel} wants a password (auth), which {what}",
            hint='give the profile a second one for this machine alone, without auth: dynamic = [..., "1081"]',
        )


def note_that_it_stays(way: Way) -> None:
    """A command that has brought a tunnel up for itself, and leaves it, says so."""
    if way.brought_up:
        output.note(f"{way.tunnel} is up, and stays up; `tunnels down {way.tunnel}` ends it")


def _chosen_forward(profile: Profile, wanted: str | None) -> Forward:
    dynamic = [each for each in profile.forwards if each.kind is ForwardKind.DYNAMIC]
    if not dynamic:
        raise UsageError(
            f"{profile.name} has no dynamic forward, which is what programs are sent through",
            hint='`tunnels edit`, and add the line: dynamic = ["1080"]',
        )
    if wanted is None:
        return dynamic[0]
    for each in dynamic:
        if wanted in (each.name, describe_listen(each.listen), _port(each)):
            return each
    raise UsageError(
        f"{profile.name} has no dynamic forward {wanted}",
        hint="it has " + ", ".join(each.name or describe_listen(each.listen) for each in dynamic),
    )


def _port(forward: Forward) -> str | None:
    return str(forward.listen.port) if isinstance(forward.listen, TcpAddress) else None


def _the_tunnel(snapshot: Snapshot, name: str) -> TunnelStatus | None:
    return next((tunnel for tunnel in snapshot.tunnels if tunnel.name == name), None)


def _as_it_runs(tunnel: TunnelStatus, rule: Forward) -> ForwardStatus | None:
    listen = describe_listen(rule.listen)
    return next((each for each in tunnel.forwards if each.kind == "dynamic" and each.listen == listen), None)


def _why_not(name: str, status: ForwardStatus | None, errors: list[TunnelsError]) -> TunnelsError:
    if status is not None and status.error is not None:
        return NotAsAsked(f"{name}: {status.listen}: {status.error.message}", hint=status.error.hint)
    if errors:
        return errors[0]
    return NotAsAsked(f"{name} was taken down", hint=f"tunnels up {name}")
