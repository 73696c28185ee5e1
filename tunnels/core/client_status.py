"""Who uses a forward at this moment: found when somebody asks for it, and no part of ``status``."""

from __future__ import annotations

from typing import NamedTuple, cast

from tunnels.core.status import Json
from tunnels.errors import ProtocolViolation


class ClientStatus(NamedTuple):
    """One client of a forward.

    ``origin`` is the address it connects from: on this machine's side, or, of a remote forward, as the server has
    told it. A unix socket has no addresses, but may tell the process.
    """

    tunnel: str
    forward: int  #: its place in the profile, from 0
    kind: str
    origin: tuple[str, int] | None
    connect: str  #: where it goes; of a proxy, what it has asked for
    seconds: float  #: since it came
    waiting: bool = False  #: for the connection
    pid: int | None = None

    def to_json(self) -> Json:
        """As it stands in ``clients --json``."""
        return {**self._asdict(), "origin": None if self.origin is None else list(self.origin)}

    @classmethod
    def from_json(cls, data: object) -> ClientStatus:
        """Read it back. Raises KeyError, TypeError or ValueError where it makes no sense."""
        if not isinstance(data, dict):
            raise TypeError("an object was expected")
        origin, pid = data["origin"], data["pid"]
        return cls(
            str(data["tunnel"]),
            int(data["forward"]),
            str(data["kind"]),
            None if origin is None else (str(origin[0]), int(origin[1])),
            str(data["connect"]),
            float(data["seconds"]),
            data["waiting"] is True,
            None if pid is None else int(pid),
        )


class Clients(NamedTuple):
    """The clients of some tunnels; of a crowd, the first."""

    shown: tuple[ClientStatus, ...] = ()
    left_out: int = 0

    def to_json(self) -> Json:
        """As the daemon answers."""
        return {"clients": [client.to_json() for client in self.shown], "left_out": self.left_out}

    @classmethod
    def from_json(cls, data: Json) -> Clients:
        """Read it back. Raises ProtocolViolation."""
        try:
            found = cast("list[object]", data["clients"])
            return cls(tuple(map(ClientStatus.from_json, found)), int(cast("int", data["left_out"])))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as exc:
            raise ProtocolViolation(f"the daemon sent clients that make no sense: {exc}") from exc
