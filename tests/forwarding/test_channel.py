"""The shapes that forwarding needs, put to our channel, to one of asyncssh and to the fake one alike.

What the fakes promise the other tests is only worth something if a channel through a real sshd does the
same. The memory that a slow reader costs can only be seen here: it is the channel's.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest

from tests.e2e.bed.ports import LOOPBACK
from tests.e2e.bed.sshd import Sshd, find_sshd
from tests.forwarding.fakes import (
    KIB,
    MIB,
    FakeChannel,
    FakeLink,
    Peer,
    RecordingEnd,
    destination,
    opened,
    tcp_pair,
    turns,
    until,
)
from tunnels.core.profile import HostKeyPolicy, Profile
from tunnels.errors import TunnelsError
from tunnels.forwarding.channel import Channel, ChannelEnd, Link, LinkLost
from tunnels.forwarding.relay import Counters, SocketEnd
from tunnels.ssh import fast_path
from tunnels.ssh.channel import LARGEST_DATA, ForwardChannel
from tunnels.ssh.connect import connect as ssh_connect
from tunnels.ssh.connection import SshConnection
from tunnels.ssh.stock import StockChannel
from tunnels.ssh.window import INITIAL
from tunnels.supervisor.connector import Connection

needs_sshd = pytest.mark.skipif(find_sshd() is None, reason="no sshd: install OpenSSH's server")


# --- the types agree, which mypy sees ------------------------------------------------------------


def test_what_is_real_and_what_is_fake_have_the_same_shapes() -> None:
    def shapes(
        connection: SshConnection, ours: ForwardChannel, stock: StockChannel, end: SocketEnd
    ) -> tuple[Connection, list[Link], list[Channel], list[ChannelEnd]]:
        recording = RecordingEnd()
        links: list[Link] = [connection, FakeLink()]
        return connection, links, [ours, stock, FakeChannel(recording)], [end.far, recording]

    assert callable(shapes)


def test_a_lost_link_is_an_error_of_ours_that_is_worth_a_retry() -> None:
    assert issubclass(LinkLost, TunnelsError)
    assert LinkLost("gone").info.code == "link-lost"
    assert LinkLost.retryable


# --- the far side of a channel --------------------------------------------------------------------


class FarSide(Protocol):
    """A channel that is coupled to a recording end, and whoever is at its other end."""

    end: RecordingEnd

    @property
    def channel(self) -> Channel:
        """What our end was given."""

    async def says(self, data: bytes) -> None:
        """Send, and wait until the channel has it."""

    async def ends(self) -> None:
        """Say everything, and wait until the channel knows."""

    async def hears(self, data: bytes) -> None:
        """Receive exactly this."""

    async def hears_the_end(self) -> None:
        """Receive an end of file."""

    async def hangs_up(self) -> None:
        """Close, both ways."""


class FakeFarSide:
    def __init__(self) -> None:
        self.end = RecordingEnd()
        self.fake = FakeChannel(self.end)
        self.fake.open()
        self._heard = 0

    @property
    def channel(self) -> Channel:
        return self.fake

    async def says(self, data: bytes) -> None:
        self.fake.deliver(data)

    async def ends(self) -> None:
        self.fake.deliver_eof()

    async def hears(self, data: bytes) -> None:
        assert self.fake.written[self._heard :] == data
        self._heard += len(data)

    async def hears_the_end(self) -> None:
        assert self.fake.eofs_written == 1

    async def hangs_up(self) -> None:
        self.fake.breaks = BrokenPipeError()
        self.fake.lose()


class RealFarSide:
    def __init__(self, end: RecordingEnd, peer: Peer) -> None:
        self.end = end
        self.peer = peer

    @property
    def channel(self) -> Channel:
        assert self.end.channel is not None
        return self.end.channel

    @property
    def _its(self) -> ForwardChannel | StockChannel:
        assert isinstance(self.end.channel, ForwardChannel | StockChannel)
        return self.end.channel

    async def says(self, data: bytes) -> None:
        before = len(self.end.data) + self._its.kept
        await self.peer.send(data)
        await until(lambda: len(self.end.data) + self._its.kept == before + len(data))

    async def ends(self) -> None:
        self.peer.end()
        await until(lambda: self._its.ended)

    async def hears(self, data: bytes) -> None:
        assert await self.peer.receive(len(data)) == data

    async def hears_the_end(self) -> None:
        assert await self.peer.rest() == b""

    async def hangs_up(self) -> None:
        self.peer.close()
        await until(lambda: "eof" in self.end.told)
        self.channel.close()
        await until(lambda: "lost" in self.end.told)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("channel") / "sshd") as server:
        yield server


@asynccontextmanager
async def connected(server: Sshd) -> AsyncIterator[SshConnection]:
    lost: list[TunnelsError] = []
    profile = Profile(
        "test",
        server.host,
        user=server.user,
        port=server.port,
        identity_file=(str(server.identity),),
        known_hosts=(str(server.known_hosts),),
        host_key_policy=HostKeyPolicy.STRICT,
        ssh_config="none",
    )
    connection = await ssh_connect(profile, lost.append)
    try:
        yield connection
    finally:
        await connection.aclose()
    assert lost == []


@asynccontextmanager
async def fake_far_side() -> AsyncIterator[FarSide]:
    yield FakeFarSide()


FarSides = Callable[[], AbstractAsyncContextManager[FarSide]]


@pytest.fixture(
    params=[
        "fake",
        *(pytest.param(kind, marks=[pytest.mark.openssh, needs_sshd]) for kind in ("ours", "stock")),
    ]
)
def far_side(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FarSides:
    """Every kind of channel, one after the other."""
    if request.param == "fake":
        return fake_far_side
    if request.param == "stock":
        monkeypatch.setenv(fast_path.SWITCH, "off")
    server: Sshd = request.getfixturevalue("sshd")

    @asynccontextmanager
    async def real_far_side() -> AsyncIterator[FarSide]:
        end = RecordingEnd()
        with destination() as (address, accept):
            async with connected(server) as connection:
                await opened(connection, end, address, (LOOPBACK, 4711))
                kind = StockChannel if request.param == "stock" else ForwardChannel
                assert isinstance(end.channel, kind)
                with await accept() as peer:
                    yield RealFarSide(end, peer)

    return real_far_side


async def test_a_channel_carries_bytes_both_ways(far_side: FarSides) -> None:
    async with far_side() as far:
        assert far.end.told[0] == "made"
        far.channel.write(b"question")
        await far.hears(b"question")
        await far.says(b"answer")
        assert far.end.data == b"answer"


async def test_a_paused_channel_keeps_what_comes_and_resuming_delivers_it_before_it_returns(
    far_side: FarSides,
) -> None:
    async with far_side() as far:
        far.channel.pause_reading()
        await far.says(b"one ")
        await far.says(b"two")
        assert far.end.data == b""
        far.channel.resume_reading()
        assert far.end.data == b"one two"
        await far.says(b" three")
        assert far.end.data == b"one two three"


async def test_an_end_of_file_waits_behind_what_is_kept(far_side: FarSides) -> None:
    async with far_side() as far:
        far.channel.pause_reading()
        await far.says(b"last words")
        await far.ends()
        assert far.end.data == b""
        assert "eof" not in far.end.told
        far.channel.resume_reading()
        assert far.end.data == b"last words"
        assert far.end.told[-1] == "eof"


async def test_a_pause_in_the_middle_of_a_delivery_leaves_the_rest(far_side: FarSides) -> None:
    class Pausing(RecordingEnd):
        def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
            super().data_received(data, datatype)
            assert self.channel is not None
            self.channel.pause_reading()

    async with far_side() as far:
        far.end.__class__ = Pausing
        far.channel.pause_reading()
        one, two = b"1" * LARGEST_DATA, b"2" * LARGEST_DATA  # what is smaller is put together
        await far.says(one)
        await far.says(two)
        far.channel.resume_reading()
        if isinstance(far.channel, StockChannel):  # asyncssh must be relieved of everything at once
            assert far.end.data == one + two
            return
        assert 0 < len(far.end.data) <= LARGEST_DATA
        while len(far.end.data) < 2 * LARGEST_DATA:
            before = len(far.end.data)
            far.channel.resume_reading()
            assert before < len(far.end.data) <= before + LARGEST_DATA
        assert far.end.data == one + two


async def test_our_end_of_file_leaves_the_other_direction_open(far_side: FarSides) -> None:
    async with far_side() as far:
        far.channel.write(b"all")
        far.channel.write_eof()
        await far.hears(b"all")
        await far.hears_the_end()
        await far.says(b"still here")
        assert far.end.data == b"still here"


async def test_a_channel_that_is_gone_says_so_once_and_takes_no_more_bytes(far_side: FarSides) -> None:
    async with far_side() as far:
        await far.hangs_up()
        assert far.end.told.count("lost") == 1
        assert far.end.error is None
        with pytest.raises(OSError):
            far.channel.write(b"too late")


# --- what a slow reader costs ---------------------------------------------------------------------


@pytest.mark.openssh
@needs_sshd
@pytest.mark.time_limit(30)
@pytest.mark.parametrize(("kind", "windows"), [("ours", 1), ("stock", 2)])
async def test_a_slow_reader_of_64_mib_costs_one_window_and_two_with_the_channels_of_asyncssh(
    kind: str, windows: int, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncssh 2.24.1 grants a new window at the first chunk after a pause; unguarded, this grows with time."""
    if kind == "stock":
        monkeypatch.setenv(fast_path.SWITCH, "off")
    size = 64 * MIB
    near, ours = tcp_pair(narrow=True)
    counters = Counters()
    end = SocketEnd(counters)
    loop = asyncio.get_running_loop()
    with destination() as (address, accept), Peer(near) as reader:
        async with connected(sshd) as connection:
            await loop.connect_accepted_socket(lambda: end, ours)
            await opened(connection, end.far, address, (LOOPBACK, 4711))
            channel: Any = end.far._channel
            connection._round_trip.shortest = 0.1  # the path's own, however busy this machine is
            with await accept() as sender:
                sender.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)
                block = random.Random(1).randbytes(MIB)

                async def send() -> None:
                    for _ in range(size // MIB):
                        await sender.send(block)
                    sender.end()

                sending = loop.create_task(send())
                worst, received, digest = 0, 0, hashlib.sha256()
                while received < size:
                    assert end.transport is not None
                    worst = max(worst, channel.kept + end.transport.get_write_buffer_size())
                    # One small read for each turn of the loop, in which a large one comes from the server.
                    piece = await loop.sock_recv(reader.sock, 64 * KIB)
                    received += len(piece)
                    digest.update(piece)
                await sending
                assert await reader.rest() == b""
                assert digest.digest() == hashlib.sha256(block * (size // MIB)).digest()
            assert worst > INITIAL / 2  # it was slow enough for its channel to be paused
            assert worst <= windows * INITIAL + LARGEST_DATA, f"{worst / MIB:.1f} MiB"
            assert counters.to_socket == size
            reader.end()
            await until(lambda: end.gone)
        await turns()
