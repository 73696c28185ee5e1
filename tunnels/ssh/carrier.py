"""A channel that carries another SSH connection: for asyncssh the transport of that connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunnels.forwarding.channel import Channel


class Carrier:
    """The end of a channel on a jump host, and the transport of the connection that goes through it.

    That connection never stops reading, and has windows of its own: nothing is ever kept here.
    """

    def __init__(self, factory: Callable[[], Any]) -> None:
        """``factory`` makes asyncssh's side of the connection, when the channel is open."""
        self.on_closed: Callable[[], None] | None = None
        self.protocol: Any = None
        self._factory = factory
        self._channel: Channel | None = None
        self._full = False  # the channel takes no more

    # --- what the channel calls -------------------------------------------------------------------

    def connection_made(self, chan: Channel, /) -> None:
        """The channel is open."""
        self._channel = chan
        self.protocol = self._factory()
        self.protocol.connection_made(self)

    def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
        """Bytes of the connection: a copy, for where they are now its own packets will be opened."""
        self.protocol.data_received(bytes(data))

    def eof_received(self) -> bool:
        """The next server has closed its side; SSH has no use for the other one alone."""
        self.protocol.eof_received()
        return False

    def pause_writing(self) -> None:
        """The jump host takes no more."""
        self._full = True
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        """The jump host takes more again."""
        self._full = False
        self.protocol.resume_writing()

    def connection_lost(self, exc: Exception | None, /) -> None:
        """The channel is gone, and the connection with it."""
        self._channel = None
        self.protocol.connection_lost(exc)
        if self.on_closed is not None:
            self.on_closed()
            self.on_closed = None

    def link_lost(self) -> None:
        """`connection_lost` follows."""

    def link_paused(self) -> None:
        """Nothing to do: the channel says it."""

    def link_resumed(self) -> None:
        """Nothing to do: the channel says it."""

    # --- what the connection calls ----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them; what asyncssh sends is bounded by its channels."""
        if self._channel is not None:
            try:
                self._channel.write(data)
            except OSError:  # it is closing, and `connection_lost` follows
                pass

    def close(self) -> None:
        """End the channel after what was written."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def abort(self) -> None:
        """End the channel now."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abort()

    def is_closing(self) -> bool:
        """Whether nothing is sent any more."""
        return self._channel is None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As asyncssh's own channel: there is no address that means anything, and no socket of ours."""
        return ("", 0) if name == "peername" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The channel decides."""

    def get_write_buffer_size(self) -> int:
        """Whether there is anything: the channel says when it is full, and then does not say it again."""
        return int(self._full)
