"""The addresses of this machine and whether a firewall is known to be on: what can be seen without root."""

from __future__ import annotations

import ipaddress
import socket
import time
from pathlib import Path

#: Seconds for which an answer is good: a status may be asked for many times a second.
_GOOD_FOR = 10.0

#: Says whether ufw is on, and everybody may read it.
UFW = Path("/etc/ufw/ufw.conf")

#: There while firewalld runs.
FIREWALLD = Path("/run/firewalld.pid")

_known: tuple[float, tuple[str, ...], str | None] | None = None


def facts() -> tuple[tuple[str, ...], str | None]:
    """The addresses with the length of their network, and the name of a firewall that is on."""
    global _known  # noqa: PLW0603 - one machine, one answer
    now = time.monotonic()
    if _known is None or now - _known[0] > _GOOD_FOR:
        _known = now, addresses(), firewall()
    return _known[1:]


def addresses() -> tuple[str, ...]:
    """Every address of this machine: ``192.168.1.7/24``."""
    import psutil  # noqa: PLC0415 - some memory that most daemons do without

    try:
        interfaces = psutil.net_if_addrs()
    except (OSError, psutil.Error):
        return ()
    return tuple(
        found
        for several in interfaces.values()
        for each in several
        if each.family in {socket.AF_INET, socket.AF_INET6}
        and (found := _with_length(each.address, each.netmask)) is not None
    )


def _with_length(address: str, netmask: str | None) -> str | None:
    """Join the two; without a mask the address stands alone. None where the system says nonsense."""
    address = address.partition("%")[0]
    try:
        parsed = ipaddress.ip_address(address)
        if netmask is None:
            return f"{parsed}/{parsed.max_prefixlen}"
        bits = int(ipaddress.ip_address(netmask.partition("%")[0]))
        return f"{parsed}/{bits.bit_count()}"
    except ValueError:
        return None


def firewall() -> str | None:
    """The name of a firewall that is switched on. None says nothing: to see the rules takes root."""
    try:
        lines = UFW.read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    if any(line.replace(" ", "").lower() == "enabled=yes" for line in lines):
        return "ufw"
    return "firewalld" if FIREWALLD.exists() else None
