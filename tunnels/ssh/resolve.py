"""Finds out where a profile goes, by asking OpenSSH itself: ``ssh -G`` for the destination and every hop.

No parser of ours reads ssh_config: Match, Include, canonical names and their order are OpenSSH's to say. Of
``ssh`` there are three kinds of absence: ``ssh_config = "none"`` (nobody is asked, plain defaults), no
``ssh`` program (asyncssh's parser serves, as well as it can), and neither.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shlex
import shutil
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tunnels.core.profile import HostSpec, Profile, parse_host_spec
from tunnels.errors import BadSetting, HostUnreachable, TunnelsError, UsageError
from tunnels.ssh.ask_ssh import Answers, OpenSSH
from tunnels.ssh.destination import (
    Destination,
    LocalMachine,
    Route,
    in_home,
    with_known_hosts,
    with_profile,
    with_timing,
)
from tunnels.ssh.without_ssh import AsyncsshParser, PlainDefaults

MAX_HOPS = 16
"""More are taken for a circle that tokens hide. OpenSSH has no such limit; each hop is a process there."""


class _Oracle(Protocol):
    """Somebody who knows ssh_config."""

    async def ask(self, spec: HostSpec) -> Destination:
        """Describe one destination, without what the profile says about it."""


async def resolve(
    profile: Profile, *, ssh_program: str | None = "ssh", answers: Answers | None = None
) -> Route:
    """Find out where a profile goes: its target, and the hops to it in the order they are dialled.

    The keys of the profile are about its target, as command line flags of ssh are: a hop has its own Host
    in ssh_config. Only the waiting times go for the whole way. With ``ssh_config = "none"``, where a hop
    has no other place to say it, the profile's identities, certificates and known_hosts serve for hops too.

    Args:
        profile: what the user wrote.
        ssh_program: the ``ssh`` to ask; ``None`` or one that is not installed: asyncssh's parser is asked.
        answers: what one command has been told by ssh already; `None`: ask anew, as every attempt does.

    Raises:
        BadSetting: ssh_config or the profile is wrong.
        HostUnreachable: ``ssh -G`` could not be started now, or did not end within 10 s, as a Match exec
            does that looks for the network. Worth another try.

    """
    machine = local_machine()
    without_ssh_config = (profile.ssh_config or "").strip().lower() == "none"
    config_file = None
    if profile.ssh_config and not without_ssh_config:
        config_file = in_home(profile.ssh_config, machine)

    oracle: _Oracle
    if without_ssh_config:
        oracle = PlainDefaults(machine)
    elif ssh_program is not None and (found := shutil.which(ssh_program)):
        oracle = OpenSSH(found, config_file, machine, answers)
    else:
        oracle = AsyncsshParser(config_file, machine)

    spec = _spec(profile.host)
    spec = HostSpec(
        spec.host,
        spec.user if profile.user is None else profile.user,
        spec.port if profile.port is None else profile.port,
    )
    target = with_profile(await oracle.ask(spec), profile, machine)
    hops = []
    for found_hop in await _hops(oracle, target, ()):
        hop = with_timing(found_hop, profile)
        if without_ssh_config:
            hop = _as_the_target(hop, target, profile, machine)
        hops.append(hop)
    return Route(tuple(hops), target)


async def resolve_all(
    profiles: Sequence[Profile], *, ssh_program: str | None = "ssh"
) -> list[Route | TunnelsError]:
    """Resolve several profiles for one command, a few at a time, asking ssh nothing twice."""
    answers = Answers()

    async def one(profile: Profile) -> Route | TunnelsError:
        try:
            return await resolve(profile, ssh_program=ssh_program, answers=answers)
        except TunnelsError as error:
            return error
        except OSError as exc:  # no file descriptor, no room in the temporary folder
            return HostUnreachable(f"ssh could not be asked about {profile.host}: {exc.strerror or exc}")

    return await asyncio.gather(*map(one, profiles))


async def _hops(
    oracle: _Oracle, destination: Destination, behind: tuple[Destination, ...]
) -> tuple[Destination, ...]:
    """Resolve the way to a destination.

    ``ssh`` starts a second ssh for the last hop and hands it the others as its -J. So the first hop
    alone is reached the way its own Host says; for the others the list has said it already.
    """
    if not destination.proxy_jump:
        return ()
    behind = (*behind, destination)
    specs = [_spec(text) for text in destination.proxy_jump[:MAX_HOPS]]
    hops = []
    for answer in await asyncio.gather(*map(oracle.ask, specs), return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer
        hops.append(answer)
    hops[1:] = [replace(hop, proxy_jump=(), proxy_command=None) for hop in hops[1:]]
    first = hops[0]
    if any(_same(first, other) for other in behind):
        raise BadSetting(
            f"the way to {behind[0].alias} goes in a circle: {first.alias} is reached through itself",
            hint=f'in ssh_config, give "Host {first.alias}" a "ProxyJump none"',
        )
    if len(behind) + len(destination.proxy_jump) > MAX_HOPS:
        raise BadSetting(
            f"the way to {behind[0].alias} has more than {MAX_HOPS} hops",
            hint=f"look at the proxyjump that this says: ssh -G {shlex.quote(behind[0].alias)}",
        )
    return (*await _hops(oracle, first, behind), *hops)


def _same(one: Destination, other: Destination) -> bool:
    # By the name that was asked for, as ssh does: two networks may have a 192.168.1.1 each.
    return (one.alias.lower(), one.user, one.port) == (other.alias.lower(), other.user, other.port)


def _as_the_target(
    hop: Destination, target: Destination, profile: Profile, machine: LocalMachine
) -> Destination:
    if profile.identity_file:
        hop = replace(hop, identity_files=target.identity_files, identity_files_configured=True)
    if profile.certificate_file:
        hop = replace(hop, certificate_files=target.certificate_files)
    return with_known_hosts(hop, profile, machine) if profile.known_hosts else hop


def _spec(text: str) -> HostSpec:
    try:
        return parse_host_spec(text)
    except UsageError as error:
        raise BadSetting(error.message, hint=error.hint) from error


def local_machine() -> LocalMachine:
    """Describe this machine and its user."""
    home = str(Path("~").expanduser())
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:  # a container with a made-up uid; ssh itself gives up there
        user = os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())
        return LocalMachine(home, home, user, os.getuid(), socket.gethostname())
    return LocalMachine(home, entry.pw_dir, entry.pw_name, entry.pw_uid, socket.gethostname())
