"""The forwards of a running tunnel: bound, asked for again, refused, and healed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.e2e.bed.ports import RefusingPort, free_port, in_use
from tests.fakes import LIMIT, LOOPBACK, Client, FakeChannel, Signal, local, pass_time, remote, turns
from tests.supervisor.rig import Rig, rigged, work_db
from tunnels.core.address import TcpAddress
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.state import ForwardState, TunnelState
from tunnels.errors import BadSetting, ConnectionLost, HostKeyRejected, ListenError
from tunnels.forwarding import listener
from tunnels.forwarding.listener import Listener, ProtocolFactory

WRONG_KEY = HostKeyRejected("the host key of bastion has changed")
NOT_ALLOWED = ListenError("the server refused to listen on 2222", hint="AllowTcpForwarding")

# --- remote forwards ------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def destination() -> AsyncIterator[tuple[int, asyncio.Queue[asyncio.StreamWriter]]]:
    """A program on this machine that a remote forward leads to: its port, and its clients."""
    clients: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    writers = []

    def arrived(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        clients.put_nowait(writer)

    server = await asyncio.start_server(arrived, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1], clients
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await turns()


def states(rig: Rig) -> list[ForwardState]:
    return [forward.state for forward in rig.tunnel.status().forwards]


async def test_remote_forwards_are_asked_for_again_on_every_connection() -> None:
    """The server forgets them with the connection."""
    async with rigged(work_db(remote(2222), remote(8080))) as rig:
        old = await rig.up()
        assert old.asked == [TcpAddress(None, 2222), TcpAddress(None, 8080)]
        assert states(rig) == [ForwardState.LISTENING, ForwardState.LISTENING]

        old.lose()
        assert states(rig) == [ForwardState.PENDING, ForwardState.PENDING]

        rig.retry_now()
        new = await rig.connected()
        assert new.asked == old.asked
        assert states(rig) == [ForwardState.LISTENING, ForwardState.LISTENING]


async def test_a_client_of_the_server_reaches_this_machine() -> None:
    async with destination() as (port, clients), rigged(work_db(remote(2222, connect_port=port))) as rig:
        connection = await rig.up()
        heard = Signal()
        async with asyncio.timeout(LIMIT):
            end = await connection.listeners[0].acceptor(("192.0.2.7", 40000))
            channel = FakeChannel(end, None, ("192.0.2.7", 40000), heard)
            channel.open()
            program = await clients.get()
        program.write(b"hello")

        await channel.heard(b"hello")
        assert rig.forward.clients == 1
        assert rig.forward.bytes_in == 5  # towards the client that connected, which is the server's
        channel.lose()
        await turns()


async def test_a_port_that_the_server_chose_is_shown() -> None:
    async with rigged(work_db(remote(0))) as rig:
        await rig.up()

        assert rig.forward.listen == "localhost:40001"


async def test_a_remote_forward_that_is_refused_does_not_stop_the_tunnel(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    async with rigged(work_db(remote(2222), local(port))) as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        connection = attempt.succeed()
        connection.listen_error = NOT_ALLOWED
        await rig.reach(TunnelState.UP)

        assert states(rig) == [ForwardState.FAILED, ForwardState.LISTENING]
        assert rig.forward.error == NOT_ALLOWED.info
        assert "2222:127.0.0.1:22: the server refused to listen on 2222" in caplog.messages
        async with Client.of(port):
            await connection.next_channel()


async def test_a_remote_port_is_reclaimed_when_the_server_lets_go_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It was our own old session that held it: tried again, quickly, on the same connection."""
    async with rigged(work_db(remote(2222))) as rig:
        rig.tunnel.start()
        connection = (await rig.connector.next_attempt()).succeed()
        connection.listen_error = NOT_ALLOWED
        await rig.reach(TunnelState.UP)
        await turns()
        assert len(connection.asked) == 1

        connection.listen_error = None
        caplog.set_level("INFO")
        pass_time(0.5)
        await rig.listens()
        assert "2222:127.0.0.1:22: listens after all, " in caplog.text

        assert len(connection.asked) == 2
        assert rig.forward.error is None


async def test_a_connection_lost_while_the_server_is_asked_is_dialled_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What becomes of the old question does not matter to the new connection."""
    async with rigged(work_db(remote(2222))) as rig:
        rig.tunnel.start()
        connection = (await rig.connector.next_attempt()).succeed()
        connection.listening_allowed.clear()
        await connection.signal.until(lambda: connection.asked)
        assert rig.state() is TunnelState.CONNECTING  # not up: a forward has not been tried yet

        connection.lose()
        assert rig.state() is TunnelState.BACKOFF
        rig.retry_now()
        attempt = await rig.connector.next_attempt()
        connection.listening_allowed.set()
        await turns()
        assert rig.state() is TunnelState.CONNECTING

        attempt.succeed()
        await rig.reach(TunnelState.UP)
        assert states(rig) == [ForwardState.LISTENING]
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


# --- local forwards -------------------------------------------------------------------------------


async def test_a_forward_that_cannot_listen_leaves_its_siblings_working() -> None:
    port = free_port()
    with RefusingPort() as taken:
        async with rigged(work_db(local(taken.port), local(port))) as rig:
            connection = await rig.up()

            assert states(rig) == [ForwardState.FAILED, ForwardState.LISTENING]
            assert rig.forward.error is not None
            assert f"port {taken.port} is in use" in rig.forward.error.message
            async with Client.of(port):
                await connection.next_channel()


async def test_a_forward_heals_when_its_port_becomes_free() -> None:
    with RefusingPort() as taken:
        async with rigged(work_db(local(taken.port))) as rig:
            connection = await rig.up()
            await turns()
            assert states(rig) == [ForwardState.FAILED]

            taken._socket.close()
            pass_time(0.5)
            await rig.listens()

            assert rig.forward.error is None
            async with Client.of(taken.port):
                await connection.next_channel()


async def test_a_forward_that_waits_for_its_port_gives_up_with_the_tunnel() -> None:
    with RefusingPort() as taken:
        async with rigged(work_db(local(taken.port))) as rig:
            await rig.up()
            await rig.stop()
            taken._socket.close()

            pass_time(5.0)
            await turns()

            assert not in_use(taken.port)


async def test_a_port_that_heals_stays_ours_through_a_drop() -> None:
    with RefusingPort() as taken:
        async with rigged(work_db(local(taken.port))) as rig:
            (await rig.up()).lose()
            taken._socket.close()
            pass_time(0.5)
            await rig.listens()
            rig.retry_now()
            connection = await rig.connected()

            assert states(rig) == [ForwardState.LISTENING]
            async with Client.of(taken.port):
                await connection.next_channel()


class SlowBinding:
    """Binding takes until the test allows it, as where a name must be resolved or a password asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = asyncio.Event()
        self.begun = Signal()
        self._bind = Listener.bind
        monkeypatch.setattr(Listener, "bind", self._slowly)

    async def _slowly(self, address: TcpAddress, factory: ProtocolFactory, tunnel: str) -> Listener:
        self.begun()
        await self.allowed.wait()
        return await self._bind(address, factory, tunnel)


async def test_a_tunnel_is_not_up_before_its_ports_are_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = SlowBinding(monkeypatch)
    async with rigged(work_db(local(free_port()))) as rig:
        rig.tunnel.start()
        (await rig.connector.next_attempt()).succeed()
        await turns()
        assert rig.state() is TunnelState.CONNECTING

        slow.allowed.set()
        await rig.reach(TunnelState.UP)

        assert states(rig) == [ForwardState.LISTENING]


async def test_a_connection_lost_while_the_ports_are_being_bound_does_not_cost_the_ports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ports have nothing to do with the connection of the moment."""
    slow = SlowBinding(monkeypatch)
    async with rigged(work_db(local(free_port()))) as rig:
        rig.tunnel.start()
        connection = (await rig.connector.next_attempt()).succeed()
        await slow.begun.until(lambda: slow.begun.count)
        await turns()

        connection.lose(ConnectionLost("the server hung up at once"))
        await turns()
        slow.allowed.set()
        rig.retry_now()
        await rig.connected()

        assert states(rig) == [ForwardState.LISTENING]


@pytest.mark.parametrize("moment", range(6))
async def test_a_port_works_although_binding_it_was_broken_off_before(
    moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first attempt that fails at once ends the binding in whatever moment it is; the next one must listen."""
    port = free_port()
    looked_up = asyncio.Event()
    resolve = listener._resolve

    async def slowly(address: TcpAddress) -> list[tuple[socket.AddressFamily, str]]:
        await looked_up.wait()
        return await resolve(address)

    monkeypatch.setattr(listener, "_resolve", slowly)
    usual = Forward(ForwardKind.LOCAL, TcpAddress(None, port), TcpAddress("db.internal", 5432))
    async with rigged(work_db(usual)) as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        await turns()
        attempt.fail(WRONG_KEY)
        await turns(moment)
        looked_up.set()
        await rig.reach(TunnelState.FAILED)
        await turns()
        assert not in_use(port)

        connection = await rig.up()

        async with Client.of(port) as client:
            client.send(b"hello")
            await (await connection.next_channel()).heard(b"hello")


async def test_a_name_that_no_resolver_takes_is_an_error_of_its_forward_only() -> None:
    """``a..b`` is refused by the IDNA codec, with an exception that is no OSError."""
    strange = Forward(ForwardKind.LOCAL, TcpAddress("a..b", free_port()), TcpAddress("db", 1))
    async with rigged(work_db(strange, local(free_port()))) as rig:
        await rig.up()

        assert states(rig) == [ForwardState.FAILED, ForwardState.LISTENING]


# --- all or nothing -------------------------------------------------------------------------------


async def test_with_exit_on_forward_failure_a_taken_port_fails_the_tunnel() -> None:
    port = free_port()
    with RefusingPort() as taken:
        profile = replace(work_db(local(port), local(taken.port)), exit_on_forward_failure=True)
        async with rigged(profile) as rig:
            rig.tunnel.start()
            connection = (await rig.connector.next_attempt()).succeed()
            await rig.reach(TunnelState.FAILED)
            await turns()

            error = rig.tunnel.status().error
            assert error is not None
            assert error.code == "listen-failed"
            assert f"port {taken.port} is in use" in error.message
            assert connection.closes == 1
            assert not in_use(port)


async def test_with_exit_on_forward_failure_a_remote_port_is_tried_again_after_having_been_up() -> None:
    """After a drop it is most likely our own old session that holds it."""
    profile = replace(work_db(remote(2222)), exit_on_forward_failure=True)
    async with rigged(profile) as rig:
        (await rig.up()).lose()
        rig.retry_now()
        connection = (await rig.connector.next_attempt()).succeed()
        connection.listen_error = NOT_ALLOWED
        await rig.reach(TunnelState.BACKOFF)
        await turns()

        assert rig.tunnel.status().error == NOT_ALLOWED.info
        assert connection.closes == 1
        rig.retry_now()
        await rig.connected()
        assert states(rig) == [ForwardState.LISTENING]


async def test_with_exit_on_forward_failure_a_tunnel_whose_forwards_all_listen_is_up() -> None:
    profile = replace(work_db(local(free_port()), remote(2222)), exit_on_forward_failure=True)
    async with rigged(profile) as rig:
        await rig.up()

        assert rig.state() is TunnelState.UP


# --- bugs -----------------------------------------------------------------------------------------


async def test_a_bug_in_asking_for_a_remote_forward_is_not_a_hang() -> None:
    """Whatever the tunnel makes of it: it says so, and does not connect for ever."""
    async with rigged(work_db(remote(2222))) as rig:
        rig.tunnel.start()
        connection = (await rig.connector.next_attempt()).succeed()
        connection.listen_error = ValueError("a bug")
        await connection.signal.until(lambda: connection.asked)
        await turns()

        assert rig.state() is not TunnelState.CONNECTING


async def test_a_bug_in_binding_is_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(address: TcpAddress, factory: ProtocolFactory) -> Listener:
        raise ValueError("a bug")

    monkeypatch.setattr(Listener, "bind", broken)
    async with rigged(work_db(local(free_port()))) as rig:
        rig.tunnel.start()
        (await rig.connector.next_attempt()).succeed()
        await turns()

        assert rig.state() is not TunnelState.CONNECTING


@pytest.mark.parametrize(
    "error", [BadSetting("no such key file"), ValueError("a bug")], ids=["ours", "a bug"]
)
async def test_a_port_is_let_go_when_the_first_attempt_fails(error: Exception) -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        rig.tunnel.start()
        await rig.listens()
        (await rig.connector.next_attempt()).fail(error)
        await rig.reach(TunnelState.FAILED)

        with socket.socket() as other:
            other.bind((LOOPBACK, port))
