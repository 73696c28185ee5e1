"""The server of the demo: it lets one key in, connects to what it knows, and can be cut."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from tests.e2e.bed.ports import LOOPBACK, accepts
from tests.forwarding import fakes
from tests.forwarding.fakes import MIB, RecordingEnd, destination, opened, until
from tunnels.core.address import TcpAddress
from tunnels.core.profile import HostKeyPolicy, Profile
from tunnels.errors import DialError, DialReason, HostKeyUnknown, LoginRefused, TunnelsError
from tunnels.forwarding.channel import ChannelEnd, Origin
from tunnels.ssh.connect import connect
from tunnels.ssh.connection import SshConnection
from tunnels.ssh.demo_server import DemoServer

VISITOR = (LOOPBACK, 4711)
SITE = TcpAddress("site.demo", 80)


@asynccontextmanager
async def demo(folder: Path, port: int = 9) -> AsyncIterator[DemoServer]:
    """A demo server that knows one name, which stands for a port of this machine."""
    server = DemoServer(folder, {("site.demo", 80): port})
    await server.start()
    try:
        yield server
    finally:
        await server.cut()


def profile(server: DemoServer, folder: Path, key: Path | None = None) -> Profile:
    known_hosts = folder / "demo_known_hosts"
    known_hosts.write_text(f"{server.known_hosts_line}\n")
    return Profile(
        "demo",
        LOOPBACK,
        user=server.user,
        port=server.port,
        identity_file=(str(key or server.identity_file),),
        known_hosts=(str(known_hosts),),
        host_key_policy=HostKeyPolicy.STRICT,
        ssh_config="none",
    )


@asynccontextmanager
async def connected(
    server: DemoServer, folder: Path, lost: list[TunnelsError] | None = None
) -> AsyncIterator[SshConnection]:
    lost = [] if lost is None else lost
    connection = await connect(profile(server, folder), lost.append)
    try:
        yield connection
    finally:
        await connection.aclose()


async def test_it_lets_its_own_key_in_and_shows_the_host_key_that_it_announces(home: Path) -> None:
    async with demo(home) as server:
        assert stat.S_IMODE(server.identity_file.stat().st_mode) == 0o600
        async with connected(server, home) as connection:
            assert connection.cipher is not None


async def test_it_lets_no_other_key_in(home: Path) -> None:
    stranger = home / "stranger"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(str(stranger))
    stranger.chmod(0o600)
    async with demo(home) as server:
        with pytest.raises(LoginRefused):
            await connect(profile(server, home, stranger), lambda _: None)


async def test_it_listens_on_loopback_only(home: Path) -> None:
    async with demo(home) as server:
        assert accepts(server.port)
        assert not accepts(server.port, "127.0.0.2")
        assert server._acceptor is not None
        assert server._acceptor.get_addresses() == [(LOOPBACK, server.port)]


async def test_every_demo_has_a_host_key_of_its_own(home: Path) -> None:
    (home / "other").mkdir()
    async with demo(home) as server, demo(home / "other") as other:
        to = profile(other, home)
        assert isinstance(to.known_hosts, tuple)
        Path(to.known_hosts[0]).write_text(f"{server.known_hosts_line}\n")
        with pytest.raises(HostKeyUnknown):
            await connect(to, lambda _: None)


async def test_it_connects_to_the_names_that_it_knows_and_carries_both_directions(home: Path) -> None:
    end = RecordingEnd()
    with destination() as (address, accept):
        async with demo(home, address.port) as server, connected(server, home) as connection:
            await opened(connection, end, SITE, VISITOR)
            with await accept() as peer:
                assert end.channel is not None
                end.channel.write(b"u" * MIB)
                end.channel.write_eof()
                received = asyncio.get_running_loop().create_task(peer.rest())
                assert await received == b"u" * MIB
                await peer.send(b"d" * MIB)
                peer.end()
                await until(lambda: "eof" in end.told)
                assert end.data == b"d" * MIB


@pytest.mark.parametrize("unknown", [TcpAddress("other.demo", 80), TcpAddress("site.demo", 81)])
async def test_it_connects_to_nothing_else_not_even_on_this_machine(unknown: TcpAddress, home: Path) -> None:
    with destination() as (address, _):
        async with demo(home, address.port) as server, connected(server, home) as connection:
            for forbidden in (unknown, address):
                with pytest.raises(DialError) as caught:
                    await opened(connection, RecordingEnd(), forbidden, VISITOR)
                assert caught.value.reason is DialReason.NAME_NOT_RESOLVED


async def test_it_listens_for_its_client(home: Path) -> None:
    end = RecordingEnd()

    async def accept(_: Origin) -> ChannelEnd:
        return end

    async with demo(home) as server, connected(server, home) as connection:
        listener = await connection.listen(TcpAddress(None, 0), accept)
        with fakes.connect(listener.port) as client:
            await client.send(b"hello")
            await until(lambda: end.data == b"hello")


async def test_a_cut_ends_every_connection_without_a_word_and_frees_the_port(home: Path) -> None:
    lost: list[TunnelsError] = []
    end = RecordingEnd()
    with destination() as (address, accept):
        async with demo(home, address.port) as server, connected(server, home, lost) as connection:
            await opened(connection, end, SITE, VISITOR)
            with await accept() as peer:
                await peer.send(b"half of the fi")
                await until(lambda: end.data)
                await server.cut()
                await until(lambda: lost)
                assert end.told[-2:] == ["link lost", "lost"]
                assert not accepts(server.port)


async def test_after_a_cut_it_comes_back_as_the_same_server_on_the_same_port(home: Path) -> None:
    async with demo(home) as server:
        before = (server.port, server.known_hosts_line)
        async with connected(server, home):
            await server.cut()
            await server.cut()
        await server.start()
        assert (server.port, server.known_hosts_line) == before
        async with connected(server, home):
            pass
