"""A plain HTTP request between a real socket and a channel that is none."""

from __future__ import annotations

import asyncio

import pytest

from tests.forwarding import fakes
from tests.forwarding.fakes import KIB, MIB, FakeLink, connect, turns, until
from tests.forwarding.test_dynamic import Dynamic, proxy
from tunnels.core.address import TcpAddress
from tunnels.errors import DialError, DialReason
from tunnels.forwarding import dynamic, plain_http

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")

GET = b"GET http://web.internal/x HTTP/1.1\r\nHost: web.internal\r\n\r\n"
SEEN = b"GET /x HTTP/1.1\r\nHost: web.internal\r\nConnection: close\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello"
TOLD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
CHUNKED = b"POST http://web.internal/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


def forgotten(it: Dynamic) -> bool:
    """Whether nothing of any client is kept."""
    return not it.forwarder._handshakes and not it.forwarder.visits and it.forwarder.counters.clients == 0


async def test_a_request_goes_to_its_server_and_the_answer_comes_back() -> None:
    link = FakeLink()
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(GET)
            channel = await link.channel()
            await until(lambda: channel.written == SEEN)
            assert link.requests[0][0] == TcpAddress("web.internal", 80)
            channel.deliver(ANSWER)
            channel.deliver_eof()
            assert await peer.rest() == TOLD
        await until(lambda: channel.eofs_written)
        channel.lose()
        await until(lambda: forgotten(it))


async def test_the_client_is_told_nothing_before_the_server_has_answered() -> None:
    link = FakeLink()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(GET)
            channel = await link.channel()
            channel.deliver(ANSWER[:30])
            await turns()
            with pytest.raises(BlockingIOError):
                peer.sock.recv(1)


async def test_a_client_may_go_on_sending_its_body_and_what_follows_it_goes_nowhere() -> None:
    link = FakeLink()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(CHUNKED + b"5\r\nhe")
            channel = await link.channel()
            await peer.send(b"llo\r\n0\r\n\r\n" + GET)
            await until(lambda: channel.written.endswith(b"5\r\nhello\r\n0\r\n\r\n"))
            await peer.send(GET)
            await turns()
            assert channel.written.count(b"HTTP/1.1") == 1


async def test_a_body_stops_where_nobody_takes_it() -> None:
    link = FakeLink()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(b"POST http://a/ HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
            channel = await link.channel()
            channel.end.pause_writing()
            sending = asyncio.get_running_loop().create_task(peer.send(bytes(32 * MIB)))
            await turns(50)
            kept = len(channel.written)
            await turns(50)
            assert not sending.done()
            assert len(channel.written) == kept < MIB
            channel.end.resume_writing()
            await until(lambda: len(channel.written) > 32 * MIB)
            await sending


async def test_an_answer_stops_where_the_client_does_not_read() -> None:
    link = FakeLink()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(GET)
            channel = await link.channel()
            channel.deliver(b"HTTP/1.1 200 OK\r\n\r\n")
            sent = 0
            while not channel.paused:
                channel.deliver(bytes(64 * KIB))
                sent += 64 * KIB
                assert sent < 64 * MIB
            assert len(await peer.receive(sent)) == sent
            await until(lambda: not channel.paused)


async def test_a_body_that_makes_no_sense_ends_the_request_and_the_server_does_not_take_it_for_complete() -> (
    None
):
    link = FakeLink()
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(CHUNKED + b"5\r\nhello\r\n")
            channel = await link.channel()
            await until(lambda: b"hello" in channel.written)
            await peer.send(b"nonsense\r\n")
            assert (await peer.rest()).startswith(b"HTTP/1.1 400 ")
            assert channel.ended == "abort"
            assert channel.eofs_written == 0
        await until(lambda: forgotten(it))


async def test_a_body_that_makes_no_sense_at_once_reaches_nobody() -> None:
    link = FakeLink()
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(CHUNKED + b"nonsense\r\n")
            assert (await peer.rest()).startswith(b"HTTP/1.1 400 ")
        assert link.requests == []
        await until(lambda: forgotten(it))


async def test_a_body_that_makes_no_sense_after_the_answer_has_begun_cuts_the_client_off() -> None:
    link = FakeLink()
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(CHUNKED)
            (await link.channel()).deliver(b"HTTP/1.1 200 OK\r\n\r\nbegun")
            await peer.receive(30)
            await peer.send(b"nonsense\r\n")
            with pytest.raises((ConnectionResetError, AssertionError)):
                assert await peer.rest() == b"more", "it has ended"
        await until(lambda: forgotten(it))


async def test_a_client_that_ends_in_its_body_is_no_complete_request() -> None:
    link = FakeLink()
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(CHUNKED + b"5\r\nhe")
            channel = await link.channel()
            peer.end()
            await until(lambda: channel.ended == "abort")
            assert channel.eofs_written == 0
        await until(lambda: forgotten(it))


async def test_a_client_that_ends_after_its_request_still_gets_its_answer() -> None:
    link = FakeLink()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(GET)
            peer.end()
            channel = await link.channel()
            await until(lambda: channel.eofs_written)
            channel.deliver(ANSWER)
            channel.deliver_eof()
            assert await peer.rest() == TOLD


@pytest.mark.parametrize("ending", ["end of file", "close"])
async def test_a_server_that_hangs_up_without_an_answer_is_told_of(ending: str) -> None:
    link = FakeLink()
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(GET)
            channel = await link.channel()
            if ending == "close":
                channel.lose()
            else:
                channel.deliver_eof()
            answer = await peer.rest()
            assert answer.startswith(b"HTTP/1.1 502 ")
            assert b"web.internal has closed the connection without an answer." in answer
        if ending == "end of file":
            await until(lambda: channel.eofs_written)
            channel.lose()
        await until(lambda: forgotten(it))


async def test_a_server_that_speaks_no_http_is_given_up_and_told_of() -> None:
    link = FakeLink()
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(GET)
            channel = await link.channel()
            channel.deliver(b"SSH-2.0-OpenSSH_9.2\r\n")
            channel.deliver(b"more\r\n\r\n")
            answer = await peer.rest()
            assert b"web.internal did not answer in HTTP" in answer
            assert channel.ended == "abort"
        await until(lambda: forgotten(it))


async def test_a_connection_that_is_lost_resets_the_client_and_is_no_end_of_an_answer() -> None:
    link = FakeLink()
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(GET)
            channel = await link.channel()
            channel.deliver(b"HTTP/1.1 200 OK\r\n\r\nhalf of")
            assert (await peer.receive(40)).startswith(b"HTTP/1.1 200 ")
            channel.end.link_lost()
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        await until(lambda: forgotten(it))


async def test_a_websocket_passes_in_both_directions() -> None:
    link = FakeLink()
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n" + upgrade)
            channel = await link.channel()
            await until(lambda: channel.written == b"GET / HTTP/1.1\r\nHost: a\r\n" + upgrade)
            switched = b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade
            channel.deliver(switched + b"\x81\x01a")
            assert await peer.receive(len(switched) + 3) == switched + b"\x81\x01a"
            await peer.send(b"\x81\x81mask\x0c")
            await until(lambda: channel.written.endswith(b"\r\n\r\n\x81\x81mask\x0c"))
            peer.end()
            await until(lambda: channel.eofs_written)


async def test_a_client_whose_tunnel_does_not_come_back_is_told_so() -> None:
    async with proxy(hold=0.01) as (it, port):
        with connect(port) as peer:
            await peer.send(GET)
            answer = await peer.rest()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"web.internal: the tunnel is not connected." in answer
        await until(lambda: forgotten(it))


# --- refused --------------------------------------------------------------------------------------


async def test_a_destination_that_refuses_is_named_and_the_client_counted_until_it_has_gone() -> None:
    link = FakeLink()
    link.open_errors = [DialError("secrets of the server", reason=DialReason.REFUSED)]
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(GET)
            answer = await peer.rest()
            assert answer.startswith(b"HTTP/1.1 502 ")
            assert answer.endswith(b"\r\n\r\nweb.internal: connection refused.\n")
            assert it.forwarder.counters.clients == 1
        await until(lambda: forgotten(it))


@pytest.mark.parametrize("first", [b"POST http://a/ HTTP/1.1", b"CONNECT a:1 HTTP/1.1"])
async def test_a_refused_client_that_goes_on_sending_still_reads_why(first: bytes) -> None:
    link = FakeLink()
    link.open_errors = [DialError("no", reason=DialReason.REFUSED)]
    more = 8 * MIB
    length = b"" if first.startswith(b"CONNECT") else b"Content-Length: %d\r\n" % more
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(first + b"\r\nHost: a\r\n" + length + b"\r\n")
            await peer.send(bytes(more))
            assert (await peer.rest()).endswith(b": connection refused.\n")


async def test_a_refused_client_that_does_not_go_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_http, "LINGER_TIMEOUT", 0.01)
    link = FakeLink()
    link.open_errors = [DialError("no", reason=DialReason.REFUSED)]
    async with proxy(link) as (it, port):
        with connect(port) as refused, connect(port) as wrong:
            await refused.send(GET)
            await wrong.send(b"GET http:// HTTP/1.1\r\n\r\n")
            await refused.rest()
            await wrong.rest()
            await until(lambda: forgotten(it))


async def test_closing_the_forward_ends_clients_that_have_been_refused() -> None:
    async with proxy(FakeLink()) as (it, port):
        with connect(port) as peer:
            await peer.send(b"GET http:// HTTP/1.1\r\n\r\n")
            await peer.rest()
            assert it.forwarder._handshakes
            it.forwarder.close()
            await until(lambda: forgotten(it))


async def test_a_head_that_does_not_come_in_time_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic, "HANDSHAKE_TIMEOUT", 0.02)
    async with proxy(FakeLink()) as (it, port):
        with connect(port) as peer:
            await peer.send(GET[:-2])
            assert (await peer.rest()).startswith(b"HTTP/1.1 408 ")
        await until(lambda: forgotten(it))


# --- CONNECT --------------------------------------------------------------------------------------


async def test_the_200_comes_when_the_far_end_has_answered_and_before_its_first_byte() -> None:
    link = FakeLink()
    link.gate = asyncio.Event()
    async with proxy(link) as (_, port):
        with connect(port) as peer:
            await peer.send(b"CONNECT db.internal:5432 HTTP/1.1\r\nHost: db.internal:5432\r\n\r\nearly")
            await until(lambda: link.requests)
            assert link.requests[0][0] == TcpAddress("db.internal", 5432)
            await turns()
            with pytest.raises(BlockingIOError):
                peer.sock.recv(1)
            link.gate.set()
            channel = await link.channel()
            channel.deliver(b"SSH-2.0-")
            assert await peer.receive(47) == b"HTTP/1.1 200 Connection established\r\n\r\nSSH-2.0-"
            await until(lambda: channel.written == b"early")


async def test_a_client_that_goes_when_its_server_has_no_answer_hurts_nobody_else() -> None:
    """What a socket raises then would go up to whoever has read the end of the server: the whole connection."""
    link = FakeLink()
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(GET)
            channel = await link.channel()
            await until(lambda: channel.written == SEEN)
        await until(lambda: channel.eofs_written)
        channel.deliver_eof()  # it is told so, and its system answers that it is not there any more
        channel.lose()
        await until(lambda: forgotten(it))


async def test_a_tunnel_has_nothing_of_http_in_its_way() -> None:
    link = FakeLink()
    async with proxy(link) as (it, port):
        with connect(port) as peer:
            await peer.send(b"CONNECT a:1 HTTP/1.1\r\n\r\n")
            await peer.receive(39)
            [end] = it.forwarder.visits
            assert end.transport is not None
            assert end.transport.get_protocol() is end
            assert not isinstance(end.transport, plain_http.AnswerFilter)
