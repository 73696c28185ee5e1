"""Connects to a destination for a moment and hangs up: no byte is sent, and nobody counts it as a client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from tunnels.core.address import Address, describe_listen
from tunnels.errors import DialError, DialReason
from tunnels.forwarding.channel import Channel, Link, LinkLost, Origin
from tunnels.forwarding.remote import connect_here

#: Seconds for a destination to answer. The server's own patience is two minutes (tcp(7), tcp_syn_retries).
DIAL_TIMEOUT = 10.0

#: Where a channel comes from, as the server is told.
_ORIGIN: Origin = ("127.0.0.1", 0)


class Found(NamedTuple):
    """What came of it: what is well, and what there is to know about that."""

    detail: str
    warning: str | None = None


_HINTS = {
    DialReason.REFUSED: "nobody listens there, as seen from this machine: is it running, and on that address and port?",
    DialReason.TIMED_OUT: "is the address right, and is there a firewall between this machine and it?",
    DialReason.HOST_UNREACHABLE: "this machine has no way there: is the address right, and is it switched on?",
    DialReason.NETWORK_UNREACHABLE: "this machine has no route to that network",
    DialReason.NAME_NOT_RESOLVED: "the name is looked up on this machine, which does not know it",
}


async def reach_from_here(address: Address) -> Found:
    """Connect to the destination of a remote forward, and hang up. Raises DialError."""
    try:
        transport = await connect_here(asyncio.Protocol, address)
    except DialError as error:
        hint = error.hint or _HINTS.get(error.reason)
        raise DialError(error.message, reason=error.reason, hint=hint) from error
    transport.abort()
    return Found(f"{describe_listen(address)} answers here")


class _Glance:
    """The end of a channel that is closed as soon as it is open, also when nobody waits for it any more."""

    def __init__(self) -> None:
        self.on_closed: Callable[[], None] | None = None

    def connection_made(self, chan: Channel, /) -> None:
        chan.abort()

    def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
        """Not wanted."""

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        """Nothing is written."""

    def resume_writing(self) -> None:
        """As above."""

    def connection_lost(self, exc: Exception | None, /) -> None:
        if self.on_closed is not None:
            self.on_closed()

    def link_lost(self) -> None:
        """`connection_lost` follows."""

    def link_paused(self) -> None:
        """Nothing is written."""

    def link_resumed(self) -> None:
        """As above."""


async def reach_from_server(link: Link, address: Address) -> Found:
    """Have the server connect to the destination, and hang up. Raises DialError, or LinkLost."""
    answer: asyncio.Future[DialError | LinkLost | None] = asyncio.get_running_loop().create_future()

    def answered(error: DialError | LinkLost | None) -> None:
        if not answer.done():
            answer.set_result(error)

    # What opens when nobody waits any more is closed by the end itself.
    link.open_channel(_Glance(), address, _ORIGIN, answered)
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            error = await answer
    except TimeoutError as exc:
        raise DialError(
            f"{address}: the server has got no answer from there within {DIAL_TIMEOUT:g} s",
            reason=DialReason.TIMED_OUT,
            hint="is the address right, and is there a firewall between the server and it?",
        ) from exc
    if error is not None:
        raise error
    return Found(f"{describe_listen(address)} answers on the server's side")
