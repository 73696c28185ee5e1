"""Asks the operating system for the way to a host, without sending anything."""

from __future__ import annotations

import errno
import socket
from typing import Protocol

from tunnels.core.path import Path

#: Stand for "anywhere": addresses for documentation, which only a default route leads to (RFC 5737, RFC 3849).
ANYWHERE = ("192.0.2.1", "2001:db8::1")


class Routes(Protocol):
    """The routing table of this machine."""

    def paths(self, addresses: tuple[str, ...], /) -> tuple[Path, ...]:
        """The ways to these addresses; none where there is no route. Without addresses: to anywhere."""

    def has_address(self, address: str, /) -> bool:
        """Whether this machine has this address."""

    def link_works(self, interface: int, /) -> bool:
        """Whether the link of a network interface (`Path.interface`) is up; true where nobody knows."""

    def close(self) -> None:
        """Let go of what asking needs. What is asked afterwards still gets an answer."""


class _AlwaysOnline:
    """For those who have no network to watch: there is always a way."""

    def paths(self, addresses: tuple[str, ...], /) -> tuple[Path, ...]:
        return (Path(""),)

    def has_address(self, address: str, /) -> bool:
        return True

    def link_works(self, interface: int, /) -> bool:
        return True

    def close(self) -> None:
        pass


ALWAYS_ONLINE: Routes = _AlwaysOnline()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class SocketRoutes:
    """On every system: which address the kernel would send from, as a connected datagram socket tells."""

    def paths(self, addresses: tuple[str, ...], /) -> tuple[Path, ...]:
        """See `Routes`."""
        found = (self._path(address) for address in addresses or ANYWHERE)
        return tuple(path for path in found if path is not None)

    def _path(self, address: str) -> Path | None:
        try:  # a kernel without IPv6 does not even give a socket
            with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
                sock.connect((address, 9))  # sends nothing (connect(2)); port 9 is "discard"
                return Path(str(sock.getsockname()[0]))
        except OSError:
            return None

    def has_address(self, address: str, /) -> bool:
        """See `Routes`."""
        host, _, scope = address.partition("%")
        try:
            with socket.socket(_family(address), socket.SOCK_DGRAM) as sock:
                sock.bind((host, 0, 0, socket.if_nametoindex(scope)) if scope else (host, 0))
        except OSError as exc:
            # Any other error says nothing about the address.
            return exc.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO)
        return True

    def link_works(self, interface: int, /) -> bool:
        """See `Routes`. This system is not asked."""
        return True

    def close(self) -> None:
        """There is nothing to let go of."""
