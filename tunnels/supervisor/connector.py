"""The shape of what makes connections; ``ssh.connection`` has it, and so do the fakes of the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tunnels.core.profile import Profile
from tunnels.core.question import Dialogue
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

    @property
    def local_address(self) -> str | None:
        """The address of this machine that it uses; None where it goes through another program."""

    @property
    def peer_address(self) -> str | None:
        """The address that its packets go to: of the server, or of the first jump host."""

    async def probe(self, limit: float) -> bool:
        """Ask the other side for an answer; whether it came within ``limit`` seconds."""

    def expect_outage(self, expected: bool, /) -> None:
        """While an outage is expected, try often to send what could not be sent, where the system can."""

    async def aclose(self) -> None:
        """End it and everything on it; bounded in time, and nothing happens the second time."""


#: Called once, when a connection has ended and `Connection.aclose` was not the reason.
OnLost = Callable[[TunnelsError], None]


#: Called when the addresses of the host, or of the first jump host, are known, before they are dialled.
OnFound = Callable[[tuple[str, ...]], None]


class Connector(Protocol):
    """Makes the connection of a profile."""

    async def __call__(
        self, profile: Profile, on_lost: OnLost, on_found: OnFound, dialogue: Dialogue
    ) -> Connection:
        """Resolve, dial, check the host key and log in; ask whatever is needed for that.

        Raises ConnectError, or PersonNeeded where somebody must answer something first. Cancelling ends
        the attempt and whatever part of the connection there is.
        """
