"""What comes late for a closed channel is ignored, and ends no connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncssh
from asyncssh.constants import MSG_CHANNEL_REQUEST
from asyncssh.packet import Boolean, String, UInt32

from tests.forwarding.fakes import until
from tunnels.ssh.late_packets import tolerate_late_packets


class Server(asyncssh.SSHServer):
    """Lets everybody in, and connects to an echo."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.conn = conn

    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(self, *_: Any) -> Any:
        async def echo(reader: asyncssh.SSHReader[bytes], writer: asyncssh.SSHWriter[bytes]) -> None:
            writer.write(await reader.read())
            writer.close()

        return echo


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncssh.SSHClientConnection, Server]]:
    servers: list[Server] = []

    def factory() -> Server:
        servers.append(Server())
        return servers[-1]

    key = asyncssh.generate_private_key("ssh-ed25519")
    async with (
        asyncssh.listen("127.0.0.1", 0, server_factory=factory, server_host_keys=[key]) as listening,
        asyncssh.connect(
            "127.0.0.1", listening.get_port(), known_hosts=None, config=None, username="me", client_keys=None
        ) as conn,
    ):
        yield conn, servers[0]


async def echo(conn: asyncssh.SSHClientConnection) -> int:
    """Use a channel from its opening to its close. Returns its number."""
    reader, writer = await conn.open_connection("echo", 7)
    chan = cast("Any", writer.channel)
    number = int(chan._recv_chan)
    writer.write(b"hello")
    writer.write_eof()
    assert await reader.read() == b"hello"
    writer.close()
    await writer.wait_closed()
    return number


def ask_on(server: Server, number: int) -> None:
    """Ask for a sign of life on a channel of the client, as sshd does."""
    cast("Any", server.conn).send_packet(
        MSG_CHANNEL_REQUEST, UInt32(number), String("keepalive@openssh.com"), Boolean(True)
    )


async def test_a_question_on_a_channel_that_was_just_closed_ends_nothing() -> None:
    async with connected() as (conn, server):
        tolerate_late_packets(conn)
        number = await echo(conn)
        ask_on(server, number)
        assert await echo(conn) > number
        assert not conn.is_closed()


async def test_a_question_on_a_channel_that_is_closed_but_not_yet_read_to_its_end_ends_nothing() -> None:
    async with connected() as (conn, server):
        tolerate_late_packets(conn)
        reader, writer = await conn.open_connection("echo", 7)
        chan = cast("Any", writer.channel)
        chan.pause_reading()
        writer.write(b"hello")
        writer.write_eof()
        await until(lambda: chan._recv_state == "close_pending")
        ask_on(server, chan._recv_chan)
        await echo(conn)
        chan.resume_reading()
        assert await reader.read() == b"hello"
        await writer.wait_closed()
        assert not conn.is_closed()


async def test_without_the_guard_it_is_the_end_of_the_connection() -> None:
    """What is guarded against is still there; when this fails, the guard can go."""
    async with connected() as (conn, server):
        ask_on(server, await echo(conn))
        await conn.wait_closed()


async def test_a_channel_that_never_was_is_still_an_error() -> None:
    async with connected() as (conn, server):
        tolerate_late_packets(conn)
        ask_on(server, 4711)
        await conn.wait_closed()


async def test_channels_that_were_closed_long_ago_cost_nothing_and_are_known_all_the_same() -> None:
    async with connected() as (conn, server):
        tolerate_late_packets(conn)
        first, *_ = [await echo(conn) for _ in range(4)]
        assert not cast("Any", conn)._channels
        ask_on(server, first)
        await echo(conn)
        assert not conn.is_closed()


async def test_numbers_that_begin_again_are_none_that_never_were() -> None:
    async with connected() as (conn, server):
        tolerate_late_packets(conn)
        cast("Any", conn)._next_recv_chan = 0xFFFFFFFF
        last, first = await echo(conn), await echo(conn)
        assert (last, first) == (0xFFFFFFFF, 0)
        ask_on(server, last)
        ask_on(server, first)
        await echo(conn)
        assert not conn.is_closed()
        ask_on(server, 2)
        await conn.wait_closed()


async def test_a_connection_whose_channels_are_closed_closes() -> None:
    async with connected() as (conn, _):
        tolerate_late_packets(conn)
        await echo(conn)
        async with asyncio.timeout(5):
            conn.close()
            await conn.wait_closed()


def test_another_asyncssh_is_left_alone() -> None:
    class Other:
        pass

    other = Other()
    tolerate_late_packets(cast("asyncssh.SSHClientConnection", other))
    assert vars(other) == {}
