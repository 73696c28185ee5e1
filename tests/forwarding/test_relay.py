"""What the relay promises about the bytes of one client. A real socket, a channel that is none, both loops."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from tests.forwarding import fakes
from tests.forwarding.fakes import KIB, MIB, ONE_READ, Coupled, coupled, turns, until
from tunnels.errors import ConnectionLost
from tunnels.forwarding import relay as relays
from tunnels.forwarding.relay import EARLY_LIMIT, READ, Counters, SocketEnd

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")

BROKEN = BrokenPipeError("Channel not open for sending")
LOST = ConnectionLost("the network ended the connection")


def cut(data: bytes, seed: int) -> Iterator[bytes]:
    """Cut bytes into pieces from one byte to a whole read."""
    dice = random.Random(seed)
    start = 0
    while start < len(data):
        size = dice.choice((1, 2, 1000, 32 * KIB, 65 * KIB, ONE_READ))
        yield data[start : start + size]
        start += size


# --- both ways ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_bytes_go_both_ways_unchanged_and_in_order_however_they_are_cut(seed: int) -> None:
    there, back = (random.Random(seed + direction).randbytes(MIB) for direction in (10, 20))
    async with coupled() as relay:

        async def upload() -> None:
            for piece in cut(there, seed):
                await relay.peer.send(piece)

        async def download() -> None:
            for piece in cut(back, seed):
                relay.channel.deliver(piece)
                await asyncio.sleep(0)

        received, _, _ = await asyncio.gather(relay.peer.receive(len(back)), upload(), download())

        assert received == back
        await relay.wrote(there)


async def test_the_counters_say_what_went_through_and_how_many_are_there() -> None:
    async with coupled() as relay:
        await relay.peer.send(b"12345")
        await relay.wrote(b"12345")
        relay.channel.deliver(b"1234567")
        await relay.peer.receive(7)
        during = (relay.counters.clients, relay.counters.clients_total)
    assert during == (1, 1)
    assert (relay.counters.clients, relay.counters.clients_total) == (0, 1)
    assert (relay.counters.from_socket, relay.counters.to_socket) == (5, 7)


async def test_the_owner_is_told_once_that_an_end_came_and_once_that_it_went() -> None:
    told: list[str] = []
    async with coupled(on_made=lambda _: told.append("made"), on_lost=lambda _: told.append("lost")) as relay:
        assert told == ["made"]
        relay.peer.reset()
        await relay.gone()
        relay.channel.lose(LOST)
    assert told == ["made", "lost"]


# --- half-close -----------------------------------------------------------------------------------


async def test_a_client_that_has_said_everything_can_still_listen() -> None:
    async with coupled() as relay:
        await relay.peer.send(b"question")
        relay.peer.end()
        await until(lambda: relay.channel.eofs_written)
        assert relay.channel.written == b"question"
        assert relay.channel.ended is None

        relay.channel.deliver(b"answer")
        relay.channel.deliver_eof()
        assert await relay.peer.rest() == b"answer"


async def test_a_far_end_that_has_said_everything_can_still_listen() -> None:
    async with coupled() as relay:
        relay.channel.deliver(b"go on")
        relay.channel.deliver_eof()
        assert await relay.peer.rest() == b"go on"
        assert relay.channel.eofs_written == 0

        await relay.peer.send(b"a" * MIB)
        relay.peer.end()
        await relay.wrote(b"a" * MIB)
        await until(lambda: relay.channel.eofs_written)


async def test_the_far_end_is_asked_to_keep_its_own_half_open() -> None:
    async with coupled() as relay:
        assert relay.end.far.eof_received() is True
        assert relay.end.eof_received() is True


async def test_when_both_have_said_everything_the_close_of_the_channel_closes_the_socket() -> None:
    async with coupled() as relay:
        relay.peer.end()
        await until(lambda: relay.channel.eofs_written)
        relay.channel.deliver_eof()
        relay.channel.lose()
        assert await relay.peer.rest() == b""
        await relay.gone()
        assert relay.channel.ended is None  # it has ended by itself


async def test_an_end_of_file_is_passed_on_only_once() -> None:
    async with coupled() as relay:
        relay.peer.end()
        await until(lambda: relay.channel.eofs_written)
        relay.end.far.link_paused()
        relay.end.far.link_resumed()  # the loop reads again, and meets the same end of file
        await turns()
        assert relay.channel.eofs_written == 1
        relay.channel.deliver(b"still here")
        assert await relay.peer.receive(10) == b"still here"


# --- before the channel is open -------------------------------------------------------------------


async def test_what_a_client_says_before_its_channel_is_open_arrives_first() -> None:
    async with coupled(opened=False) as relay:
        await relay.peer.send(b"GET / ")
        await until(lambda: relay.counters.from_socket == 6)
        relay.channel.open()
        assert relay.channel.written == b"GET / "
        await relay.peer.send(b"HTTP/1.0")
        await relay.wrote(b"GET / HTTP/1.0")


async def test_a_client_that_says_everything_before_its_channel_is_open_is_heard_to_the_end() -> None:
    async with coupled(opened=False) as relay:
        await relay.peer.send(b"all of it")
        relay.peer.end()
        await until(lambda: relay.end._eof)
        assert not relay.end.gone
        relay.channel.open()
        assert relay.channel.written == b"all of it"
        assert relay.channel.eofs_written == 1
        relay.channel.deliver(b"answer")
        assert await relay.peer.receive(6) == b"answer"


async def test_a_client_whose_channel_is_not_open_costs_64_kib_and_what_one_read_brings() -> None:
    async with coupled(opened=False) as relay:
        sent = relay.peer.send_what_fits(b"x" * 64 * KIB)
        await until(lambda: not relay.transport.is_reading())
        while more := relay.peer.send_what_fits(b"x" * 64 * KIB):
            sent += more
            await turns()

        taken = relay.counters.from_socket
        assert EARLY_LIMIT <= taken < EARLY_LIMIT + ONE_READ
        assert taken < sent  # there was more to take
        relay.channel.open()
        await relay.wrote(b"x" * sent)


async def test_a_client_that_resets_before_its_channel_is_open_has_the_channel_aborted() -> None:
    async with coupled(opened=False) as relay:
        await relay.peer.send(b"never mind")
        await until(lambda: relay.counters.from_socket)
        relay.peer.reset()
        await relay.gone()
        relay.channel.open()
        assert relay.channel.ended == "abort"
        assert not relay.channel.written
        relay.channel.deliver(b"too late")  # what was on its way meets nobody
        relay.channel.deliver_eof()
        relay.channel.lose()


# --- back-pressure --------------------------------------------------------------------------------


def stall(relay: Coupled) -> int:
    """Deliver until the channel is paused, because the client does not read; return how many bytes."""
    delivered = 0
    while not relay.channel.paused:
        assert delivered < 64 * MIB
        relay.channel.deliver(b"d" * 32 * KIB)
        delivered += 32 * KIB
    return delivered


async def test_a_client_that_does_not_read_stops_its_channel() -> None:
    async with coupled(narrow=True) as relay:
        stall(relay)
        assert 0 < relay.transport.get_write_buffer_size() <= 32 * KIB


async def test_after_a_pause_no_more_is_taken_than_the_client_reads() -> None:
    async with coupled(narrow=True) as relay:
        stall(relay)
        for number in range(64):
            relay.channel.deliver(bytes([number]) * 32 * KIB)
        assert (relay.channel.pauses, relay.channel.kept) == (1, 2 * MIB)

        while relay.channel.kept == 2 * MIB:  # until the socket's own buffer is empty
            await relay.peer.receive(16 * KIB)

        assert relay.channel.kept >= 2 * MIB - 64 * KIB
        assert relay.transport.get_write_buffer_size() <= 32 * KIB
        assert (relay.channel.pauses, relay.channel.paused) == (2, True)


async def test_a_channel_goes_on_when_the_client_has_read_everything() -> None:
    async with coupled(narrow=True) as relay:
        sent = stall(relay)
        await relay.peer.receive(sent)
        await until(lambda: not relay.channel.paused)
        relay.channel.deliver(b"more")
        assert await relay.peer.receive(4) == b"more"


async def test_an_end_of_file_behind_kept_bytes_comes_after_them() -> None:
    async with coupled(narrow=True) as relay:
        sent = stall(relay)
        relay.channel.deliver(b"last")
        relay.channel.deliver_eof()
        assert (await relay.peer.rest()) == b"d" * sent + b"last"


async def test_a_slow_client_that_has_said_everything_gets_everything_and_is_closed_once() -> None:
    """asyncio's own transport closes twice when it is closed while it says that it has room again."""
    async with coupled(narrow=True) as relay:
        sent = stall(relay)
        relay.peer.end()
        await until(lambda: relay.channel.eofs_written)
        relay.channel.deliver(b"last")
        relay.channel.deliver_eof()
        assert await relay.peer.rest() == b"d" * sent + b"last"
        await relay.gone()


async def test_a_channel_that_closes_still_delivers_to_a_slow_client_what_it_had_sent() -> None:
    async with coupled(narrow=True) as relay:
        sent = stall(relay)
        relay.channel.resume_reading()
        relay.channel.deliver_eof()
        relay.channel.lose()
        assert await relay.peer.rest() == b"d" * sent
        await relay.gone()


async def is_read_from(relay: Coupled) -> bool:
    """Whether what the client sends is taken."""
    before = relay.counters.from_socket
    await relay.peer.send(b"?")
    await turns()
    return relay.counters.from_socket > before


async def test_a_full_channel_stops_its_client_until_it_has_room() -> None:
    async with coupled() as relay:
        relay.end.far.pause_writing()
        assert not await is_read_from(relay)
        relay.end.far.resume_writing()
        await relay.wrote(b"?")


async def test_a_full_connection_stops_its_clients_until_it_has_room() -> None:
    async with coupled() as relay:
        relay.end.far.link_paused()
        assert not await is_read_from(relay)
        relay.end.far.link_resumed()
        await relay.wrote(b"?")


async def test_a_client_goes_on_only_when_no_reason_to_wait_is_left() -> None:
    async with coupled() as relay:
        relay.end.far.link_paused()
        relay.end.far.pause_writing()
        relay.end.far.link_resumed()
        assert not await is_read_from(relay)
        relay.end.far.link_paused()
        relay.end.far.resume_writing()
        assert not await is_read_from(relay)
        relay.end.far.link_resumed()
        await relay.wrote(b"??")


async def test_opening_a_channel_on_a_full_connection_does_not_start_its_client() -> None:
    async with coupled(opened=False) as relay:
        await relay.peer.send(b"x" * EARLY_LIMIT)
        await until(lambda: not relay.transport.is_reading())
        relay.end.far.link_paused()
        relay.channel.open()
        assert relay.channel.written == b"x" * EARLY_LIMIT
        assert not await is_read_from(relay)
        relay.end.far.link_resumed()
        await relay.wrote(b"x" * EARLY_LIMIT + b"?")


# --- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [LOST, None], ids=["with an error", "without one"])
async def test_a_connection_that_is_lost_in_the_middle_resets_the_client(error: Exception | None) -> None:
    async with coupled() as relay:
        relay.channel.deliver(b"half of the fi")
        assert await relay.peer.receive(14) == b"half of the fi"
        relay.channel.end.link_lost()
        relay.channel.lose(error)  # after a server's goodbye, asyncssh has no error to give
        with pytest.raises(ConnectionResetError):
            await relay.peer.rest()
        await relay.gone()


@pytest.mark.parametrize("said", ["client", "far end"])
async def test_a_connection_that_is_lost_when_only_one_has_said_everything_resets_the_client(
    said: str,
) -> None:
    async with coupled() as relay:
        if said == "client":
            relay.peer.end()
            await until(lambda: relay.channel.eofs_written)
        else:
            relay.channel.deliver_eof()
            assert await relay.peer.rest() == b""
        relay.channel.end.link_lost()
        relay.channel.lose()
        await relay.gone()
        with pytest.raises(OSError):  # whoever meets the reset: the next read, or if that has ended, a write
            await relay.peer.rest()
            await relay.peer.send(b"x")


@pytest.mark.parametrize("error", [LOST, None], ids=["with an error", "without one"])
async def test_a_connection_that_is_lost_after_both_said_everything_is_a_clean_end(
    error: Exception | None,
) -> None:
    async with coupled(narrow=True) as relay:
        relay.peer.end()
        await until(lambda: relay.channel.eofs_written)
        sent = stall(relay)
        relay.channel.resume_reading()
        relay.channel.deliver_eof()
        relay.channel.end.link_lost()
        relay.channel.lose(error)
        assert len(await relay.peer.rest()) == sent
        await relay.gone()


async def test_a_channel_that_closes_without_an_end_of_file_is_a_clean_end() -> None:
    async with coupled() as relay:
        relay.channel.deliver(b"bye")
        relay.channel.lose()  # asyncssh swallows an end of file that a close follows at once
        assert await relay.peer.rest() == b"bye"


async def test_a_channel_that_ends_with_an_error_resets_the_client() -> None:
    async with coupled() as relay:
        relay.channel.lose(LOST)
        with pytest.raises(ConnectionResetError):
            await relay.peer.rest()


async def test_a_client_that_resets_has_its_channel_aborted() -> None:
    async with coupled() as relay:
        relay.peer.reset()
        await relay.gone()
        assert relay.channel.ended == "abort"


async def test_what_a_client_sent_before_it_left_still_goes_out() -> None:
    async with coupled() as relay:
        await relay.peer.send(b"the last words")
        relay.peer.close()
        await until(lambda: relay.channel.eofs_written)
        while not relay.end.gone:  # an answer meets a closed socket, whose system says so with a reset
            relay.channel.deliver(b"answer")
            await turns(1)
        assert relay.channel.written == b"the last words"
        assert relay.channel.ended == "close"  # which, unlike an abort, sends what is queued


async def test_the_owner_of_a_channel_is_told_once_that_it_is_gone() -> None:
    told: list[str] = []
    async with coupled() as relay:
        relay.end.far.on_closed = lambda: told.append("closed")
        relay.channel.lose(LOST)
        relay.channel.lose(LOST)
    assert told == ["closed"]


# --- nothing escapes into asyncssh ----------------------------------------------------------------


async def test_a_channel_that_takes_no_more_bytes_is_no_error() -> None:
    async with coupled() as relay:
        relay.channel.breaks = BROKEN
        await relay.peer.send(b"into the void")
        relay.peer.end()
        await until(lambda: relay.end._eof)
        await turns()
        assert not relay.end.gone
        relay.channel.lose()  # which is what follows
        assert await relay.peer.rest() == b""


async def test_a_channel_that_takes_no_more_bytes_when_it_opens_is_no_error() -> None:
    async with coupled(opened=False) as relay:
        await relay.peer.send(b"early")
        relay.peer.end()
        await until(lambda: relay.end._eof)
        relay.channel.breaks = BROKEN
        relay.channel.open()
        relay.channel.lose()
        assert await relay.peer.rest() == b""


async def test_whatever_the_far_end_does_after_the_client_has_gone_is_no_error() -> None:
    async with coupled() as relay:
        relay.peer.reset()
        await relay.gone()
        far = relay.end.far
        far.data_received(b"data", None)
        far.eof_received()
        far.pause_writing()
        far.resume_writing()
        far.link_paused()
        far.link_resumed()
        far.link_lost()
        far.connection_lost(LOST)
    assert relay.counters.to_socket == 0


async def test_whatever_the_far_end_does_while_the_socket_is_closing_is_no_error() -> None:
    async with coupled() as relay:
        relay.transport.abort()  # connection_lost comes with the next turn of the loop
        far = relay.end.far
        far.data_received(b"data", None)
        far.eof_received()
        far.pause_writing()
        far.resume_writing()
        far.link_paused()
        far.link_resumed()
        far.link_lost()
        far.connection_lost(LOST)
        await relay.gone()


async def test_a_client_that_has_just_gone_can_still_be_told_the_end_of_file() -> None:
    async with coupled() as relay:
        relay.peer.reset()  # the kernel knows it, the loop does not yet
        relay.channel.deliver_eof()
        relay.channel.deliver_eof()
        await relay.gone()


# --- the greeting ---------------------------------------------------------------------------------


async def test_the_greeting_comes_before_any_byte_of_the_far_end_and_is_not_counted() -> None:
    async with coupled(opened=False) as relay:
        relay.end.far.greeting = lambda: b"succeeded;"
        relay.channel.open()
        relay.channel.deliver(b"SSH-2.0-")
        assert await relay.peer.receive(18) == b"succeeded;SSH-2.0-"
        assert relay.counters.to_socket == 8


async def test_a_client_that_has_gone_is_not_greeted() -> None:
    async with coupled(opened=False) as relay:
        greetings = iter([b"succeeded;"])
        relay.end.far.greeting = lambda: next(greetings)
        relay.peer.reset()
        await relay.gone()
        relay.channel.open()
        assert list(greetings) == [b"succeeded;"]


# --- taking a socket over, and resetting one ------------------------------------------------------


async def test_a_socket_is_taken_over_with_what_was_read_from_it_already() -> None:
    near, far = fakes.tcp_pair()
    loop = asyncio.get_running_loop()
    with fakes.Peer(near) as peer:
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, far)
        end = SocketEnd(Counters())
        end.take_over(transport, b"read before; ")
        channel = fakes.FakeChannel(end.far)
        channel.open()
        await peer.send(b"read after")
        await until(lambda: len(channel.written) == 23)
        assert channel.written == b"read before; read after"
        peer.close()
        transport.abort()
        await until(lambda: end.gone)


async def test_a_socket_that_is_taken_over_in_the_middle_of_a_stream_loses_nothing_of_it() -> None:
    """The protocol of the handshake gives it away while it is being told what was read."""
    speech = random.Random(7).randbytes(8 * MIB)
    near, far = fakes.tcp_pair()
    loop = asyncio.get_running_loop()
    end = SocketEnd(Counters())
    channel = fakes.FakeChannel(end.far)

    class Handshake(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)
            self.heard = bytearray()

        def data_received(self, data: bytes) -> None:
            self.heard += data
            if len(self.heard) > 300_000:
                end.take_over(self.transport, bytes(self.heard))
                channel.open()

    with fakes.Peer(near) as peer:
        transport, _ = await loop.connect_accepted_socket(Handshake, far)
        await peer.send(speech)
        peer.end()
        await until(lambda: channel.eofs_written)
        assert channel.written == speech
        transport.abort()
        await until(lambda: end.gone)


async def test_what_goes_to_the_socket_directly_and_what_is_queued_stay_in_order_to_the_end() -> None:
    """Directly while the kernel takes it, then through the transport, then directly again; and then the end."""
    speech = random.Random(8).randbytes(4 * MIB)
    async with coupled(narrow=True) as relay:
        pieces = [speech[at : at + 50_001] for at in range(0, len(speech), 50_001)]
        hearing = asyncio.ensure_future(relay.peer.rest())  # noqa: TID251
        for piece in pieces:
            relay.channel.deliver(piece)
            await asyncio.sleep(0)
        await until(lambda: not relay.channel.kept)
        relay.channel.deliver_eof()
        assert await hearing == speech


@pytest.mark.usefixtures("every_loop")
async def test_a_client_that_always_has_more_lets_others_have_their_turn() -> None:
    """uvloop would read from it up to 32 times, and look at nobody else meanwhile."""
    async with coupled() as relay:
        transport = relay.end.transport
        assert transport is not None
        relay.end.buffer_updated(READ - 1)
        assert transport.is_reading()
        relay.end.buffer_updated(READ)
        assert not transport.is_reading()
        await turns()
        assert transport.is_reading()
        relay.end.buffer_updated(READ)
        relay.end.pause_for_link()  # by somebody else's bytes, in between
        await turns()
        assert not transport.is_reading()
        relay.end.resume_for_link()
        assert transport.is_reading()


async def test_a_channel_that_opens_while_its_client_takes_nothing_is_stopped() -> None:
    async with coupled(opened=False) as relay:
        relay.end.pause_writing()
        relay.channel.open()
        assert relay.channel.paused
        relay.end.resume_writing()
        assert not relay.channel.paused


async def test_nothing_is_written_to_the_descriptor_of_a_socket_that_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else's file may have its number by then."""
    written: list[int] = []
    async with coupled() as relay:

        def write(file: int, data: bytes) -> int:
            written.append(file)
            return len(data)

        monkeypatch.setattr(relays, "os", SimpleNamespace(write=write))
        relay.channel.deliver(b"alive")
        relay.peer.reset()
        await relay.gone()
        relay.end.write(b"not any more")
        assert len(written) == 1


async def test_resetting_twice_is_no_error() -> None:
    async with coupled() as relay:
        relay.end.reset()
        relay.end.reset()
        await relay.gone()
        relay.end.reset()
        with pytest.raises(ConnectionResetError):
            await relay.peer.rest()
