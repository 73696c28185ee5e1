"""The shapes that forwarding needs of an SSH connection; ``ssh.connection`` has them, and so do the fakes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from tunnels.core.address import Address
from tunnels.errors import DialError, ListenError, TunnelsError


class LinkLost(TunnelsError):
    """The connection ended before the channel was open. Not the client's fault: it may wait for the next one."""

    code = "link-lost"
    retryable = True


class ListenRefused(ListenError):
    """The server refused to listen, and the address may be taken: by a stranger, or by our own last connection."""


class Channel(Protocol):
    """One side of an open channel, as `asyncio.Transport` would have it. The calls never block."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Send bytes to the far end, or keep a copy until they can be sent. Raises OSError where nobody takes them."""

    def write_eof(self) -> object:
        """No more bytes from here; the far end may go on sending (RFC 4254 section 5.3)."""

    def pause_reading(self) -> object:
        """Deliver nothing until `resume_reading`; what comes in is kept, up to one window."""

    def resume_reading(self) -> object:
        """Deliver what was kept, before this returns, and go on."""

    def close(self) -> object:
        """End the channel after what is queued."""

    def abort(self) -> object:
        """End the channel now."""


class ChannelEnd(Protocol):
    """What a channel calls back. None of these may raise: asyncssh ends the connection if one does."""

    on_closed: Callable[[], None] | None  #: called once, when the channel is gone

    def connection_made(self, chan: Channel, /) -> None:
        """The channel is open, and data may come from now on."""

    def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
        """Bytes from the far end. A view is theirs only until this returns."""

    def eof_received(self) -> bool:
        """No more bytes from the far end. True: our own half stays open."""

    def pause_writing(self) -> None:
        """The channel's buffer is full."""

    def resume_writing(self) -> None:
        """The channel's buffer has room again."""

    def connection_lost(self, exc: Exception | None, /) -> None:
        """The channel is gone."""

    def link_lost(self) -> None:
        """The SSH connection itself has ended; `connection_lost` follows, perhaps without an error."""

    def link_paused(self) -> None:
        """The SSH connection's own buffer is full: nothing more should be written to any of its channels."""

    def link_resumed(self) -> None:
        """The SSH connection's own buffer has room again."""


#: The address and the port of a client, as the other side of the connection is told them; empty and 0 for
#: the client of a unix socket.
Origin = tuple[str, int]

#: Told once, and perhaps at once, what became of a channel: None when it is open, or else why there is none.
#: It must not raise.
Outcome = Callable[[DialError | LinkLost | None], None]

#: Called for every client of a remote listener: connects to the destination and returns the end that
#: the new channel is coupled to. Raises DialError where that fails.
Acceptor = Callable[[Origin], Awaitable[ChannelEnd]]


class RemoteListener(Protocol):
    """A listening address on the server."""

    @property
    def port(self) -> int:
        """The port it listens on; the server's choice where 0 was asked for."""

    async def aclose(self) -> None:
        """Stop listening."""


class Link(Protocol):
    """An SSH connection, as far as forwarding is concerned."""

    def open_channel(self, end: ChannelEnd, connect: Address, origin: Origin, then: Outcome, /) -> None:
        """Have the server connect to ``connect`` and couple the channel to ``end``; then tell ``then``.

        It is told a DialError where the destination refuses, and LinkLost where the connection is gone.
        Nothing calls this off: an end whose socket has gone meanwhile closes the channel when it opens.
        """

    async def listen(self, address: Address, acceptor: Acceptor) -> RemoteListener:
        """Have the server listen.

        Raises ListenRefused where the address may be taken, ListenError for any other reason, and LinkLost
        where the connection is gone.
        """
