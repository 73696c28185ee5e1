"""``-R``: a real destination on loopback, a server that is none."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bed.ports import LOOPBACK, RefusingPort
from tests.forwarding import fakes
from tests.forwarding.fakes import FakeChannel, FakeLink, destination, socks5_request, turns, until
from tunnels import open_files, password_command
from tunnels.core import backoff
from tunnels.core.address import Address, TcpAddress, UnixAddress
from tunnels.core.forward import Forward, ForwardKind, ProxyAuth
from tunnels.core.state import ForwardState
from tunnels.errors import BadSetting, DialError, DialReason, InternalError, ListenError
from tunnels.forwarding import remote
from tunnels.forwarding.channel import LinkLost, ListenRefused
from tunnels.forwarding.remote import RemoteForwarder
from tunnels.open_files import OpenFiles
from tunnels.tasks import TaskScope

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")

ANYWHERE = TcpAddress(LOOPBACK, 9)
VISITOR = ("203.0.113.7", 4711)
BUSY = ListenError("the server refused to listen on 2222", hint="the port may be in use there")


class Remote:
    """A remote forward and what it has told its tunnel."""

    def __init__(self, listen: Address, connect: Address | None, auth: ProxyAuth | None = None) -> None:
        self.refused: list[tuple[Address, DialError]] = []
        self.states: list[ForwardState] = []
        self.scope = TaskScope("test")
        self.forwarder = RemoteForwarder(
            Forward(ForwardKind.REMOTE, listen, connect, auth=auth),
            self.scope,
            on_change=lambda: self.states.append(self.forwarder.state),
            on_refused=lambda address, error: self.refused.append((address, error)),
        )


@asynccontextmanager
async def forwarding(
    connect: Address | None = ANYWHERE, *, listen: Address | None = None, auth: ProxyAuth | None = None
) -> AsyncIterator[Remote]:
    forward = Remote(listen or TcpAddress(None, 2222), connect, auth)
    try:
        yield forward
    finally:
        forward.forwarder.link_lost()
        await forward.scope.aclose()
        await turns()


async def visit(link: FakeLink) -> FakeChannel:
    """A client connects on the server; gives its channel, which is open."""
    assert link.acceptor is not None
    channel = FakeChannel(await link.acceptor(VISITOR))
    channel.open()
    return channel


# --- clients --------------------------------------------------------------------------------------


async def test_a_client_is_coupled_to_a_socket_to_the_destination() -> None:
    link = FakeLink()
    with destination() as (address, accept):
        async with forwarding(address) as forward:
            await forward.forwarder.open(link)
            channel = await visit(link)
            with await accept() as peer:
                channel.deliver(b"question")
                assert await peer.receive(8) == b"question"
                await peer.send(b"answer")
                await until(lambda: channel.written == b"answer")
                status = forward.forwarder.status()
                assert (status.clients, status.bytes_in, status.bytes_out) == (1, 6, 8)
                peer.end()
                await until(lambda: channel.eofs_written)
                channel.deliver_eof()
                channel.lose()
                assert await peer.rest() == b""


async def test_a_destination_that_speaks_first_is_heard() -> None:
    link = FakeLink()
    with destination() as (address, accept):
        async with forwarding(address) as forward:
            await forward.forwarder.open(link)
            assert link.acceptor is not None
            end = await link.acceptor(VISITOR)
            with await accept() as peer:
                await peer.send(b"SSH-2.0-")
                await until(lambda: forward.forwarder.counters.from_socket)
                channel = FakeChannel(end)  # asyncssh confirms the channel only now
                channel.open()
                assert channel.written == b"SSH-2.0-"


@pytest.mark.parametrize("host", [LOOPBACK, "localhost"])
async def test_a_destination_that_refuses_refuses_that_client_and_no_other(host: str) -> None:
    link = FakeLink()
    with RefusingPort() as refusing:
        address = TcpAddress(host, refusing.port)
        async with forwarding(address) as forward:
            await forward.forwarder.open(link)
            with pytest.raises(DialError) as caught:
                await visit(link)
            assert caught.value.message == f"{address}: Connection refused"
            assert caught.value.reason is DialReason.REFUSED
            assert forward.refused == [(address, caught.value)]
            assert forward.forwarder.state is ForwardState.LISTENING
            assert forward.forwarder.counters.clients == 0


async def test_a_destination_that_refuses_at_both_of_its_addresses_has_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def both(_loop: object, _host: str, port: int, **__: object) -> list[Any]:
        six = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", port, 0, 0))
        return [six, (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (LOOPBACK, port))]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", both)  # uvloop uses one of its own
    link = FakeLink()
    with RefusingPort() as refusing:
        address = TcpAddress("localhost", refusing.port)
        async with forwarding(address) as forward:
            await forward.forwarder.open(link)
            with pytest.raises(DialError) as caught:
                await visit(link)
            assert caught.value.reason is DialReason.REFUSED
            assert caught.value.message == f"{address}: Connection refused"


async def test_a_destination_that_does_not_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(remote, "CONNECT_TIMEOUT", 0.01)
    monkeypatch.setattr("aiohappyeyeballs.start_connection", never)
    link = FakeLink()
    async with forwarding() as forward:
        await forward.forwarder.open(link)
        with pytest.raises(DialError, match=r"did not answer within 0\.01 s") as caught:
            await visit(link)
        assert caught.value.reason is DialReason.TIMED_OUT
        assert forward.refused == [(ANYWHERE, caught.value)]


@pytest.mark.parametrize(
    ("failure", "words", "reason"),
    [
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "not found",
            DialReason.NAME_NOT_RESOLVED,
        ),
        (
            OSError(errno.EHOSTUNREACH, "whatever"),
            os.strerror(errno.EHOSTUNREACH),
            DialReason.HOST_UNREACHABLE,
        ),
        (OSError(errno.EMFILE, "whatever"), os.strerror(errno.EMFILE), DialReason.OTHER),
    ],
)
async def test_any_other_failure_of_the_destination_says_what_the_system_said(
    failure: OSError, words: str, reason: DialReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("aiohappyeyeballs.start_connection", fail)
    link = FakeLink()
    async with forwarding() as forward:
        await forward.forwarder.open(link)
        with pytest.raises(DialError, match=words) as caught:
            await visit(link)
        assert caught.value.reason is reason
        assert len(forward.refused) == 1


async def test_a_destination_whose_name_cannot_be_one_is_refused_like_an_unknown_one() -> None:
    link = FakeLink()
    async with forwarding(TcpAddress("a..b", 80)) as forward:
        await forward.forwarder.open(link)
        with pytest.raises(DialError):
            await visit(link)
        assert len(forward.refused) == 1


# --- listening on the server ----------------------------------------------------------------------


async def test_it_is_listening_as_soon_as_open_returns() -> None:
    link = FakeLink(port=2222)
    async with forwarding() as forward:
        await forward.forwarder.open(link)
        assert forward.forwarder.state is ForwardState.LISTENING
        assert link.listened == [TcpAddress(None, 2222)]
        assert forward.states == [ForwardState.LISTENING]
        assert len(forward.scope) == 0


async def test_a_port_that_the_server_chose_is_shown() -> None:
    async with forwarding(listen=TcpAddress(None, 0)) as forward:
        assert forward.forwarder.status().listen == "localhost:0"
        await forward.forwarder.open(FakeLink(port=40123))
        assert forward.forwarder.status().listen == "localhost:40123"
        forward.forwarder.link_lost()
        assert forward.forwarder.status().listen == "localhost:0"


async def test_a_port_that_was_asked_for_is_shown_as_it_was_asked_for() -> None:
    async with forwarding(listen=TcpAddress("*", 2222)) as forward:
        await forward.forwarder.open(FakeLink(port=2222))
        assert forward.forwarder.status().listen == "*:2222"


async def test_a_server_that_refuses_to_listen_is_asked_again_until_it_agrees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delays: list[float] = []

    def no_delay(failures: int) -> float:
        delays.append(backoff.listen_delay(failures))
        return 0.0

    monkeypatch.setattr(remote, "listen_delay", no_delay)
    link = FakeLink(port=2222)
    link.listen_errors = [BUSY] * 4
    async with forwarding() as forward:
        await forward.forwarder.open(link)
        assert forward.forwarder.status().state is ForwardState.FAILED
        assert forward.forwarder.status().error == BUSY.info
        await until(lambda: forward.forwarder.state is ForwardState.LISTENING)
        assert len(link.listened) == 5
        assert forward.forwarder.error is None
        assert forward.states == [ForwardState.FAILED, ForwardState.LISTENING]  # not once for each attempt
    assert delays == list(backoff.LISTEN_RETRIES[:4])


async def test_the_delays_between_two_attempts_to_listen_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "LISTEN_RETRIES", (0.01, 0.02))
    loop = asyncio.get_running_loop()
    link = FakeLink()
    link.listen_errors = [BUSY] * 4
    async with forwarding() as forward:
        started = loop.time()
        await forward.forwarder.open(link)
        await until(lambda: forward.forwarder.state is ForwardState.LISTENING)
        # uvloop keeps its time in whole milliseconds
        assert loop.time() - started >= 0.01 + 3 * 0.02 - 0.004


async def test_another_reason_for_refusing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "listen_delay", lambda _: 0.0)
    other = ListenError("the server refused to listen on 2222", hint="another hint")
    changed = ListenError("something else is wrong")
    link = FakeLink()
    link.listen_errors = [BUSY, other, *([changed] * 1000)]
    async with forwarding() as forward:
        await forward.forwarder.open(link)
        await until(lambda: forward.forwarder.error is changed)
        assert forward.states == [ForwardState.FAILED, ForwardState.FAILED]


async def test_a_lost_connection_ends_the_attempts_and_the_next_one_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "listen_delay", lambda _: 0.0)
    first, second = FakeLink(), FakeLink()
    first.listen_errors = [BUSY] * 1000
    async with forwarding() as forward:
        await forward.forwarder.open(first)
        await until(lambda: len(first.listened) > 3)
        forward.forwarder.link_lost()
        assert forward.forwarder.status().state is ForwardState.PENDING
        assert forward.forwarder.error is None
        await turns()
        asked = len(first.listened)
        await turns()
        assert len(first.listened) == asked
        assert len(forward.scope) == 0

        await forward.forwarder.open(second)
        assert forward.forwarder.state is ForwardState.LISTENING


async def test_a_connection_that_is_lost_while_it_is_asked_is_no_failure_of_the_forward() -> None:
    link = FakeLink()
    link.listen_errors = [LinkLost("gone")]
    async with forwarding() as forward:
        await forward.forwarder.open(link)
        assert forward.forwarder.state is ForwardState.PENDING
        assert forward.forwarder.error is None
        assert len(forward.scope) == 0


async def test_a_bug_while_the_server_is_asked_ends_this_forward_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = FakeLink()
    link.listen_errors = [ZeroDivisionError("a bug")]
    async with forwarding() as forward:
        await forward.forwarder.open(link)
        assert forward.forwarder.state is ForwardState.FAILED
        assert isinstance(forward.forwarder.error, InternalError)
        assert "a bug" in caplog.text
        assert len(forward.scope) == 0


# --- the connection is lost -----------------------------------------------------------------------


async def test_a_lost_connection_resets_the_destination_and_makes_the_forward_wait() -> None:
    link = FakeLink()
    with destination() as (address, accept):
        async with forwarding(address) as forward:
            await forward.forwarder.open(link)
            await visit(link)
            with await accept() as peer:
                forward.forwarder.link_lost()
                assert forward.forwarder.state is ForwardState.PENDING
                with pytest.raises(ConnectionResetError):
                    await peer.rest()
            await until(lambda: forward.forwarder.counters.clients == 0)


async def test_a_lost_connection_resets_also_a_destination_whose_channel_was_not_open_yet() -> None:
    link = FakeLink()
    with destination() as (address, accept):
        async with forwarding(address) as forward:
            await forward.forwarder.open(link)
            assert link.acceptor is not None
            await link.acceptor(VISITOR)
            with await accept() as peer:
                forward.forwarder.link_lost()
                with pytest.raises(ConnectionResetError):
                    await peer.rest()


async def test_closing_twice_is_no_error() -> None:
    async with forwarding() as forward:
        await forward.forwarder.open(FakeLink())
        forward.forwarder.link_lost()
        forward.forwarder.link_lost()
        assert forward.forwarder.state is ForwardState.PENDING


# --- our own last connection ----------------------------------------------------------------------

HELD = ListenRefused("the server refused to listen on 2222", hint="the port may be in use there")


async def test_what_is_refused_the_first_time_keeps_the_servers_own_message() -> None:
    link = FakeLink()
    link.listen_errors = [HELD]
    async with forwarding() as forward:
        await forward.forwarder.open(link)
        assert forward.forwarder.error is HELD


@pytest.mark.parametrize(
    ("listen", "what"),
    [(TcpAddress(None, 2222), "port 2222"), (UnixAddress("/run/home.sock"), "/run/home.sock")],
)
async def test_what_had_listened_and_is_refused_is_held_by_our_own_last_connection(
    listen: Address, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "listen_delay", lambda _: 0.0)
    first, second = FakeLink(port=2222), FakeLink(port=2222)
    second.listen_errors = [HELD] * 3
    healed: list[float] = []
    async with forwarding(listen=listen) as forward:
        forward.forwarder.on_healed = lambda _, seconds: healed.append(seconds)
        await forward.forwarder.open(first)
        forward.forwarder.link_lost()
        await forward.forwarder.open(second)
        error = forward.forwarder.error
        assert error is not None
        assert error.message == f"the server still holds {what}, most likely for our own last connection"
        if isinstance(listen, TcpAddress):
            assert "ClientAliveInterval 15" in (error.hint or "")
            assert "every 15 s" in (error.hint or "")
        else:
            assert error.hint == HELD.hint, "what was found out about a socket is kept"
        assert healed == []
        await until(lambda: forward.forwarder.state is ForwardState.LISTENING)
        assert len(healed) == 1


@pytest.mark.parametrize(
    ("port", "refusal"),
    [(0, HELD), (2222, ListenError("a dead socket is in the way"))],
)
async def test_a_refusal_that_our_last_connection_cannot_be_the_reason_of_is_shown_as_it_is(
    port: int, refusal: ListenError
) -> None:
    second = FakeLink()
    second.listen_errors = [refusal]
    async with forwarding(listen=TcpAddress(None, port)) as forward:
        await forward.forwarder.open(FakeLink(port=40_001))
        forward.forwarder.link_lost()
        await forward.forwarder.open(second)
        assert forward.forwarder.error is refusal


# --- unix sockets ---------------------------------------------------------------------------------


async def test_a_client_is_coupled_to_a_unix_socket(home: Path) -> None:
    path = home / "db.sock"
    link = FakeLink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.setblocking(False)
        async with forwarding(UnixAddress("~/db.sock"), listen=UnixAddress("/run/far.sock")) as forward:
            await forward.forwarder.open(link)
            assert forward.forwarder.status().listen == "/run/far.sock"
            channel = await visit(link)
            with fakes.Peer((await asyncio.get_running_loop().sock_accept(server))[0]) as peer:
                channel.deliver(b"hello")
                channel.deliver_eof()
                assert await peer.rest() == b"hello"
                await peer.send(b"good-bye")
                peer.end()
                await until(lambda: channel.written == b"good-bye" and channel.eofs_written == 1)


async def test_a_unix_socket_that_is_not_there_refuses_that_client(home: Path) -> None:
    link = FakeLink()
    async with forwarding(UnixAddress(str(home / "none.sock"))) as forward:
        await forward.forwarder.open(link)
        with pytest.raises(DialError, match=r"none\.sock: No such file"):
            await visit(link)
        assert len(forward.refused) == 1
        assert forward.forwarder.state is ForwardState.LISTENING


# --- a proxy on the server's side -----------------------------------------------------------------


async def test_a_forward_without_a_destination_asks_its_clients_where_they_want_to_go() -> None:
    link = FakeLink()
    with destination() as (address, accept):
        async with forwarding(None) as forward:
            await forward.forwarder.open(link)
            assert forward.forwarder.status().connect is None
            channel = await visit(link)
            channel.deliver(socks5_request(address))
            with await accept() as peer:
                await until(lambda: len(channel.written) == 2 + 10)
                await peer.send(b"hello")
                await until(lambda: channel.written.endswith(b"hello"))
                assert forward.forwarder.status().clients == 1


async def test_a_proxy_whose_password_cannot_be_had_does_not_listen_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote, "listen_delay", lambda _: 0.0)
    failures = iter([True])

    async def run(_command: str) -> str:
        if next(failures, False):
            raise BadSetting("`pass` failed")
        return "secret"

    monkeypatch.setattr(password_command, "run", run)
    link = FakeLink()
    async with forwarding(None, auth=ProxyAuth("me", "pass")) as forward:
        await forward.forwarder.open(link)
        assert forward.forwarder.error is not None
        assert forward.forwarder.error.message == "auth: `pass` failed"
        assert link.listened == []
        await until(lambda: forward.forwarder.state is ForwardState.LISTENING)
        channel = await visit(link)
        channel.deliver(b"\x05\x01\x00")
        assert channel.written == b"\x05\xff", "nobody comes in without a password"


async def test_where_no_more_files_may_be_open_a_client_is_refused_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = OpenFiles()
    monkeypatch.setattr(files, "none_left", lambda: True)
    monkeypatch.setattr(open_files, "ours", files)
    link = FakeLink()
    async with forwarding(TcpAddress(LOOPBACK, 1)) as forward:
        await forward.forwarder.open(link)
        with pytest.raises(DialError, match="may open no more files"):
            await visit(link)
    assert files.turned_away == 1
