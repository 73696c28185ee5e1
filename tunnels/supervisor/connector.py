"""The shape of what makes connections; ``ssh.connection`` has it, and so do the fakes of the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tunnels.core.profile import Profile
from tunnels.errors import TunnelsError
from tunnels.forwarding.channel import Link


class Connection(Link, Protocol):
    """A live SSH connection."""

    @property
    def cipher(self) -> str | None:
        """What encrypts what we send."""

    @property
    def rtt_ms(self) -> float | None:
        """The last measured round trip, in milliseconds."""

    async def aclose(self) -> None:
        """End it and everything on it; bounded in time, and nothing happens the second time."""


#: Called once, when a connection has ended and `Connection.aclose` was not the reason.
OnLost = Callable[[TunnelsError], None]


class Connector(Protocol):
    """Makes the connection of a profile."""

    async def __call__(self, profile: Profile, on_lost: OnLost) -> Connection:
        """Resolve, dial, check the host key and log in.

        Raises ConnectError, or PersonNeeded where somebody must answer something first. Cancelling ends
        the attempt and whatever part of the connection there is.
        """
