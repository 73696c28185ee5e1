"""asyncssh's own channels, where ours are not used, pause and resume as a relay expects it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.forwarding import fakes
from tests.forwarding.fakes import KIB, MIB, RecordingEnd, turns, until
from tests.ssh.plane import Held, Plane, connected
from tunnels.forwarding.channel import Channel
from tunnels.ssh.stock import StockChannel, StockSession

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")

WINDOW = 2 * MIB


@asynccontextmanager
async def opened(end: RecordingEnd) -> AsyncIterator[tuple[Plane, StockChannel, Held]]:
    """A channel of asyncssh's, and the server's side of it."""
    async with connected(wire=False) as plane:
        await plane.conn.create_connection(lambda: StockSession(end), "held", 7)
        await until(lambda: "made" in end.told)
        assert isinstance(end.channel, StockChannel)
        yield plane, end.channel, plane.server.held[-1]


def kept(channel: Any) -> int:
    return channel.kept  # type: ignore[no-any-return]


async def test_it_carries_bytes_both_ways_and_ends_of_file() -> None:
    end = RecordingEnd()
    async with opened(end) as (_, channel, held):
        channel.write(b"question")
        channel.write_eof()
        await until(lambda: held.ended)
        assert held.data == b"question"
        held.chan.write(b"answer")
        held.chan.write_eof()
        await until(lambda: "eof" in end.told)
        assert end.data == b"answer"
        assert channel.ended
        channel.close()
        held.chan.close()
        await until(lambda: "lost" in end.told)


async def test_resuming_delivers_what_was_kept_before_it_returns() -> None:
    end = RecordingEnd()
    async with opened(end) as (_, channel, held):
        channel.pause_reading()
        held.chan.write(b"kept")
        await until(lambda: kept(channel) == 4)
        assert end.data == b""
        channel.resume_reading()
        assert end.data == b"kept"
        held.chan.write(b" and on")
        await until(lambda: end.data == b"kept and on")


class Stalled(RecordingEnd):
    """Its socket takes nothing: it stops the channel with every piece."""

    def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
        super().data_received(data, datatype)
        assert self.channel is not None
        self.channel.pause_reading()


async def test_a_pause_in_the_middle_of_a_delivery_comes_after_all_that_was_kept() -> None:
    end = Stalled()
    async with opened(end) as (_, channel, held):
        channel.pause_reading()
        for _ in range(4):
            held.chan.write(bytes(32 * KIB))
        await until(lambda: kept(channel) == 128 * KIB)
        channel.resume_reading()
        assert len(end.data) == 128 * KIB
        held.chan.write(b"later")
        await until(lambda: kept(channel) == 5)
        await turns()
        assert len(end.data) == 128 * KIB


async def test_a_reader_that_is_slower_than_the_server_costs_no_more_than_two_windows() -> None:
    """asyncssh grants a window at the first piece after a pause; what is kept must not grow with each."""
    end = Stalled()
    async with opened(end) as (_, channel, held):
        for number in range(5 * WINDOW // (32 * KIB)):
            held.chan.write(bytes(32 * KIB))
            if number % 100 == 99:
                await turns(50)
                assert kept(channel) <= WINDOW
                channel.resume_reading()
        await turns(50)
        assert kept(channel) <= WINDOW


async def test_what_the_session_is_asked_beyond_that_is_the_ends_to_answer() -> None:
    class Other(RecordingEnd):
        def connection_made(self, chan: Channel, /) -> None:
            super().connection_made(chan)
            chan.pause_reading()

    end = Other()
    session = StockSession(end)
    assert session.data_received == end.data_received
    assert session.connection_lost == end.connection_lost
    with pytest.raises(AttributeError):
        session.no_such_thing  # noqa: B018
