"""Who can connect to a listener: this machine, a network, or everyone; in one sentence."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Sequence
from typing import NamedTuple

from tunnels.core.address import EVERY_INTERFACE, TcpAddress, UnixAddress
from tunnels.core.forward import Forward, ForwardKind

Network = ipaddress.IPv4Interface | ipaddress.IPv6Interface

#: Bind addresses that stand for all of them.
_ALL = {EVERY_INTERFACE: (4, 6), "0.0.0.0": (4,), "::": (4, 6)}  # noqa: S104 - only compared

#: Networks that are named; a machine with containers has dozens.
_NAMED = 3


class Reach(enum.Enum):
    """How far away a client can be."""

    MACHINE = "machine"  #: programs on the machine that listens
    NETWORK = "network"  #: machines around it
    EVERYONE = "everyone"  #: the internet, or nobody can tell


class Audience(NamedTuple):
    """Who can connect."""

    reach: Reach
    text: str  #: begins in lower case: it stands behind other words


def audience(
    forward: Forward, *, host: str, interfaces: Sequence[str] = (), firewall: str | None = None
) -> Audience:
    """Say who can connect to what a forward listens on.

    ``host`` is what the user calls the server. ``interfaces`` are the addresses of this machine, each with the
    length of its network (``192.168.1.7/24``), and ``firewall`` is one that is known to be switched on.
    """
    if forward.kind is ForwardKind.REMOTE:
        return _there(forward, host)
    return _here(forward, [ipaddress.ip_interface(each) for each in interfaces], firewall)


def _there(forward: Forward, host: str) -> Audience:
    listen = forward.listen
    if isinstance(listen, UnixAddress):
        return Audience(Reach.MACHINE, f"the programs on {host} that may open {listen}")
    if listen.is_loopback:
        return Audience(Reach.MACHINE, f"every program on {host}, and no other machine")
    # Whether it listens beyond loopback is the server's to decide, and it does not say what it has decided.
    where = host if listen.host in _ALL else f"{listen.host} of {host}"
    return Audience(Reach.EVERYONE, f"everyone who reaches {where}, if GatewayPorts there allows it")


def _here(forward: Forward, interfaces: Sequence[Network], firewall: str | None) -> Audience:
    listen = forward.listen
    if isinstance(listen, UnixAddress):
        return Audience(Reach.MACHINE, "your own programs on this machine only")
    if listen.is_loopback:
        return Audience(Reach.MACHINE, "this machine only")
    own = [each for each in interfaces if not each.is_loopback and not each.is_link_local]
    stopped = f"; {firewall} is on and may stop them" if firewall else "; firewalls are not looked at"
    if listen.host in _ALL:
        found = [each for each in own if each.version in _ALL[listen.host or ""]]
    else:
        found = _at(listen, interfaces)
        if not found:
            return Audience(Reach.EVERYONE, f"whoever reaches {listen.host} on this machine{stopped}")
    public = [each for each in found if each.is_global]
    if public:
        return Audience(
            Reach.EVERYONE, f"everyone, from the internet too: {public[0].ip} is a public address{stopped}"
        )
    if not found:
        return Audience(Reach.NETWORK, f"every network that this machine joins (it is in none now){stopped}")
    networks = list(dict.fromkeys(str(each.network) for each in found))
    named = ", ".join(networks[:_NAMED]) + (" and more" if len(networks) > _NAMED else "")
    return Audience(
        Reach.NETWORK,
        f"everyone on your network{'s' if len(networks) > 1 else ''} ({named}), not the internet unless a router "
        f"forwards it{stopped}",
    )


def _at(listen: TcpAddress, interfaces: Sequence[Network]) -> list[Network]:
    """The interface that an address is of; none for a name, which nobody has resolved."""
    try:
        address = ipaddress.ip_address((listen.host or "").partition("%")[0])
    except ValueError:
        return []
    return [each for each in interfaces if each.ip == address]
