"""``-L``: real clients on loopback, a connection that is none."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.bed.ports import LOOPBACK, accepts, free_port, has_ipv6, in_use
from tests.forwarding import fakes
from tests.forwarding.fakes import FakeLink, Peer, connect, connect_unix, turns, until
from tunnels.core import backoff
from tunnels.core.address import Address, TcpAddress, UnixAddress
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.state import ForwardState
from tunnels.errors import ConnectionLost, DialError, DialReason, InternalError, ListenError
from tunnels.forwarding import local as local_forwards
from tunnels.forwarding.channel import ChannelEnd, LinkLost, Origin, Outcome
from tunnels.forwarding.door import Door
from tunnels.forwarding.listener import Listener
from tunnels.forwarding.local import LocalForwarder
from tunnels.forwarding.relay import SocketEnd
from tunnels.tasks import TaskScope

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")

DB = TcpAddress("db.internal", 5432)
REFUSED = DialError("db.internal:5432: Connection refused", reason=DialReason.REFUSED)
GONE = LinkLost("the connection ended while a client was being connected")


class Local:
    """A local forward and what it has told its tunnel."""

    def __init__(self, listen: Address, connect: Address = DB, *, hold: float = 3600) -> None:
        self.refused: list[tuple[Address, DialError]] = []
        self.states: list[ForwardState] = []
        self.scope = TaskScope("test")
        self.door = Door(hold, on_waiting=lambda: None)
        self.forwarder = LocalForwarder(
            Forward(ForwardKind.LOCAL, listen, connect),
            self.door,
            self.scope,
            on_change=lambda: self.states.append(self.forwarder.state),
            on_refused=lambda address, error: self.refused.append((address, error)),
        )

    @property
    def counters(self) -> tuple[int, int, int]:
        """Clients, clients so far, and how many of them are held."""
        counters = self.forwarder.counters
        return counters.clients, counters.clients_total, counters.held

    async def held(self, count: int) -> None:
        """Wait until as many clients are held."""
        await until(lambda: self.forwarder.counters.held == count)


@asynccontextmanager
async def forwarding(
    link: FakeLink | None = None, *, listen: Address | None = None, connect: Address = DB, hold: float = 3600
) -> AsyncIterator[tuple[Local, int]]:
    """A local forward that listens; gives its port too. Without a link, the tunnel is not connected yet."""
    port = free_port()
    local = Local(listen or TcpAddress(None, port), connect, hold=hold)
    if link is not None:
        local.door.admit(link)
    await local.forwarder.bind()
    try:
        yield local, port
    finally:
        local.forwarder.close()
        local.door.close(ConnectionLost("the test is over"))
        await local.scope.aclose()
        await turns()


# --- clients --------------------------------------------------------------------------------------


async def test_a_client_is_coupled_to_a_channel_to_the_destination() -> None:
    link = FakeLink()
    async with forwarding(link) as (local, port):
        with connect(port) as peer:
            await peer.send(b"hello")
            channel = await link.channel()
            await until(lambda: channel.written == b"hello")
            channel.deliver(b"world")
            assert await peer.receive(5) == b"world"
            assert link.requests == [(DB, peer.sock.getsockname())]  # the server is told where it comes from
            assert local.counters == (1, 1, 0)
            await until(lambda: len(local.scope) == 0)  # a client that is served costs no task


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
async def test_a_client_over_ipv6_is_served_too() -> None:
    link = FakeLink()
    async with forwarding(link) as (_, port):
        with connect(port, "::1") as peer:
            await link.channel()
            assert link.requests == [(DB, peer.sock.getsockname()[:2])]


async def test_a_refused_destination_resets_that_client_and_no_other() -> None:
    link = FakeLink()
    link.open_errors = [REFUSED]
    async with forwarding(link) as (local, port):
        with connect(port) as unlucky, pytest.raises(ConnectionResetError):
            await unlucky.rest()
        assert local.refused == [(DB, REFUSED)]
        with connect(port) as lucky:
            (await link.channel()).deliver(b"welcome")
            assert await lucky.receive(7) == b"welcome"
        assert local.forwarder.state is ForwardState.LISTENING
        assert local.refused == [(DB, REFUSED)]


async def test_a_refusal_that_nobody_waits_for_any_more_is_not_reported() -> None:
    link = FakeLink()
    link.gate, link.open_errors = asyncio.Event(), [REFUSED]
    async with forwarding(link) as (local, port):
        with connect(port) as peer:
            await until(lambda: link.requests)
            peer.reset()
        await until(lambda: local.counters[0] == 0)
        link.gate.set()
        await until(lambda: len(local.scope) == 0)
        assert local.refused == []


# --- holding the door -----------------------------------------------------------------------------


async def test_a_client_that_comes_before_the_connection_waits_and_is_served() -> None:
    async with forwarding() as (local, port):
        with connect(port) as peer:
            await peer.send(b"early")
            await local.held(1)
            assert local.counters == (1, 1, 1)
            local.door.admit(link := FakeLink())
            channel = await link.channel()
            await until(lambda: channel.written == b"early")
            assert local.counters == (1, 1, 0)


async def test_a_client_that_has_waited_long_enough_is_reset_and_reported() -> None:
    async with forwarding(hold=0.02) as (local, port):
        with connect(port) as peer, pytest.raises(ConnectionResetError):
            await peer.rest()
        ((address, error),) = local.refused
        assert address == DB
        assert error.reason is DialReason.LINK_DOWN
        assert local.forwarder.counters.held == 0


async def test_a_client_that_leaves_while_it_waits_is_forgotten() -> None:
    async with forwarding() as (local, port):
        with connect(port) as peer:
            await local.held(1)
            peer.reset()
        await until(lambda: local.counters == (0, 1, 0))
        assert local.door.waiting == 0
        local.door.admit(link := FakeLink())
        await turns()
        assert link.requests == []
        assert local.refused == []


async def test_a_client_that_has_said_everything_while_it_waits_still_waits_for_its_answer() -> None:
    async with forwarding() as (local, port):
        with connect(port) as peer:
            await peer.send(b"question")
            peer.end()
            await local.held(1)
            await until(lambda: local.forwarder.counters.from_socket == 8)
            local.door.admit(link := FakeLink())
            channel = await link.channel()
            assert channel.written == b"question"
            channel.deliver(b"answer")
            channel.deliver_eof()
            assert await peer.rest() == b"answer"


async def test_a_client_whose_connection_is_lost_while_its_channel_opens_waits_for_the_next_one() -> None:
    dying, next_one = FakeLink(), FakeLink()
    dying.open_errors = [GONE]
    async with forwarding(dying) as (local, port):
        with connect(port) as peer:
            await peer.send(b"patience")
            await until(lambda: dying.requests)
            await local.held(1)
            local.door.admit(next_one)
            channel = await next_one.channel()
            await until(lambda: channel.written == b"patience")
            assert len(dying.requests) == 1  # the dead one is not asked again, and again
            assert local.refused == []
            channel.deliver(b"served")
            assert await peer.receive(6) == b"served"


async def test_a_client_that_leaves_while_it_waits_for_a_second_connection_is_forgotten() -> None:
    dying, next_one = FakeLink(), FakeLink()
    dying.open_errors = [GONE]
    async with forwarding(dying) as (local, port):
        with connect(port) as peer:
            await until(lambda: dying.requests)
            await local.held(1)
            peer.reset()
        await until(lambda: local.counters[0] == 0)
        await turns()
        assert local.counters == (0, 1, 0)
        assert local.door.waiting == 0
        local.door.admit(next_one)
        await turns()
        assert next_one.requests == []


async def test_a_client_that_left_while_its_channel_opened_does_not_wait_for_a_second_connection() -> None:
    dying = FakeLink()
    dying.gate, dying.open_errors = asyncio.Event(), [GONE]
    async with forwarding(dying) as (local, port):
        with connect(port) as peer:
            await until(lambda: dying.requests)
            peer.reset()
        await until(lambda: local.counters[0] == 0)
        dying.gate.set()
        await until(lambda: len(local.scope) == 0)
        assert local.counters == (0, 1, 0)
        assert local.door.waiting == 0


async def test_a_client_that_leaves_while_its_channel_opens_has_it_aborted() -> None:
    link = FakeLink()
    link.gate = asyncio.Event()
    async with forwarding(link) as (local, port):
        with connect(port) as peer:
            await until(lambda: link.requests)
            peer.reset()
        await until(lambda: local.counters[0] == 0)
        link.gate.set()
        assert (await link.channel()).ended == "abort"
        await until(lambda: len(local.scope) == 0)


async def test_a_bug_while_a_channel_opens_costs_one_client_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = FakeLink()
    link.open_errors = [ZeroDivisionError("nobody expects this one")]
    async with forwarding(link) as (local, port):
        with connect(port) as unlucky, pytest.raises(ConnectionResetError):
            await unlucky.rest()
        assert "nobody expects this one" in caplog.text
        with connect(port) as lucky:
            (await link.channel()).deliver(b"welcome")
            assert await lucky.receive(7) == b"welcome"
        assert local.refused == []


async def test_a_client_whose_channel_opens_when_everything_ends_is_reset() -> None:
    link = FakeLink()
    link.gate = asyncio.Event()
    async with forwarding(link) as (local, port):
        with connect(port) as peer:
            await until(lambda: link.requests)
            local.forwarder.close()
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        link.gate.set()
        assert (await link.channel()).ended


async def test_a_client_whose_connection_is_lost_in_the_moment_of_closing_waits_for_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Silent(FakeLink):
        asked: Outcome | None = None

        def open_channel(self, end: ChannelEnd, connect: Address, origin: Origin, then: Outcome, /) -> None:
            self.asked = then

    link = Silent()
    async with forwarding(link) as (local, port):
        with connect(port) as peer:
            await until(lambda: link.asked is not None)
            assert link.asked is not None
            local.forwarder.close()
            link.asked(LinkLost("gone"))
            assert len(local.scope) == 0
            with pytest.raises(ConnectionResetError):
                await peer.rest()
    assert not caplog.records


# --- listening ------------------------------------------------------------------------------------


async def test_a_port_in_use_fails_that_forward_and_is_tried_again_until_it_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "LISTEN_RETRIES", (0.001, 0.002))
    port = free_port()
    holder = socket.create_server((LOOPBACK, port))
    async with forwarding(FakeLink(), listen=TcpAddress(None, port)) as (local, _):
        assert local.forwarder.status().state is ForwardState.FAILED
        assert local.forwarder.status().error is not None
        holder.close()
        await until(lambda: local.forwarder.state is ForwardState.LISTENING)
        assert local.forwarder.status().error is None
        assert accepts(port)
        await until(lambda: len(local.scope) == 0)


async def test_trying_again_is_news_only_when_the_reason_is_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "LISTEN_RETRIES", (0.0,))
    reasons = iter(["used by a", "used by a", "used by a", "used by b"])

    async def bind(*_: object) -> Listener:
        if (reason := next(reasons, None)) is not None:
            raise ListenError(reason)
        return Listener([], 5432, "")

    monkeypatch.setattr(Listener, "bind", bind)
    async with forwarding(FakeLink()) as (local, _):
        await until(lambda: local.forwarder.state is ForwardState.LISTENING)
        assert local.states == [ForwardState.FAILED, ForwardState.FAILED, ForwardState.LISTENING]


async def test_closing_ends_the_attempts_to_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "LISTEN_RETRIES", (0.001,))
    port = free_port()
    with socket.create_server((LOOPBACK, port)):
        async with forwarding(FakeLink(), listen=TcpAddress(None, port)) as (local, _):
            local.forwarder.close()
            assert local.forwarder.state is ForwardState.PENDING
            await until(lambda: len(local.scope) == 0)


async def test_a_bug_in_listening_ends_this_forward_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def bug(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Listener, "bind", bug)
    async with forwarding(FakeLink()) as (local, _):
        assert local.forwarder.state is ForwardState.FAILED
        assert isinstance(local.forwarder.error, InternalError)
        assert "a bug" in caplog.text
        assert len(local.scope) == 0


async def test_closing_frees_the_port_resets_the_clients_and_is_idempotent() -> None:
    link = FakeLink()
    async with forwarding(link) as (local, port):
        with connect(port) as peer:
            await link.channel()
            local.forwarder.close()
            local.forwarder.close()
            assert local.forwarder.state is ForwardState.PENDING
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        assert not in_use(port)
        assert (await link.channel()).ended == "abort"
        assert local.states == [ForwardState.LISTENING, ForwardState.PENDING]


async def test_closing_resets_the_clients_that_wait() -> None:
    async with forwarding() as (local, port):
        with connect(port) as peer:
            await local.held(1)
            local.forwarder.close()
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        await until(lambda: local.counters == (0, 1, 0))
        assert local.refused == []


async def test_a_client_that_was_accepted_in_the_very_moment_of_closing_is_reset() -> None:
    async with forwarding() as (local, _):
        local.forwarder.close()
        local.door.close(ConnectionLost("the tunnel was taken down"))
        await local.scope.aclose()
        near, far = fakes.tcp_pair()
        end = local.forwarder._new_client()
        assert isinstance(end, SocketEnd)
        loop = asyncio.get_running_loop()
        accepting = loop.create_task(loop.connect_accepted_socket(lambda: end, far))
        await until(lambda: end.transport is not None)
        assert end.transport is not None
        with Peer(near) as peer:
            try:
                assert end.transport.is_closing()
                with pytest.raises(ConnectionResetError):
                    await peer.rest()
            finally:
                end.transport.abort()
                await turns()
                accepting.cancel()
    assert local.counters == (0, 1, 0)


async def test_after_closing_it_can_listen_again() -> None:
    async with forwarding(FakeLink()) as (local, port):
        local.forwarder.close()
        await local.forwarder.bind()
        assert local.forwarder.state is ForwardState.LISTENING
        assert accepts(port)


async def test_a_forward_is_listening_as_soon_as_bind_returns() -> None:
    async with forwarding() as (local, port):
        assert local.forwarder.state is ForwardState.LISTENING
        assert accepts(port)
        assert local.states == [ForwardState.LISTENING]


# --- unix sockets ---------------------------------------------------------------------------------


async def test_a_client_of_a_unix_socket_is_served_like_any_other(home: Path) -> None:
    path = str(home / "db.sock")
    link = FakeLink()
    async with forwarding(link, listen=UnixAddress(path), connect=UnixAddress("/run/db.sock")) as (local, _):
        with connect_unix(path) as client:
            await client.send(b"question")
            client.end()
            channel = await link.channel()
            await until(lambda: channel.written == b"question" and channel.eofs_written == 1)
            channel.deliver(b"answer")
            channel.deliver_eof()
            assert await client.rest() == b"answer"
        assert link.requests == [(UnixAddress("/run/db.sock"), ("", 0))]
        status = local.forwarder.status()
        assert (status.listen, status.connect) == (path, "/run/db.sock")
        assert (status.bytes_in, status.bytes_out) == (6, 8)
    assert not Path(path).exists()


async def test_a_client_of_a_unix_socket_waits_for_the_connection(home: Path) -> None:
    path = str(home / "db.sock")
    async with forwarding(listen=UnixAddress(path)) as (local, _):
        with connect_unix(path) as client:
            await client.send(b"early")
            await local.held(1)
            link = FakeLink()
            local.door.admit(link)
            channel = await link.channel()
            await until(lambda: channel.written == b"early")


async def test_a_socket_that_somebody_has_is_taken_when_it_is_free(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_forwards, "listen_delay", lambda _: 0.0)
    path = str(home / "db.sock")
    healed: list[float] = []
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen(100)
        local = Local(UnixAddress(path))
        local.forwarder.on_healed = lambda _, seconds: healed.append(seconds)
        await local.forwarder.bind()
        assert local.forwarder.error is not None
        assert path in local.forwarder.error.message
    await until(lambda: local.forwarder.state is ForwardState.LISTENING)
    assert len(healed) == 1
    local.forwarder.close()
    await local.scope.aclose()


async def test_who_uses_it_is_known_until_they_go() -> None:
    async with forwarding() as (local, port):
        client = connect(port)
        await local.held(1)
        (known,) = local.forwarder.each_client()
        assert known.waiting
        local.door.admit(FakeLink())
        await until(lambda: not any(it.waiting for it in local.forwarder.each_client()))
        (known,) = local.forwarder.each_client()
        assert (known.connect, known.pid) == ("db.internal:5432", None)
        assert known.origin is not None
        assert known.origin[0] in {LOOPBACK, "::1"}
        assert known.seconds >= 0
        client.reset()
        await until(lambda: not list(local.forwarder.each_client()))


async def test_of_a_unix_socket_the_process_is_known(home: Path) -> None:
    path = home / "db.sock"
    async with forwarding(FakeLink(), listen=UnixAddress(str(path))) as (local, _):
        client = connect_unix(str(path))
        await until(lambda: list(local.forwarder.each_client()))
        (known,) = local.forwarder.each_client()
        assert known.origin is None
        assert known.pid in {os.getpid(), None}  # not every system tells
        client.reset()
