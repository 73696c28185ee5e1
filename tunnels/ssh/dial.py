"""Opens the TCP connection to a server: every address of the name, IPv6 and IPv4 racing (RFC 8305)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

import aiohappyeyeballs

from tunnels.ssh.destination import Destination
from tunnels.ssh.options import connect_timeout, user_timeout

#: Seconds before the next address is tried beside the first (RFC 8305 section 5, "Connection Attempt Delay").
ATTEMPT_DELAY = 0.25

_FAMILIES = {"any": socket.AF_UNSPEC, "inet": socket.AF_INET, "inet6": socket.AF_INET6}


#: Socket options of TCP that Python has no names for. Linux 6.15 (tcp(7)): the longest time between two
#: retransmissions, in milliseconds; without it, 120 s. macOS (netinet/tcp.h): seconds without an acknowledgement.
_TCP_RTO_MAX_MS = 44
_TCP_RXT_CONNDROPTIME = 0x80

#: Linux 3.12 (tcp(7)) and macOS (netinet/tcp.h): how many bytes may wait in the kernel without having been sent.
_TCP_NOTSENT_LOWAT = 25
_TCP_NOTSENT_LOWAT_MACOS = 0x201

#: Bytes that may: enough for a gigabit to go on for a millisecond until we have written more.
_UNSENT = 128 * 1024

#: macOS (netinet/in.h, netinet6/in6.h): the number of the interface that a socket uses.
_IP_BOUND_IF = 25
_IPV6_BOUND_IF = 125

#: tcpi_segs_in of struct tcp_info (linux/tcp.h): packets of the other side, also those that only acknowledge.
_TCP_INFO_SEGMENTS = struct.Struct("=140xI")

#: tcpi_min_rtt of the same: microseconds of the shortest round trip of late, without waiting for anybody's program.
_TCP_INFO_SHORTEST = struct.Struct("=148xI")

#: Milliseconds between two retransmissions while an outage is expected, and usually.
_RTO_IN_OUTAGE = 1_000
_RTO_USUAL = 120_000


async def dial(
    destination: Destination, on_found: Callable[[tuple[str, ...]], None] = lambda _addresses: None
) -> socket.socket:
    """Connect; ``on_found`` is told the addresses first.

    Raises OSError: gaierror for the name, TimeoutError for no answer.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(connect_timeout(destination)):
        found = await _resolve(destination)
        on_found(tuple(dict.fromkeys(str(sockaddr[0]) for _, _, _, _, sockaddr in found)))
        local = None
        if destination.bind_address is not None:
            local = await loop.getaddrinfo(destination.bind_address, 0, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            found,
            local_addr_infos=local,
            happy_eyeballs_delay=ATTEMPT_DELAY,
            interleave=1,
            socket_factory=lambda info: _open(info, destination),
        )
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _bound_silence(sock, user_timeout(destination))
    _keep_queue_short(sock)
    return sock


def _open(info: Any, destination: Destination) -> socket.socket:
    """Make the socket for one address, as ssh_config wants it; what it says has to be said before the dialling."""
    family, kind, protocol, *_ = info
    sock = socket.socket(family, kind, protocol)
    try:
        if destination.bind_interface is not None:
            _bind_to_interface(sock, destination.bind_interface)
        if destination.ip_qos is not None:
            with contextlib.suppress(OSError):  # a wish, in ssh too
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, destination.ip_qos)
                else:
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, destination.ip_qos)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_to_interface(sock: socket.socket, name: str) -> None:
    """Let a connection leave through one interface only (BindInterface). Linux 5.7 asks no privilege for that.

    Raises OSError: there is no such interface now, or this system cannot do it.
    """
    try:
        if sys.platform == "linux":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode() + b"\0")
        elif sys.platform == "darwin":
            family = sock.family == socket.AF_INET6
            level, option = (
                (socket.IPPROTO_IPV6, _IPV6_BOUND_IF) if family else (socket.IPPROTO_IP, _IP_BOUND_IF)
            )
            sock.setsockopt(level, option, socket.if_nametoindex(name))
        else:
            raise OSError(errno.EOPNOTSUPP, "this system cannot do it")
    except OSError as exc:
        raise OSError(exc.errno, f"BindInterface {name}: {exc.strerror or exc}") from exc


async def _resolve(destination: Destination) -> list[Any]:
    """Find the addresses of a host; one that is only good on one interface has it in its text, as uvloop wants it."""
    host, port = destination.hostname, destination.port
    family = _FAMILIES[destination.address_family]
    if "%" in host:  # fe80::1%eth0: asks nobody, and uvloop would lose the interface
        found = socket.getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    else:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return [(*info, (address_of(sockaddr), *sockaddr[1:])) for *info, sockaddr in found]


def address_of(sockaddr: tuple[Any, ...]) -> str:
    """Write the address of a socket; one that is only good on one interface with the name of that."""
    host, scope = str(sockaddr[0]), sockaddr[3] if len(sockaddr) == 4 else 0
    if scope and "%" not in host:
        with contextlib.suppress(OSError):  # it is gone
            return f"{host}%{socket.if_indextoname(scope)}"
    return host


def _bound_silence(sock: socket.socket, seconds: float) -> None:
    """Let the kernel end a connection whose data is not acknowledged for this long; 0: its own bound.

    Keepalives queue behind data; this finds a peer that acknowledges nothing in the same time as they would.
    """
    if seconds <= 0:
        return
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
    elif sys.platform == "darwin":
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_RXT_CONNDROPTIME, max(1, round(seconds)))


def _keep_queue_short(sock: socket.socket) -> None:
    """Let the kernel hold no more than `_UNSENT` bytes that it cannot send yet; the rest waits here, in turns.

    TCP's own queue grows to megabytes, and what one client uploads there is in the way of every other one of the
    same connection. Measured with an upload on a link of 20 Mbit/s and 20 ms: the round trip of another client is
    110 ms instead of 660, at the same throughput.
    """
    option = {"linux": _TCP_NOTSENT_LOWAT, "darwin": _TCP_NOTSENT_LOWAT_MACOS}.get(sys.platform)
    if option is not None:
        with contextlib.suppress(OSError):  # a sandbox that does not have it
            sock.setsockopt(socket.IPPROTO_TCP, option, _UNSENT)


def limit_retransmission_timeout(sock: socket.socket, outage: bool) -> None:
    """Repeat what got no answer every second during an outage, so that its end is not slept through.

    TCP doubles the time between two retransmissions (RFC 6298 section 5.5): after an outage of 20 s it may
    sleep for another 20. A connection that answers again within a second need not be replaced.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # an older kernel
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, _RTO_IN_OUTAGE if outage else _RTO_USUAL)


def let_say_goodbye(sock: socket.socket) -> None:
    """Let the kernel go on telling the server that the connection has ended, after we have closed it.

    It repeats that for a minute or two, until an outage is over: then the server ends our old session, and its
    remote listeners are free, instead of waiting for its own timeouts. Our bound on silence would end that too.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # closed already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
        limit_retransmission_timeout(sock, outage=False)  # or its few repetitions would soon be used up


def has_lost_its_address(sock: socket.socket) -> bool:
    """Whether the address that a connection uses has certainly left this machine."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        name = sock.getsockname()
        with socket.socket(sock.family, socket.SOCK_DGRAM) as other:
            other.bind((name[0], 0, *name[2:]))
    except OSError as exc:  # any other error says nothing about the address
        return exc.errno in (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO)
    return False


def heard(sock: socket.socket) -> int:
    """Count the packets that have come from the other side; 0 where the system does not say."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, struct.error):  # a shorter answer, before Linux 4.2
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SEGMENTS.size)
            return int(_TCP_INFO_SEGMENTS.unpack(info)[0])
    return 0


def shortest_round_trip(sock: socket.socket) -> float | None:
    """Return the shortest round trip of TCP itself in seconds; None where the system does not say."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, struct.error):  # a shorter answer, before Linux 4.6
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SHORTEST.size)
            return float(_TCP_INFO_SHORTEST.unpack(info)[0]) / 1e6
    return None
