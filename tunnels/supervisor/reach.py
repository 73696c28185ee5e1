"""What one tunnel knows of the way to its host."""

from __future__ import annotations

from tunnels.core.path import NetworkChange, Path
from tunnels.supervisor.connector import Connection
from tunnels.supervisor.routes import Routes


class Reach:
    """The addresses of the host, and the paths to them when they were looked at last."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._addresses: tuple[str, ...] = ()  # as the last attempt found them
        self._elsewhere = False  # another program makes the connection, and nobody knows to which address
        self._peer: str | None = None  # the one of them that answered
        self._paths: tuple[Path, ...] = ()
        self._used: Path | None = None  # by the connection

    def __repr__(self) -> str:
        return f"<Reach {self._addresses}: {self._paths}>"

    def found(self, addresses: tuple[str, ...]) -> None:
        """An attempt knows the addresses, and is about to dial them. None: only a proxy command knows them."""
        self._addresses = addresses
        self._elsewhere = not addresses
        self.look()

    def connected(self, connection: Connection) -> None:
        """From now on only the address that answered counts."""
        self._peer = connection.peer_address
        self._used = self._paths[0] if self.look() and not self._elsewhere else None

    def disconnected(self) -> None:
        """The next attempt may go to any of them."""
        self._peer = self._used = None

    def look(self) -> bool:
        """Look at the routes now. Whether there is one; a program that makes its own connection may have any."""
        self._paths = self._routes.paths(self._addresses if self._peer is None else (self._peer,))
        return bool(self._paths) or self._elsewhere

    def changed(self, change: NetworkChange) -> bool | None:
        """Look at the routes after a change: whether packets go another way now, or might. None: no way."""
        before = self._paths
        if not self.look():
            return None
        return self._paths != before or change.concerns(self._paths)

    def cut_off(self, connection: Connection) -> str | None:
        """Why a connection cannot live on, where that is certain without asking its other end."""
        local = connection.local_address
        if local is not None and not self._routes.has_address(local):
            return f"the address {local} has left this machine"
        used = self._used
        moved = (
            used is not None
            and self._paths
            and used.interface not in {path.interface for path in self._paths}
        )
        if moved and used is not None and not self._routes.link_works(used.interface):
            return "its link is down, and there is another way now"
        return None
