"""``-D``: what a SOCKS client sees on the wire, and when. The grammar itself is tested in ``core``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.bed.ports import free_port, in_use
from tests.forwarding import fakes
from tests.forwarding.fakes import KIB, FakeLink, connect, turns, until
from tunnels import password_command
from tunnels.core import backoff
from tunnels.core.address import Address, TcpAddress, UnixAddress
from tunnels.core.forward import Forward, ForwardKind, ProxyAuth
from tunnels.core.state import ForwardState
from tunnels.errors import BadSetting, ConnectionLost, DialError, DialReason
from tunnels.forwarding import dynamic
from tunnels.forwarding.channel import LinkLost
from tunnels.forwarding.door import Door
from tunnels.forwarding.dynamic import DynamicForwarder
from tunnels.tasks import TaskScope

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")

GREETING = b"\x05" + b"\x01" + b"\x00"  # VER, NMETHODS, METHODS: no authentication
WELCOME = b"\x05\x00"  # VER, METHOD
REQUEST = b"\x05\x01\x00" + b"\x03\x0bdb.internal" + b"\x15\x38"  # VER CMD RSV, ATYP LEN NAME, PORT
REQUEST4A = b"\x04\x01" + b"\x15\x38" + b"\x00\x00\x00\x01" + b"me\x00" + b"db.internal\x00"
DB = TcpAddress("db.internal", 5432)

LOGIN_GREETING = b"\x05" + b"\x01" + b"\x02"  # VER, NMETHODS, METHODS: username and password
GIVE_PASSWORD = b"\x05\x02"  # VER, METHOD


def reply(code: int) -> bytes:
    return b"\x05" + bytes([code]) + b"\x00" + b"\x01" + bytes(6)  # VER REP RSV ATYP BND.ADDR BND.PORT


def login(name: bytes, password: bytes) -> bytes:
    return (
        b"\x01" + bytes([len(name)]) + name + bytes([len(password)]) + password
    )  # VER ULEN UNAME PLEN PASSWD


class Dynamic:
    """A dynamic forward and what it has told its tunnel."""

    def __init__(self, listen: Address, auth: ProxyAuth | None, hold: float) -> None:
        self.refused: list[tuple[Address, DialError]] = []
        self.states: list[ForwardState] = []
        self.scope = TaskScope("test")
        self.door = Door(hold, on_waiting=lambda: None)
        self.forwarder = DynamicForwarder(
            Forward(ForwardKind.DYNAMIC, listen, auth=auth),
            self.door,
            self.scope,
            on_change=lambda: self.states.append(self.forwarder.state),
            on_refused=lambda address, error: self.refused.append((address, error)),
        )


@asynccontextmanager
async def proxy(
    link: FakeLink | None = None,
    *,
    auth: ProxyAuth | None = None,
    listen: Address | None = None,
    hold: float = 3600,
) -> AsyncIterator[tuple[Dynamic, int]]:
    """A proxy that listens; gives its port too."""
    port = free_port()
    proxy = Dynamic(listen or TcpAddress(None, port), auth, hold)
    if link is not None:
        proxy.door.admit(link)
    await proxy.forwarder.bind()
    try:
        yield proxy, port
    finally:
        proxy.forwarder.close()
        proxy.door.close(ConnectionLost("the test is over"))
        await proxy.scope.aclose()
        await turns()


# --- serving --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "success"),
    [
        ([(GREETING, WELCOME), (REQUEST, b"")], reply(0)),
        ([(REQUEST4A, b"")], b"\x00\x5a" + bytes(6)),  # VN, CD: granted, DSTPORT, DSTIP
    ],
    ids=["SOCKS 5", "SOCKS 4a"],
)
async def test_success_is_said_when_the_far_end_has_answered_and_not_before(
    script: list[tuple[bytes, bytes]], success: bytes
) -> None:
    link = FakeLink()
    link.gate = asyncio.Event()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            for sent, answer in script:
                await peer.send(sent)
                assert await peer.receive(len(answer)) == answer
            await until(lambda: link.requests)
            await turns()
            with pytest.raises(BlockingIOError):
                peer.sock.recv(1)
            link.gate.set()
            assert await peer.receive(len(success)) == success


async def test_the_name_goes_to_the_far_end_as_it_is() -> None:
    link = FakeLink()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(GREETING + REQUEST)
            await link.channel()
            assert link.requests == [(DB, peer.sock.getsockname())]


async def test_requests_with_an_address_are_counted_because_somebody_here_has_resolved_the_name() -> None:
    by_address = b"\x05\x01\x00" + b"\x01\xc0\x00\x02\x07" + b"\x15\x38"  # VER CMD RSV, ATYP ADDR, PORT
    async with proxy(FakeLink()) as (made, port):
        for request in (REQUEST, by_address, by_address):
            with connect(port) as peer:
                await peer.send(GREETING + request)
                assert await peer.receive(12) == WELCOME + reply(0)
        assert made.forwarder.status().by_address == 2


async def test_the_success_comes_before_any_byte_of_the_far_end() -> None:
    link = FakeLink()
    link.gate = asyncio.Event()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(GREETING + REQUEST)
            await until(lambda: link.requests)
            link.gate.set()
            (await link.channel()).deliver(b"SSH-2.0-")  # a server that speaks first
            assert await peer.receive(20) == WELCOME + reply(0) + b"SSH-2.0-"


async def test_a_request_that_trickles_in_byte_by_byte_is_served() -> None:
    link = FakeLink()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            for byte in GREETING + REQUEST:
                await peer.send(bytes([byte]))
                await turns(3)
            assert await peer.receive(12) == WELCOME + reply(0)


@pytest.mark.parametrize("more", [b"GET / HTTP/1.0\r\n", b"x" * 300 * KIB], ids=["a request", "300 KiB"])
async def test_what_follows_a_request_at_once_belongs_to_the_far_end(more: bytes) -> None:
    link = FakeLink()
    async with proxy() as (dynamic_forward, port):
        with connect(port) as peer:
            sending = asyncio.get_running_loop().create_task(peer.send(GREETING + REQUEST + more))
            await until(lambda: dynamic_forward.forwarder.counters.held)
            dynamic_forward.door.admit(link)
            channel = await link.channel()
            await until(lambda: len(channel.written) >= len(more))
            assert channel.written == more
            await sending
            peer.end()
            await until(lambda: channel.eofs_written)


async def test_a_client_is_counted_with_its_request_and_its_handshake_is_not() -> None:
    link = FakeLink()
    async with proxy(link) as (dynamic_forward, port):
        counters = dynamic_forward.forwarder.counters
        with connect(port) as peer:
            await peer.send(GREETING)
            await peer.receive(2)
            assert (counters.clients, counters.clients_total) == (0, 0)
            await peer.send(REQUEST)
            await peer.receive(10)
            (await link.channel()).deliver(b"12345")
            await peer.receive(5)
            assert (counters.clients, counters.to_socket, counters.from_socket) == (1, 5, 0)
            assert dynamic_forward.forwarder._handshakes == set()


# --- refusing -------------------------------------------------------------------------------------

CODES = {
    DialReason.OTHER: 1,
    DialReason.PROHIBITED: 2,
    DialReason.NETWORK_UNREACHABLE: 3,
    DialReason.LINK_DOWN: 3,
    DialReason.HOST_UNREACHABLE: 4,
    DialReason.NAME_NOT_RESOLVED: 4,
    DialReason.REFUSED: 5,
    DialReason.TIMED_OUT: 6,
}


@pytest.mark.parametrize("reason", DialReason, ids=lambda reason: reason.name)
async def test_a_client_is_told_truthfully_why_its_destination_failed(reason: DialReason) -> None:
    link = FakeLink()
    error = DialError("db.internal:5432: no", reason=reason)
    link.open_errors = [error]
    async with proxy(link) as (dynamic_forward, port):
        with connect(port) as peer:
            await peer.send(GREETING + REQUEST)
            assert await peer.rest() == WELCOME + reply(CODES[reason])
        assert dynamic_forward.refused == [(DB, error)]


async def test_a_socks_4_client_is_told_that_its_destination_failed() -> None:
    link = FakeLink()
    link.open_errors = [DialError("no", reason=DialReason.REFUSED)]
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(REQUEST4A)
            assert await peer.rest() == b"\x00\x5b" + bytes(6)  # VN, CD: rejected, DSTPORT, DSTIP


@pytest.mark.parametrize("command", [2, 3], ids=["BIND", "UDP ASSOCIATE"])
async def test_a_command_that_a_tunnel_cannot_carry_is_refused(command: int) -> None:
    link = FakeLink()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(GREETING + b"\x05" + bytes([command]) + REQUEST[2:])
            assert await peer.rest() == WELCOME + reply(7)
        assert link.requests == []


async def test_a_browser_that_takes_it_for_a_web_server_is_told_what_it_is() -> None:
    async with proxy(FakeLink()) as (_, port):
        with connect(port) as peer:
            await peer.send(b"GET / HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % port)
            answer = await peer.rest()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"This port is a proxy" in answer


# --- waiting for the connection -------------------------------------------------------------------


async def test_a_client_waits_for_the_connection_and_then_is_told_of_its_success() -> None:
    async with proxy() as (dynamic_forward, port):
        with connect(port) as peer:
            await peer.send(GREETING + REQUEST)
            await until(lambda: dynamic_forward.forwarder.counters.held == 1)
            dynamic_forward.door.admit(FakeLink())
            assert await peer.receive(12) == WELCOME + reply(0)


async def test_a_client_whose_connection_is_lost_meanwhile_is_told_only_of_the_next_one() -> None:
    dying = FakeLink()
    dying.open_errors = [LinkLost("gone")]
    async with proxy(dying) as (dynamic_forward, port):
        with connect(port) as peer:
            await peer.send(GREETING + REQUEST)
            await until(lambda: dying.requests and dynamic_forward.forwarder.counters.held == 1)
            dynamic_forward.door.admit(FakeLink())
            assert await peer.receive(12) == WELCOME + reply(0)


async def test_a_client_that_has_waited_long_enough_is_told_that_there_is_no_network() -> None:
    async with proxy(hold=0.02) as (_, port):
        with connect(port) as peer:
            await peer.send(GREETING + REQUEST)
            assert await peer.rest() == WELCOME + reply(3)


# --- clients that do not get to the point ---------------------------------------------------------


async def test_a_client_that_says_nothing_is_reset_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dynamic, "HANDSHAKE_TIMEOUT", 0.02)
    async with proxy(FakeLink()) as (dynamic_forward, port):
        with connect(port) as peer:
            await peer.send(GREETING)
            assert await peer.receive(2) == WELCOME
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        await until(lambda: not dynamic_forward.forwarder._handshakes)


async def test_the_time_of_a_handshake_does_not_run_once_the_request_is_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dynamic, "HANDSHAKE_TIMEOUT", 0.02)
    async with proxy() as (dynamic_forward, port):
        with connect(port) as patient, connect(port) as idle:
            await patient.send(GREETING + REQUEST)
            await until(lambda: dynamic_forward.forwarder.counters.held == 1)
            with pytest.raises(ConnectionResetError):
                await idle.rest()  # which came later, so the other one's time is over too
            dynamic_forward.door.admit(FakeLink())
            assert await patient.receive(12) == WELCOME + reply(0)


async def test_a_client_that_leaves_in_its_handshake_is_forgotten() -> None:
    async with proxy(FakeLink()) as (dynamic_forward, port):
        for leave in ("end", "reset"):
            with connect(port) as peer:
                await peer.send(GREETING)
                await peer.receive(2)
                assert len(dynamic_forward.forwarder._handshakes) == 1
                getattr(peer, leave)()
                await until(lambda: not dynamic_forward.forwarder._handshakes)


async def test_closing_resets_clients_in_their_handshake_and_those_that_are_served() -> None:
    link = FakeLink()
    async with proxy(link) as (dynamic_forward, port):
        with connect(port) as talking, connect(port) as served:
            await talking.send(GREETING)
            await talking.receive(2)
            await served.send(GREETING + REQUEST)
            await served.receive(12)
            dynamic_forward.forwarder.close()
            for peer in (talking, served):
                with pytest.raises(ConnectionResetError):
                    await peer.rest()
        assert (await link.channel()).ended == "abort"
        assert dynamic_forward.forwarder._handshakes == set()
        assert not in_use(port)


async def test_a_client_that_was_accepted_in_the_very_moment_of_closing_is_reset() -> None:
    async with proxy(FakeLink()) as (dynamic_forward, _):
        dynamic_forward.forwarder.close()
        near, far = fakes.tcp_pair()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(dynamic_forward.forwarder._new_client, far)
        with fakes.Peer(near) as peer:
            try:
                await turns()
                assert transport.is_closing()
                with pytest.raises(ConnectionResetError):
                    await peer.rest()
            finally:
                transport.abort()


# --- passwords ------------------------------------------------------------------------------------

ALICE = ProxyAuth("alice", "printf 'p\\303\\244ss\\nsecond line\\n'")


async def test_a_client_with_the_right_password_is_served() -> None:
    async with proxy(FakeLink(), auth=ALICE) as (_, port):
        with connect(port) as peer:
            await peer.send(LOGIN_GREETING + login(b"alice", "päss".encode()) + REQUEST)
            assert await peer.receive(14) == GIVE_PASSWORD + b"\x01\x00" + reply(0)  # VER, STATUS


@pytest.mark.parametrize(
    ("name", "password"),
    [(b"alice", b"wrong"), (b"bob", "päss".encode()), (b"", b""), (b"\xff", b"\xff")],
)
async def test_a_client_with_a_wrong_name_or_password_is_not_served(name: bytes, password: bytes) -> None:
    link = FakeLink()
    async with proxy(link, auth=ALICE) as (_, port):
        with connect(port) as peer:
            await peer.send(LOGIN_GREETING + login(name, password) + REQUEST)
            assert await peer.rest() == GIVE_PASSWORD + b"\x01\x01"  # VER, STATUS: no
        assert link.requests == []


async def test_a_client_that_offers_no_password_is_not_served() -> None:
    link = FakeLink()
    async with proxy(link, auth=ALICE) as (_, port):
        with connect(port) as peer:
            await peer.send(GREETING + REQUEST)
            assert await peer.rest() == b"\x05\xff"  # VER, METHOD: none
        assert link.requests == []


@pytest.mark.parametrize("command", ["exit 3", "true"])
async def test_without_its_password_a_proxy_does_not_listen_and_says_why(command: str) -> None:
    async with proxy(FakeLink(), auth=ProxyAuth("alice", command)) as (dynamic_forward, port):
        forwarder = dynamic_forward.forwarder
        assert forwarder.state is ForwardState.FAILED
        assert forwarder.error is not None
        assert forwarder.error.message.startswith("auth: password_command ")
        assert not in_use(port)


async def test_a_password_that_can_be_had_later_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(backoff, "LISTEN_RETRIES", (0.001,))
    auth = ProxyAuth("alice", f"cat {home}/secret")
    async with proxy(FakeLink(), auth=auth) as (dynamic_forward, port):
        assert dynamic_forward.forwarder.status().state is ForwardState.FAILED
        (home / "secret").write_text("hunter2\n")
        await until(lambda: dynamic_forward.forwarder.state is ForwardState.LISTENING)
        with connect(port) as peer:
            await peer.send(LOGIN_GREETING + login(b"alice", b"hunter2") + REQUEST)
            assert await peer.receive(14) == GIVE_PASSWORD + b"\x01\x00" + reply(0)  # VER, STATUS


async def test_asking_for_the_password_again_is_news_only_when_the_reason_is_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "LISTEN_RETRIES", (0.0,))
    reasons = iter(["it is locked", "it is locked", "it is locked", "there is none"])

    async def run(_: str) -> str:
        if (reason := next(reasons, None)) is not None:
            raise BadSetting(reason)
        return "hunter2"

    monkeypatch.setattr(password_command, "run", run)
    async with proxy(FakeLink(), auth=ALICE) as (dynamic_forward, _):
        await until(lambda: dynamic_forward.forwarder.state is ForwardState.LISTENING)
        assert dynamic_forward.states == [ForwardState.FAILED, ForwardState.FAILED, ForwardState.LISTENING]


async def test_a_port_that_is_taken_fails_the_proxy_as_any_forward() -> None:
    async with (
        proxy(FakeLink()) as (_, port),
        proxy(FakeLink(), listen=TcpAddress(None, port)) as (second, _),
    ):
        assert second.forwarder.state is ForwardState.FAILED
        assert second.forwarder.error is not None
        assert second.forwarder.error.message == f"port {port} is in use by another tunnel"


async def test_a_proxy_on_a_unix_socket_is_refused() -> None:
    async with proxy(FakeLink(), listen=UnixAddress("/tmp/tunnels-test.sock")) as (dynamic_forward, _):
        assert dynamic_forward.forwarder.state is ForwardState.FAILED
        assert dynamic_forward.forwarder.error is not None
        assert dynamic_forward.forwarder.error.message == "a proxy cannot listen on a unix socket"
