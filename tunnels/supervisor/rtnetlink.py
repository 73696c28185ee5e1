"""Linux: hears of every change of links, addresses and routes, and asks for routes (rtnetlink(7)).

A change is heard within 0.2 ms and needs no privilege. Only what is needed is read: headers, flags and
three attributes.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from tunnels.core.path import NetworkChange, Path
from tunnels.supervisor.routes import ANYWHERE, SocketRoutes

# linux/rtnetlink.h and linux/netlink.h
_RTMGRP_LINK, _RTMGRP_IPV4_IFADDR, _RTMGRP_IPV4_ROUTE = 0x1, 0x10, 0x40
_RTMGRP_IPV6_IFADDR, _RTMGRP_IPV6_ROUTE = 0x100, 0x400
_GROUPS = _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV4_ROUTE | _RTMGRP_IPV6_IFADDR | _RTMGRP_IPV6_ROUTE
_NLMSG_ERROR = 2
_RTM_NEWLINK, _RTM_DELLINK, _RTM_NEWADDR, _RTM_DELADDR = 16, 17, 20, 21
_RTM_NEWROUTE, _RTM_DELROUTE, _RTM_GETROUTE = 24, 25, 26
_NLM_F_REQUEST = 1
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC = 1, 4, 5, 7
_RTN_UNICAST, _RTN_LOCAL = 1, 2
_IFF_UP, _IFF_RUNNING, _IFF_LOWER_UP = 0x1, 0x40, 0x10000

_SIOCGIFFLAGS = 0x8913  # linux/sockios.h

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # rtmsg: family, lengths of dst and src, tos, table, protocol, scope, type, flags
_ATTRIBUTE = struct.Struct("=HH")

_BUFFER = 65_536


class Message(NamedTuple):
    """One netlink message."""

    type: int
    body: bytes


def messages(data: bytes) -> Iterator[Message]:
    """Split what one read gave; a damaged rest is left out."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= len(data) - offset:
            return
        yield Message(kind, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes behind the fixed part of a message; a damaged rest is left out."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            break
        found[kind] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


class LinkStates:
    """Remembers which links are up: the kernel reports a link also when nothing about that has changed."""

    def __init__(self) -> None:
        self._up: dict[int, bool] = {}

    def learn(self, message: Message) -> NetworkChange | None:
        """What a message means; None: nothing for us."""
        if message.type in (_RTM_NEWADDR, _RTM_DELADDR, _RTM_NEWROUTE, _RTM_DELROUTE):
            return NetworkChange()
        if message.type not in (_RTM_NEWLINK, _RTM_DELLINK) or len(message.body) < _LINK.size:
            return None
        _, _, index, flags, _ = _LINK.unpack_from(message.body)
        works = message.type == _RTM_NEWLINK and bool(flags & _IFF_UP and flags & _IFF_LOWER_UP)
        before = self._up.pop(index, None)
        if message.type == _RTM_NEWLINK:  # what is gone is forgotten: its index does not come again
            self._up[index] = works
        if before is works:
            return None
        return NetworkChange(interfaces=frozenset({index}))


class NetlinkEvents:
    """The changes of this machine's network, as they happen."""

    def __init__(self) -> None:
        self._sock = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            socket.NETLINK_ROUTE,
        )
        self._links = LinkStates()
        try:
            self._sock.bind((0, _GROUPS))
        except OSError:
            self._sock.close()
            raise

    def fileno(self) -> int:
        """What becomes readable when something has changed."""
        return self._sock.fileno()

    def read(self) -> NetworkChange | None:
        """What has changed since the last time; None: nothing that matters."""
        merged: NetworkChange | None = None
        while True:
            try:
                data = self._sock.recv(_BUFFER)
            except BlockingIOError:
                return merged
            except OSError:  # ENOBUFS: there was more than fitted (netlink(7))
                return NetworkChange(missed=True)
            for message in messages(data):
                change = self._links.learn(message)
                if change is not None:
                    merged = change if merged is None else merged.merged(change)

    def close(self) -> None:
        """Stop listening."""
        self._sock.close()


class NetlinkRoutes(SocketRoutes):
    """The kernel's answer to "how would you send this", with the interface and the router in it."""

    def __init__(self) -> None:
        self._sock = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._sock.settimeout(1.0)  # the kernel answers before `send` returns; this is for the impossible
        self._sequence = 0

    def close(self) -> None:
        """See `Routes`."""
        self._sock.close()

    def paths(self, addresses: tuple[str, ...], /) -> tuple[Path, ...]:
        """See `Routes`."""
        found = (self._look_up(address) for address in addresses or ANYWHERE)
        return tuple(path for path in found if path is not None)

    def _look_up(self, address: str) -> Path | None:
        try:
            answer = self._ask(address)
            return None if answer is None else self._read(answer)
        except (OSError, ValueError, struct.error):  # an answer that cannot be read is none
            return self._path(address)

    def _read(self, answer: bytes) -> Path | None:
        family, *_, kind, _ = _ROUTE.unpack_from(answer)
        if kind not in (_RTN_UNICAST, _RTN_LOCAL):  # blackhole, unreachable, prohibit
            return None
        found = attributes(answer[_ROUTE.size :])
        (index,) = struct.unpack("=I", found.get(_RTA_OIF, bytes(4)))
        if not self.link_works(index):  # routes stay for a while when a cable is pulled
            return None
        return Path(
            _address(family, found.get(_RTA_PREFSRC)), index, _address(family, found.get(_RTA_GATEWAY))
        )

    def link_works(self, interface: int, /) -> bool:
        """See `Routes`: it is up and has a carrier (netdevice(7), SIOCGIFFLAGS)."""
        if interface == 0:
            return True
        try:
            name = socket.if_indextoname(interface)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                answer = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sh14x", name.encode(), 0))
        except OSError as exc:  # it is gone; or nobody can be asked, and then it is not for us to say
            return exc.errno not in (errno.ENODEV, errno.ENXIO)
        (flags,) = struct.unpack_from("h", answer, 16)
        return bool(flags & _IFF_UP and flags & _IFF_RUNNING)

    def _ask(self, address: str) -> bytes | None:
        """The route message for an address; None where there is no route."""
        host, _, scope = address.partition("%")
        packed = ipaddress.ip_address(host).packed
        family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        body = _ROUTE.pack(family, len(packed) * 8, 0, 0, 0, 0, 0, 0, 0) + _attribute(_RTA_DST, packed)
        if scope:
            body += _attribute(_RTA_OIF, struct.pack("=I", socket.if_nametoindex(scope)))
        length = _HEADER.size + len(body)
        self._sock.send(_HEADER.pack(length, _RTM_GETROUTE, _NLM_F_REQUEST, self._sequence, 0) + body)
        while True:
            data = self._sock.recv(_BUFFER)
            if _HEADER.unpack_from(data)[3] != self._sequence:  # the late answer to a question before
                continue
            for message in messages(data):
                if message.type == _RTM_NEWROUTE:
                    return message.body
                if message.type == _NLMSG_ERROR:
                    number = -struct.unpack_from("=i", message.body)[0]
                    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL):
                        return None
                    raise OSError(number, "no answer about a route")


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value


def _address(family: int, packed: bytes | None) -> str:
    return "" if packed is None else socket.inet_ntop(family, packed)
