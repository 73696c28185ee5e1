"""Where an attempt to connect says how far it has got, for those who want to know (`ssh.watch` does)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunnels.ssh.destination import Destination, Route

if TYPE_CHECKING:
    import asyncssh

    from tunnels.ssh.keys import Keys


class Steps:
    """What an attempt tells on its way. This one does not listen."""

    def way(self, route: Route) -> Route:
        """The way has been found; returns the one to take."""
        return route

    def begins(self, destination: Destination, *, through: bool) -> None:
        """The next server on the way; ``through`` the one before it."""

    def offers(self, keys: Keys) -> None:
        """These keys will be offered. Now it is dialled."""

    def made(self, conn: asyncssh.SSHClientConnection) -> None:
        """There is a TCP connection, and nothing has been said on it."""

    def entered(self) -> None:
        """The server has let us in."""


#: Nobody wants to know.
QUIET = Steps()
