"""Hold the door: clients of a tunnel wait here while its connection is away.

One door per tunnel. `Door.enter` gives the connection of the moment, or waits for the next one, for at
most ``hold`` seconds. Waiting is bounded in number too; the bytes of a waiting client are bounded by
`relay.EARLY_LIMIT`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tunnels.errors import DialError, DialReason, TunnelsError
from tunnels.forwarding.channel import Link

#: Clients of one tunnel that may wait at the same time: with `relay.EARLY_LIMIT` each, 64 MiB at worst.
MAX_WAITING = 1024


class Door:
    """Where clients meet the connection."""

    def __init__(self, hold: float, *, on_waiting: Callable[[], None]) -> None:
        self._hold = hold
        self._on_waiting = on_waiting
        self.link: Link | None = None  #: the connection, if it is there
        self._closed: TunnelsError | None = None
        self._waiting: set[asyncio.Future[Link]] = set()

    @property
    def waiting(self) -> int:
        """How many clients wait now."""
        return len(self._waiting)

    def admit(self, link: Link) -> None:
        """The connection is there: let everybody through."""
        self.link = link
        self._closed = None
        for future in self._waiting:
            if not future.done():
                future.set_result(link)

    def shut(self) -> None:
        """The connection is away, and will come back: new clients wait."""
        self.link = None
        self._closed = None

    def close(self, error: TunnelsError) -> None:
        """There will be no connection: turn everybody away."""
        self.link = None
        self._closed = error
        for future in self._waiting:
            if not future.done():
                future.set_exception(_turned_away(error))

    async def enter(self, *, after: Link | None = None) -> Link:
        """Wait for the connection; for another one than ``after``, if that has just been found dead.

        Raises DialError when there will be none, or not in time.
        """
        if self.link is not None and self.link is not after:
            return self.link
        if self._closed is not None:
            raise _turned_away(self._closed)
        if self._hold <= 0 or len(self._waiting) >= MAX_WAITING:
            raise DialError("the tunnel is not connected", reason=DialReason.LINK_DOWN)
        future: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        self._on_waiting()
        try:
            async with asyncio.timeout(self._hold):
                return await future
        except TimeoutError as exc:
            message = f"the tunnel was not connected again within {self._hold:g} s"
            raise DialError(message, reason=DialReason.LINK_DOWN) from exc
        finally:
            self._waiting.discard(future)


def _turned_away(error: TunnelsError) -> DialError:
    return DialError(f"the tunnel is not connected: {error.message}", reason=DialReason.LINK_DOWN)
