"""SOCKS and HTTP over a channel: a real destination on loopback, a server that is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.e2e.bed.ports import LOOPBACK
from tests.forwarding import fakes
from tests.forwarding.fakes import FakeChannel, destination, socks5_request, turns, until
from tunnels.core.address import TcpAddress
from tunnels.core.proxy import ProxyServer
from tunnels.errors import DialError, DialReason
from tunnels.forwarding import remote_proxy
from tunnels.forwarding.plain_http import AnswerFilter
from tunnels.forwarding.relay import Counters, SocketEnd
from tunnels.forwarding.remote_proxy import ProxyEnd
from tunnels.tasks import TaskScope

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")

ANYWHERE = TcpAddress("192.0.2.7", 80)
METHOD = b"\x05\x00"
SUCCEEDED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


class Proxy:
    """One client on the server's side, and how it is connected."""

    def __init__(self, failure: DialError | None) -> None:
        self.scope = TaskScope("test")
        self.counters = Counters()
        self.dialled: list[TcpAddress] = []
        self.may_dial = asyncio.Event()
        self.may_dial.set()
        self.ends: list[SocketEnd] = []
        self._failure = failure
        self.end = ProxyEnd(ProxyServer(), self._dial, self.scope)
        self.channel = FakeChannel(self.end)

    async def _dial(self, address: TcpAddress) -> SocketEnd:
        self.dialled.append(address)
        await self.may_dial.wait()
        if self._failure is not None:
            raise self._failure
        end = SocketEnd(self.counters)
        self.ends.append(end)
        await asyncio.get_running_loop().create_connection(
            lambda: end, address.host or LOOPBACK, address.port
        )
        return end


@asynccontextmanager
async def proxy(failure: DialError | None = None) -> AsyncIterator[Proxy]:
    it = Proxy(failure)
    it.channel.open()
    try:
        yield it
    finally:
        it.channel.lose(ConnectionResetError())
        await it.scope.aclose()
        await until(lambda: it.counters.clients == 0)


async def test_the_client_is_answered_only_when_the_destination_has_answered() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.may_dial.clear()
            it.channel.deliver(socks5_request(address))
            await until(lambda: it.dialled == [address])
            assert it.channel.written == METHOD
            assert it.channel.paused
            it.may_dial.set()
            with await accept() as peer:
                await until(lambda: it.channel.written == METHOD + SUCCEEDED)
                it.channel.deliver(b"question")
                assert await peer.receive(8) == b"question"
                it.channel.deliver_eof()
                assert await peer.rest() == b""
                await peer.send(b"answer")
                peer.end()
                await until(lambda: it.channel.written == METHOD + SUCCEEDED + b"answer")
                await until(lambda: it.channel.eofs_written == 1)


async def test_what_a_client_says_too_early_is_kept_in_order() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.may_dial.clear()
            it.channel.deliver(socks5_request(address) + b"one ")
            it.channel.deliver(b"two ")
            it.channel.deliver_eof()
            it.may_dial.set()
            with await accept() as peer:
                assert await peer.rest() == b"one two "


async def test_a_client_that_has_ended_before_the_destination_answered_still_reads() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.channel.deliver(socks5_request(address))
            it.channel.deliver_eof()
            with await accept() as peer:
                assert await peer.rest() == b""
                await peer.send(b"late")
                await until(lambda: it.channel.written.endswith(b"late"))


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 9])
async def test_a_handshake_may_come_in_pieces(cut: int) -> None:
    async with proxy(DialError("no", reason=DialReason.REFUSED)) as it:
        request = socks5_request(ANYWHERE)
        it.channel.deliver(request[:cut])
        it.channel.deliver(request[cut:])
        await until(lambda: it.dialled == [ANYWHERE])


async def test_a_destination_that_refuses_is_told_with_the_right_code() -> None:
    async with proxy(DialError("no", reason=DialReason.REFUSED)) as it:
        it.channel.deliver(socks5_request(ANYWHERE))
        await until(lambda: it.channel.ended == "close")
        assert it.channel.written[2:4] == b"\x05\x05"


async def test_what_is_no_socks_ends_the_client() -> None:
    async with proxy() as it:
        it.channel.deliver(b"\x16\x03\x01")
        assert it.channel.ended == "close"
        assert it.dialled == []


async def test_a_client_that_says_nothing_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_proxy, "HANDSHAKE_TIMEOUT", 0.01)
    async with proxy() as it:
        await until(lambda: it.channel.ended == "abort")


async def test_a_client_that_has_gone_meanwhile_costs_its_destination_a_reset() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.may_dial.clear()
            it.channel.deliver(socks5_request(address))
            await until(lambda: it.dialled)
            closed: list[bool] = []
            it.end.on_closed = lambda: closed.append(True)
            it.channel.lose()
            assert closed == [True]
            it.may_dial.set()
            with await accept() as peer, pytest.raises(ConnectionResetError):
                await peer.rest()


async def test_a_connection_that_is_lost_resets_the_destination() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.end.link_lost()  # too early to matter
            it.channel.deliver(socks5_request(address))
            with await accept() as peer:
                await until(lambda: len(it.channel.written) == 12)
                it.end.link_lost()
                with pytest.raises(ConnectionResetError):
                    await peer.rest()


@pytest.mark.parametrize("early", [True, False])
async def test_a_connection_that_is_full_stops_the_destination(early: bool) -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            if early:
                it.end.link_paused()
            it.channel.deliver(socks5_request(address))
            with await accept() as peer:
                await until(lambda: len(it.channel.written) == 12)
                if not early:
                    it.end.link_paused()
                await peer.send(b"waits")
                await turns()
                assert len(it.channel.written) == 12
                it.end.link_resumed()
                await until(lambda: it.channel.written.endswith(b"waits"))


async def test_a_channel_that_is_full_stops_the_destination() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.end.pause_writing()  # during a handshake there is nothing to stop
            it.end.resume_writing()
            it.channel.deliver(socks5_request(address))
            with await accept() as peer:
                await until(lambda: len(it.channel.written) == 12)
                it.end.pause_writing()
                await peer.send(b"waits")
                await turns()
                assert len(it.channel.written) == 12
                it.end.resume_writing()
                await until(lambda: it.channel.written.endswith(b"waits"))


@pytest.mark.parametrize("plain", [False, True])
async def test_a_channel_that_is_full_before_the_destination_answers_stops_it(plain: bool) -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.may_dial.clear()
            it.channel.deliver(post(address) if plain else socks5_request(address))
            await until(lambda: it.dialled == [address])
            it.end.pause_writing()  # by the first reply: the link is full, or keys are being exchanged
            it.may_dial.set()
            with await accept() as peer:
                await until(lambda: bool(it.ends) and not it.channel.paused)
                before = bytes(it.channel.written)
                await peer.send(b"HTTP/1.1 200 OK\r\n\r\nwaits")
                await turns()
                assert it.channel.written == before
                it.end.resume_writing()
                await until(lambda: it.channel.written.endswith(b"waits"))


async def test_once_connected_nothing_of_ours_is_in_the_way_of_a_chunk() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.channel.deliver(socks5_request(address))
            with await accept():
                await until(lambda: len(it.channel.written) == 12)
                [end] = it.ends
                assert it.end.data_received == end.far.data_received


# --- HTTP -----------------------------------------------------------------------------------------

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
TOLD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


def post(address: TcpAddress, *, chunked: bool = True) -> bytes:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 5"
    return b"POST http://%s/x HTTP/1.1\r\n%b\r\n\r\n" % (str(address).encode(), framing)


def seen(address: TcpAddress) -> bytes:
    head = b"POST /x HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    return head % str(address).encode()


async def test_connect_is_answered_only_when_the_destination_has_answered() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.may_dial.clear()
            it.channel.deliver(f"CONNECT {address} HTTP/1.1\r\n\r\nearly".encode())
            await until(lambda: it.dialled == [address])
            assert it.channel.written == b""
            it.may_dial.set()
            with await accept() as peer:
                await until(lambda: it.channel.written == ESTABLISHED)
                assert await peer.receive(5) == b"early"
                await peer.send(b"answer")
                await until(lambda: it.channel.written == ESTABLISHED + b"answer")


async def test_a_plain_request_goes_to_its_server_and_what_follows_it_goes_nowhere() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.may_dial.clear()
            it.channel.deliver(post(address) + b"5\r\nhe")
            it.channel.deliver(b"llo\r\n")
            it.may_dial.set()
            with await accept() as peer:
                assert await peer.receive(len(seen(address)) + 10) == seen(address) + b"5\r\nhello\r\n"
                it.channel.deliver(b"0\r\n\r\nGET http://elsewhere/ HTTP/1.1\r\n\r\n")
                assert await peer.receive(5) == b"0\r\n\r\n"
                await peer.send(ANSWER)
                peer.end()
                await until(lambda: it.channel.eofs_written)
                assert it.channel.written == TOLD
                it.channel.deliver_eof()
                assert await peer.rest() == b""


@pytest.mark.parametrize("when", ["at once", "before the destination answers", "later"])
async def test_a_body_that_makes_no_sense_is_told_and_no_server_takes_it_for_complete(when: str) -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.may_dial.clear()
            bad = b"nonsense\r\n"
            if when == "at once":
                it.channel.deliver(post(address) + bad)
                await turns()
                assert it.dialled == []
            else:
                it.channel.deliver(post(address))
                await until(lambda: it.dialled)
                if when == "later":
                    it.may_dial.set()
                    with await accept() as peer:
                        await peer.receive(len(seen(address)))
                        it.channel.deliver(bad)
                        with pytest.raises(ConnectionResetError):
                            await peer.rest()
                else:
                    it.end.data_received(bad, None)  # on its way when reading was paused
                    it.may_dial.set()
                    with await accept() as peer, pytest.raises(ConnectionResetError):
                        await peer.rest()
            await until(lambda: it.channel.eofs_written)
            assert it.channel.written.startswith(b"HTTP/1.1 400 ")
            it.channel.deliver_eof()
            assert it.channel.ended == "close"


async def test_a_client_that_ends_in_its_body_is_no_complete_request() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.channel.deliver(post(address, chunked=False) + b"123")
            with await accept() as peer:
                assert (await peer.receive(20)).startswith(b"POST /x HTTP/1.1\r\n")
                it.channel.deliver_eof()
                with pytest.raises(ConnectionResetError):
                    await peer.rest()
            assert it.channel.ended == "abort"


@pytest.mark.parametrize(
    ("answer", "why"), [(b"", b"without an answer"), (b"nonsense\n", b"did not answer in HTTP")]
)
async def test_a_server_that_does_not_answer_in_http_is_told_of(answer: bytes, why: bytes) -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.channel.deliver(f"GET http://{address}/ HTTP/1.1\r\n\r\n".encode())
            with await accept() as peer:
                await peer.receive(10)
                await peer.send(answer)
                peer.end()
                await until(lambda: it.channel.eofs_written)
                assert it.channel.written.startswith(b"HTTP/1.1 502 ")
                assert why in it.channel.written


async def test_a_refused_destination_is_named_and_the_client_may_finish_sending() -> None:
    async with proxy(DialError("no", reason=DialReason.REFUSED)) as it:
        it.channel.deliver(post(ANYWHERE))
        await until(lambda: it.channel.eofs_written)
        assert it.channel.written.endswith(b"\r\n\r\n192.0.2.7:80: connection refused.\n")
        assert not it.channel.paused
        it.channel.deliver(bytes(100_000))
        assert it.channel.ended is None
        it.channel.deliver_eof()
        assert it.channel.ended == "close"


async def test_a_refused_client_that_does_not_go_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_proxy, "LINGER_TIMEOUT", 0.01)
    async with proxy() as it:
        it.channel.deliver(b"GET http:// HTTP/1.1\r\n\r\n")
        await until(lambda: it.channel.ended == "close")
        assert it.channel.written.startswith(b"HTTP/1.1 400 ")


async def test_a_head_that_does_not_come_in_time_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_proxy, "HANDSHAKE_TIMEOUT", 0.01)
    async with proxy() as it:
        it.channel.deliver(b"GET http://")
        await until(lambda: it.channel.written.startswith(b"HTTP/1.1 408 "))


async def test_a_connection_that_is_full_stops_the_server_of_a_plain_request() -> None:
    with destination() as (address, accept):
        async with proxy() as it:
            it.channel.deliver(f"GET http://{address}/ HTTP/1.1\r\n\r\n".encode())
            with await accept() as peer:
                await peer.send(ANSWER)
                await until(lambda: it.channel.written == TOLD)
                it.end.link_paused()
                await peer.send(b"waits")
                await turns()
                assert it.channel.written == TOLD
                it.end.link_resumed()
                await until(lambda: it.channel.written == TOLD + b"waits")
                assert isinstance(it.ends[0].far._channel, AnswerFilter)
