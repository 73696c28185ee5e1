"""Whatever is on its way, and however it is cut: our wire and asyncssh read one connection as one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import asyncssh
import pytest
from asyncssh.crypto import cipher as their_cipher
from asyncssh.packet import Boolean, String, UInt32
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import run_async
from tests.forwarding import fakes
from tests.forwarding.fakes import KIB, MIB, RecordingEnd, turns, until
from tests.ssh.plane import GCM, LOOPBACK, Captured, Held, Plane, Talker, connected, feed, listening
from tunnels.ssh import gcm, outlet, wire
from tunnels.ssh.buffers import LARGEST_PACKET
from tunnels.ssh.channel import ForwardChannel
from tunnels.ssh.channel_packets import MSG_DATA
from tunnels.ssh.onward import Onward
from tunnels.ssh.wire import Wire
from tunnels.tasks import TaskScope

every_loop = fakes.every_loop

IGNORE, GLOBAL, CONFIRMATION, ADJUST, EOF, CLOSE, REQUEST = 2, 80, 91, 93, 96, 97, 98


@pytest.fixture
def nonces(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[tuple[bytes, bytes], int]]:
    """How often each nonce was used with each key to seal a packet, by whomever."""
    used: dict[tuple[bytes, bytes], int] = {}

    class Recording:
        def __init__(self, key: bytes) -> None:
            self._key = key
            self._real = real(key)
            self.decrypt = self._real.decrypt
            self.decrypt_into = self._real.decrypt_into

        def encrypt(self, nonce: bytes, *args: Any) -> bytes:
            self._count(nonce)
            return bytes(self._real.encrypt(nonce, *args))

        def encrypt_into(self, nonce: bytes, *args: Any) -> int:
            self._count(nonce)
            return int(self._real.encrypt_into(nonce, *args))

        def _count(self, nonce: bytes) -> None:
            used[self._key, nonce] = used.get((self._key, nonce), 0) + 1

    real: Any = vars(their_cipher)["AESGCM"]
    for module in (gcm, their_cipher):
        monkeypatch.setattr(module, "AESGCM", Recording)
    yield used
    assert set(used.values()) <= {1}


async def talk(plane: Plane, channels: int, size: int) -> None:
    """Send different bytes to as many echoes at once, and get each of them back."""
    speeches = [random.Random(number).randbytes(size + number) for number in range(channels)]
    ends = [Talker(speech) for speech in speeches]
    for end in ends:
        await plane.open(end)
    await until(lambda: all("eof" in end.told for end in ends))
    for end, speech in zip(ends, speeches, strict=True):
        assert bytes(end.data) == speech
        assert end.channel is not None
        end.channel.close()
    await until(lambda: all("lost" in end.told for end in ends))
    assert not plane.conn._channels


# --- bulk -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_loop")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"encryption_algs": ["aes256-gcm@openssh.com"]},
        {"encryption_algs": ["chacha20-poly1305@openssh.com"]},
        {"encryption_algs": ["aes256-ctr"]},
        {"encryption_algs": ["aes128-cbc"]},
        {"compression_algs": ["zlib@openssh.com"]},
    ],
    ids=["aes128-gcm", "aes256-gcm", "chacha20", "ctr", "cbc", "zlib"],
)
async def test_bytes_go_both_ways_unchanged_with_whatever_cipher(options: dict[str, Any]) -> None:
    async with connected(**options) as plane:
        assert (plane.wire._find_sealer() is not None) is ("gcm" in str(options or "gcm"))
        await talk(plane, 3, 400 * KIB)
        assert not plane.conn.is_closed()


@pytest.mark.usefixtures("every_loop")
@pytest.mark.parametrize("who", ["client", "server", "both"])
@pytest.mark.parametrize("cipher", [GCM, "chacha20-poly1305@openssh.com"])
@pytest.mark.time_limit(30)
async def test_key_exchanges_in_the_middle_lose_nothing_and_use_no_nonce_twice(
    who: str, cipher: str, nonces: dict[tuple[bytes, bytes], int]
) -> None:
    often = {"rekey_bytes": 150_000}
    async with connected(
        encryption_algs=[cipher],
        client=often if who in ("client", "both") else None,
        **cast("dict[str, Any]", often if who in ("server", "both") else {}),
    ) as plane:
        await talk(plane, 3, 500 * KIB)
        assert not plane.conn.is_closed()
    if cipher == GCM:
        assert len({key for key, _ in nonces}) > 6


@pytest.mark.usefixtures("every_loop")
@pytest.mark.time_limit(30)
async def test_a_connection_inside_another_one_is_carried_the_same_way(
    nonces: dict[tuple[bytes, bytes], int],
) -> None:
    """Packets of the inner one are opened while a packet of the outer one is being handled."""
    often = {"rekey_bytes": 300_000}
    async with connected(client=often) as outer, listening(**often) as (port, servers):
        scope = TaskScope("jump host")
        onward = Onward(outer.conn, "jump", scope, outer.wire)
        async with asyncssh.connect(
            LOOPBACK,
            port,
            tunnel=cast("Any", onward),
            known_hosts=None,
            config=None,
            username="me",
            client_keys=None,
            encryption_algs=[GCM],
            **often,
        ) as conn:
            inner = Plane(conn, servers[0], [])
            inner.install()
            await asyncio.gather(talk(inner, 3, 300 * KIB), talk_beside(outer, 300 * KIB))
        await until(lambda: not outer.conn._channels)
        await scope.aclose()
        assert not outer.conn.is_closed()


async def talk_beside(plane: Plane, size: int) -> None:
    """One echo, on a connection that others use as well."""
    speech = random.Random(99).randbytes(size)
    end = Talker(speech)
    channel = await plane.open(end)
    await until(lambda: "eof" in end.told)
    assert bytes(end.data) == speech
    channel.close()
    await until(lambda: "lost" in end.told)


@pytest.mark.usefixtures("every_loop")
async def test_asyncsshs_own_channels_work_beside_ours() -> None:
    """A command or a file transfer on the same connection, as for looking at a remote socket."""
    async with connected() as plane:
        reader, writer = await plane.conn.open_connection("echo", 7)
        speech = random.Random(5).randbytes(200 * KIB)
        writer.write(speech)
        writer.write_eof()
        heard, _ = await asyncio.gather(reader.read(), talk_beside(plane, 200 * KIB))
        assert heard == speech
        writer.close()
        await writer.wait_closed()
        assert not plane.conn.is_closed()


@pytest.mark.time_limit(30)
def test_two_event_loops_in_two_threads_do_not_get_into_each_others_buffers() -> None:
    failures: list[BaseException] = []

    async def talking() -> None:
        async with connected() as plane:
            await talk(plane, 2, 2 * MIB)

    def run() -> None:
        try:
            run_async(talking())
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- cut anywhere ---------------------------------------------------------------------------------


def noise(rng: random.Random, plane: Plane, ours: Held, theirs: Held) -> tuple[bytes, bytes]:
    """Have the server send all sorts of packets; return the data in them for our and for asyncssh's channel."""
    to_ours, to_theirs = bytearray(), bytearray()
    conn = plane.server.conn
    for _ in range(rng.randint(1, 6)):
        data = rng.randbytes(rng.choice([1, 5, 100, 3000, 32 * KIB]))
        kind = rng.randrange(6)
        if kind <= 1:
            ours.chan.write(data)
            to_ours += data
        elif kind == 2:
            theirs.chan.write(data)
            to_theirs += data
        elif kind == 3:
            conn.send_packet(GLOBAL, String("keepalive@openssh.com"), Boolean(False))
        elif kind == 4:
            conn.send_packet(ADJUST, UInt32(ours.chan._send_chan), UInt32(1))
        else:
            conn.send_packet(REQUEST, UInt32(ours.chan._send_chan), String("keepalive"), Boolean(False))
    return bytes(to_ours), bytes(to_theirs)


class Listening(asyncssh.SSHTCPSession[bytes]):
    """A session of asyncssh's."""

    def __init__(self) -> None:
        self.data = bytearray()

    def data_received(self, data: bytes, datatype: Any) -> None:
        self.data += data


async def test_packets_are_the_same_wherever_they_are_cut_and_whomever_they_are_for() -> None:
    async with connected() as plane:
        end, session = RecordingEnd(), Listening()
        _, ours = await plane.hold(end)
        chan, _ = await plane.conn.create_connection(lambda: session, "held", 7)
        theirs = plane.server.held[-1]
        ours.chan._send_window = theirs.chan._send_window = 2**40  # what is granted is not heard meanwhile
        await turns()  # asyncssh delivers only from the next turn on
        expected, expected_theirs = bytearray(), bytearray()

        with Captured(plane.server) as captured:

            @settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
            @given(st.integers(0, 2**32), st.lists(st.floats(0, 1), max_size=8))
            def cut(seed: int, places: list[float]) -> None:
                to_ours, to_theirs = noise(random.Random(seed), plane, ours, theirs)
                expected.extend(to_ours)
                expected_theirs.extend(to_theirs)
                data = captured.take()
                before = 0
                for place in sorted({int(place * len(data)) for place in places} | {len(data)}):
                    feed(plane.wire, data[before:place])
                    before = place
                assert end.data == expected
                assert session.data == expected_theirs
                assert plane.conn._recv_seq == plane.server.conn._send_seq
                assert not plane.wire._rest

            cut()
            data = b""
            for seed in range(20):
                to_ours, to_theirs = noise(random.Random(seed), plane, ours, theirs)
                expected += to_ours
                expected_theirs += to_theirs
                data += captured.take()
            for place in range(20_000):  # one byte at a time
                feed(plane.wire, data[place : place + 1])
            feed(plane.wire, data[20_000:])
            assert end.data == expected
            assert session.data == expected_theirs
        await talk_beside(plane, 10 * KIB)
        chan.close()
        await chan.wait_closed()
        assert not plane.conn.is_closed()


@pytest.mark.parametrize("read", [1, 4, 15, 16, 17, 35, 36, 37, 52, 53, 60, 100, 133])
async def test_what_asyncssh_had_read_of_a_packet_when_the_wire_begins_is_not_lost(read: int) -> None:
    async with connected(wire=False) as plane:
        with Captured(plane.server) as captured:
            for _ in range(3):
                plane.server.conn.send_packet(GLOBAL, String("keepalive@openssh.com"), Boolean(False))
            data = captured.take()
            plane.conn.data_received(data[:read])
            plane.install()
            feed(plane.wire, data[read:-5])
            assert (
                plane.conn._inpbuf == b""
            )  # it was given what it lacked, and not the beginning of another one
            assert plane.wire._between
            feed(plane.wire, data[-5:])
        assert plane.conn._recv_seq == plane.server.conn._send_seq
        await talk_beside(plane, 100 * KIB)
        assert not plane.conn.is_closed()


async def test_data_during_a_key_exchange_that_asyncssh_is_busy_with_is_not_overtaken() -> None:
    """Its handler is a task: what has come behind KEXINIT waits in its buffer, and so must what comes later."""
    async with connected() as plane:
        end = RecordingEnd()
        _, ours = await plane.hold(end)
        with Captured(plane.server) as captured:
            ours.chan.write(b"before ")
            plane.server.conn._send_kexinit()
            plane.server.conn._kexinit_sent = True
            data = captured.take()
            for number in range(0, len(data), 700):  # all at once for the loop
                feed(plane.wire, data[number : number + 700])
            assert plane.conn._recv_handler != plane.conn._recv_pkthdr
            assert end.data == b"before "
        await until(lambda: plane.server.conn._kex_complete)
        ours.chan.write(b"after")
        await until(lambda: end.data == b"before after")
        await talk_beside(plane, 100 * KIB)


@pytest.mark.usefixtures("every_loop")
async def test_in_a_key_exchange_no_data_is_sent() -> None:
    """RFC 4253 section 7.1: sshd ends a connection that does."""
    async with connected() as plane:
        channel, held = await plane.hold(RecordingEnd())
        plane.conn._send_kexinit()
        plane.conn._kexinit_sent = True
        before = plane.conn._send_seq
        channel.write(b"later")
        assert plane.wire.blocked
        assert plane.conn._send_seq == before
        await until(lambda: held.data == b"later")
        assert plane.conn._kex_complete


async def test_an_adjust_in_the_middle_of_a_key_exchange_is_taken() -> None:
    """asyncssh hands it over then."""
    async with connected() as plane:
        channel, held = await plane.hold(RecordingEnd())
        before = channel._out
        with Captured(plane.server) as captured:
            plane.server.conn.send_packet(ADJUST, UInt32(held.chan._send_chan), UInt32(1000))
            plane.wire._between = False
            plane.wire._pass_on(memoryview(captured.take()))
        assert channel._out == before + 1000
        await talk_beside(plane, KIB)


# --- packets that are none ------------------------------------------------------------------------


async def end_by(packet: str, fast: bool) -> str:
    """Send something that is no packet; return how the connection ended."""
    async with connected(wire=fast) as plane:
        with Captured(plane.server) as captured:
            plane.server.conn.send_packet(GLOBAL, String("keepalive@openssh.com"), Boolean(False))
            good = bytearray(captured.take())
            data = bytearray(good)
            if packet == "tag":
                data[-1] ^= 1
            elif packet == "length":
                data[3] ^= 16
                data += bytes(64)
            elif packet == "body":
                data[20] ^= 1
            else:
                data[:4] = UInt32(int(packet))
                data += bytes(1024)
            if fast:
                feed(plane.wire, bytes(data))
            else:
                plane.conn.data_received(bytes(data))
            return repr(await plane.gone())


@pytest.mark.parametrize(
    "packet",
    [
        "tag",
        "length",
        "body",
        "0",
        "1",
        "15",
        str(256 * KIB + 1),
        str(256 * KIB + 16),
        str(2**31),
        str(2**32 - 1),
    ],
)
async def test_what_is_no_packet_ends_the_connection_as_asyncssh_would(packet: str) -> None:
    assert await end_by(packet, fast=True) == await end_by(packet, fast=False)


async def end_by_data(body: bytes, fast: bool) -> str:
    """The server sends data that is not what it says; return how the connection ended."""
    async with connected(wire=fast) as plane:
        if fast:
            _, held = await plane.hold(RecordingEnd())
        else:
            await plane.conn.create_connection(Listening, "held", 7)
            held = plane.server.held[-1]
        plane.server.conn.send_packet(MSG_DATA, UInt32(held.chan._send_chan) + body)
        return type(await plane.gone()).__name__


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0",
        UInt32(5) + b"four",
        UInt32(3) + b"four",
        UInt32(2**32 - 1) + b"x",
        UInt32(2**32 - 20) + b"x" * 40,
    ],
    ids=["no length", "half a length", "too short", "too long", "no end", "around the corner"],
)
async def test_data_that_is_not_as_long_as_it_says_ends_the_connection(body: bytes) -> None:
    assert await end_by_data(body, fast=True) == await end_by_data(body, fast=False) == "ProtocolError"


@pytest.mark.usefixtures("every_loop")
async def test_of_what_every_client_costs_asyncssh_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """That would open each packet twice; a new client took a third more of the processor."""
    read: list[int] = []
    real = asyncssh.SSHClientConnection._finish_recv_packet

    def finish(conn: Any, kind: int, *args: Any, **options: Any) -> None:
        read.append(kind)
        real(conn, kind, *args, **options)

    async with connected() as plane:
        await talk(plane, 1, 10)
        monkeypatch.setattr(asyncssh.SSHClientConnection, "_finish_recv_packet", finish)
        await talk(plane, 1, 10)
        assert set(read) == {IGNORE}  # which an asyncssh that is not ours sends before each packet


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CONFIRMATION, UInt32(1) + UInt32(MIB) + UInt32(32 * KIB)),  # which was never asked for
        (CONFIRMATION, UInt32(1) + UInt32(MIB)),
        (EOF, b"?"),
        (CLOSE, b"?"),
    ],
)
async def test_a_small_packet_that_is_not_as_it_should_be_ends_the_connection(kind: int, body: bytes) -> None:
    async with connected() as plane:
        end = RecordingEnd()
        _, held = await plane.hold(end)
        plane.server.conn.send_packet(kind, UInt32(held.chan._send_chan) + body)
        assert type(await plane.gone()).__name__ == "ProtocolError"
        assert "eof" not in end.told


async def test_an_end_of_file_that_comes_twice_ends_the_connection() -> None:
    async with connected() as plane:
        end = RecordingEnd()
        _, held = await plane.hold(end)
        for _ in range(2):
            plane.server.conn.send_packet(EOF, UInt32(held.chan._send_chan))
        assert type(await plane.gone()).__name__ == "ProtocolError"
        assert end.told.count("eof") == 1


@pytest.mark.parametrize("pad", [10, 11, 15, 255])
async def test_a_packet_whose_padding_is_longer_than_the_packet_is_no_end_of_file(pad: int) -> None:
    async with connected() as plane:
        end = RecordingEnd()
        _, held = await plane.hold(end)
        plain = bytes((pad, EOF)) + UInt32(held.chan._send_chan) + bytes(10)
        sealed = memoryview(bytearray(64))
        size = gcm.Sealer(plane.server.conn._send_encryption).seal(memoryview(plain), 16, sealed, 0)
        plane.server.conn._transport.write(bytes(sealed[:size]))
        if pad == 10:
            await until(lambda: "eof" in end.told)
        else:
            await plane.gone()
            assert "eof" not in end.told


async def test_a_server_that_exceeds_the_window_ends_the_connection() -> None:
    async with connected() as plane:
        end = RecordingEnd()
        channel, held = await plane.hold(end)
        channel.pause_reading()
        held.chan._send_window = 100 * MIB
        held.chan.write(bytes(2 * MIB + 1))
        assert "Window exceeded" in str(await plane.gone())
        assert len(end.data) == 0


async def test_a_packet_for_a_channel_that_never_was_ends_the_connection() -> None:
    async with connected() as plane:
        await plane.hold(RecordingEnd())
        plane.server.conn.send_packet(MSG_DATA, UInt32(4711), String(b"x"))
        assert "4711" in str(await plane.gone())


async def test_a_packet_for_a_channel_that_was_just_closed_is_ignored() -> None:
    async with connected() as plane:
        end = RecordingEnd()
        channel, held = await plane.hold(end)
        number = held.chan._send_chan
        channel.close()
        held.chan.close()
        await until(lambda: "lost" in end.told)
        plane.server.conn.send_packet(MSG_DATA, UInt32(number), String(b"late"))
        await talk_beside(plane, KIB)
        assert not plane.conn.is_closed()


async def test_the_largest_packet_is_taken() -> None:
    async with connected() as plane:
        end = RecordingEnd()
        _, held = await plane.hold(end)
        data = random.Random(1).randbytes(LARGEST_PACKET - 100)
        plane.server.conn.send_packet(MSG_DATA, UInt32(held.chan._send_chan), String(data))
        await until(lambda: end.data == data)


# --- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("cipher", "packets"), [(GCM, 1), ("aes128-ctr", 1), ("aes128-cbc", 2)])
async def test_an_empty_ignore_is_sent_before_a_packet_only_where_it_helps(cipher: str, packets: int) -> None:
    async with connected(encryption_algs=[cipher]) as plane:
        before = plane.conn._send_seq
        plane.conn.send_packet(GLOBAL, String("nothing"), Boolean(False))
        assert plane.conn._send_seq - before == packets
        plane.conn.send_packet(IGNORE, String(b"on purpose"))
        assert plane.conn._send_seq - before == packets + 1
        await talk_beside(plane, KIB)


@pytest.mark.parametrize("largest", [256, 1000, 32 * KIB, 64 * KIB])
@pytest.mark.parametrize("size", [1, 255, 256, 257, 70_000, 600_000])
async def test_data_is_sent_in_packets_of_at_most_what_the_server_takes(largest: int, size: int) -> None:
    async with connected() as plane:
        channel, held = await plane.hold(RecordingEnd())
        arrived: list[int] = []
        held.arrived = arrived.append
        channel._largest = largest
        data = random.Random(size).randbytes(size)
        channel.write(data)
        await until(lambda: len(held.data) == size)
        assert held.data == data
        assert max(arrived) == min(largest, size)
        assert len(arrived) == -(-size // largest)


def block(plane: Plane, channel: ForwardChannel) -> None:
    """Have the server stop reading, and send until the socket takes no more."""
    plane.server.conn._transport.pause_reading()
    while not plane.wire.blocked:
        channel._out = 100 * MIB
        channel.write(bytes(MIB))


@pytest.mark.usefixtures("every_loop")
async def test_on_a_full_socket_channels_wait_and_take_turns() -> None:
    async with connected() as plane:
        small, large = RecordingEnd(), RecordingEnd()
        filling, _ = await plane.hold(RecordingEnd())
        bulk, bulk_held = await plane.hold(large)
        short, short_held = await plane.hold(small)
        block(plane, filling)
        bulk.write(random.Random(1).randbytes(2 * MIB - 1))
        short.write(b"a keystroke")
        assert large.told[-1] == small.told[-1] == "pause"
        assert "channels wait, blocked" in repr(plane.wire)
        seen: list[int] = []
        short_held.arrived = lambda _: seen.append(len(bulk_held.data))
        plane.server.conn._transport.resume_reading()
        await until(lambda: len(bulk_held.data) == 2 * MIB - 1 and short_held.data)
        assert short_held.data == b"a keystroke"
        assert seen[0] <= 2 * wire.QUANTUM  # it had not to wait for the others to have said everything
        assert bulk_held.data == random.Random(1).randbytes(2 * MIB - 1)
        assert large.told[-1] == small.told[-1] == "resume"
        assert not plane.wire.blocked


@pytest.mark.usefixtures("every_loop")
async def test_nothing_overtakes_what_is_queued_when_the_socket_has_room_again() -> None:
    """The transport has not noticed yet."""
    async with connected() as plane:
        channel, _ = await plane.hold(RecordingEnd())
        block(plane, channel)
        file = plane.server.conn._transport.get_extra_info("socket").fileno()
        read = bytearray()
        with contextlib.suppress(BlockingIOError):
            while True:
                read += os.read(file, MIB)
        plane.conn.send_packet(GLOBAL, String("nothing"), Boolean(False))
        plane.server.conn.data_received(bytes(read))
        plane.server.conn._transport.resume_reading()
        await until(lambda: not plane.wire.blocked)
        await talk_beside(plane, 100 * KIB)
        assert not plane.conn.is_closed()


@pytest.mark.usefixtures("every_loop")
async def test_what_asyncssh_had_queued_when_the_wire_begins_is_not_overtaken() -> None:
    async with connected(wire=False) as plane:
        plane.server.conn._transport.pause_reading()
        while plane.conn._transport.get_write_buffer_size() < 200 * KIB:
            plane.conn.send_packet(IGNORE, String(bytes(32 * KIB)))
        plane.install()
        assert plane.wire.blocked
        plane.conn.send_packet(GLOBAL, String("nothing"), Boolean(False))
        plane.server.conn._transport.resume_reading()
        await until(lambda: not plane.wire.blocked)
        await talk_beside(plane, 100 * KIB)
        assert not plane.conn.is_closed()


@pytest.mark.usefixtures("every_loop")
async def test_after_the_loss_nothing_is_written_to_a_descriptor_that_may_be_somebody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected() as plane:
        end = RecordingEnd()
        channel, _ = await plane.hold(end)
        written: list[int] = []

        def write(file: int, data: bytes) -> int:
            written.append(file)
            return os.write(file, data)

        monkeypatch.setattr(outlet, "os", SimpleNamespace(write=write))
        channel.write(b"alive")
        assert written == [plane.wire._outlet.file]
        plane.conn.abort()
        channel.write(b"not any more")
        plane.wire.send_data(0, memoryview(b"x"), 100)
        plane.conn.send_packet(GLOBAL, String("nothing"), Boolean(False))
        await plane.gone()
        await until(lambda: plane.wire._outlet.file == -1)
        plane.wire.send_data(0, memoryview(b"x"), 100)
        plane.conn.send_packet(GLOBAL, String("nothing"), Boolean(False))
        assert len(written) == 1
        assert "lost" in end.told


@pytest.mark.usefixtures("every_loop")
async def test_a_close_that_comes_after_the_end_of_the_connection_is_no_end_of_a_channel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """asyncssh has let its socket go, which still reads until the next turn; and has told nobody yet."""
    async with connected() as plane:
        end = RecordingEnd()
        _, held = await plane.hold(end)
        send: Any = plane.server.conn.send_packet
        monkeypatch.setattr(  # as sshd does
            plane.server.conn,
            "send_packet",
            lambda kind, *args, **more: kind == IGNORE or send(kind, *args, **more),
        )
        with Captured(plane.server) as captured:
            held.chan.write(b"half of it")
            held.chan.abort()
            await turns()
        plane.conn._force_close(asyncssh.ConnectionLost("gone"))
        feed(plane.wire, captured.take())
        assert end.told == ["made"]
        await plane.gone()
        assert isinstance(end.error, asyncssh.ConnectionLost)


@pytest.mark.usefixtures("every_loop")
async def test_a_connection_that_is_cut_in_the_middle_of_everything_ends_every_channel_once() -> None:
    async with connected() as plane:
        ends = [Talker(bytes(5 * MIB)) for _ in range(5)]
        for end in ends:
            await plane.open(end)
        await until(lambda: len(ends[0].data) > 100 * KIB)
        plane.server.conn._transport.abort()
        await plane.gone()
        assert [end.told.count("lost") for end in ends] == [1] * 5
        assert not plane.conn._channels


async def test_a_server_that_asks_and_asks_and_reads_no_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlet, "LARGEST_BACKLOG", 64 * KIB)
    async with connected() as plane:
        channel, held = await plane.hold(RecordingEnd())
        block(plane, channel)
        for _ in range(3000):
            plane.server.conn.send_packet(
                REQUEST, UInt32(held.chan._send_chan), String("keepalive"), Boolean(True)
            )
        assert "does not read" in str(await plane.gone())


async def test_a_server_that_begins_a_key_exchange_and_asks_instead_of_going_on_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "LARGEST_DEFERRED", 100)
    async with connected() as plane:
        _, held = await plane.hold(RecordingEnd())
        plane.conn._send_kexinit()
        plane.server.conn._transport.pause_reading()
        for _ in range(200):
            plane.server.conn.send_packet(
                REQUEST, UInt32(held.chan._send_chan), String("keepalive"), Boolean(True)
            )
        assert "key exchange" in str(await plane.gone())


async def test_backlog_that_was_read_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as plane:
        channel, _ = await plane.hold(RecordingEnd())
        block(plane, channel)
        plane.conn.send_packet(GLOBAL, String("nothing"), Boolean(False))
        assert plane.wire._outlet._backlog > 0
        plane.server.conn._transport.resume_reading()
        await until(lambda: not plane.wire.blocked)
        assert plane.wire._outlet._backlog == 0


# --- keepalives -----------------------------------------------------------------------------------


class Timers:
    """A loop whose time stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.set: list[float] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Any) -> Any:
        self.set.append(delay)
        return SimpleNamespace(cancel=lambda: None)


async def test_a_server_is_asked_for_life_only_when_it_has_been_silent_for_the_interval() -> None:
    async with connected(client={"keepalive_interval": 1000}) as plane:
        timers, asked = Timers(), []
        _, held = await plane.hold(RecordingEnd())
        plane.wire._loop = cast("Any", timers)
        plane.wire._ask_for_life = lambda: asked.append(timers.now)
        with Captured(plane.server) as captured:
            held.chan.write(b"a sign of life")
            feed(plane.wire, captured.take())
        timers.now += 400
        plane.conn._keepalive_timer_callback()
        assert (asked, timers.set) == ([], [600])
        timers.now += 600
        plane.conn._keepalive_timer_callback()
        assert asked == [2000.0]


@pytest.mark.usefixtures("every_loop")
async def test_a_dead_server_is_found_and_one_that_only_sends_is_not_asked() -> None:
    async with connected(client={"keepalive_interval": 0.05, "keepalive_count_max": 2}) as plane:
        await plane.hold(RecordingEnd())
        plane.server.conn._transport.pause_reading()
        began = asyncio.get_running_loop().time()
        exc = await plane.gone()
        assert "keepalive" in str(exc)
        assert asyncio.get_running_loop().time() - began >= 0.05 * 3 - 0.01


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_loop")
async def test_a_server_that_always_has_more_lets_the_clients_have_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with connected() as plane:
        transport = plane.conn._transport
        monkeypatch.setattr(Wire, "_read", lambda _, data, size: size)
        plane.wire.buffer_updated(len(plane.wire.get_buffer(-1)) - 1)
        assert transport.is_reading()
        plane.wire.buffer_updated(len(plane.wire.get_buffer(-1)))
        assert not transport.is_reading()
        await turns()
        assert transport.is_reading()
        monkeypatch.undo()
        await talk(plane, 1, 100)


async def test_the_wire_is_the_protocol_of_the_socket_and_goes_on_reading_while_it_takes_over() -> None:
    async with connected(wire=False) as plane:
        end = RecordingEnd()
        plane.install()
        _, held = await plane.hold(end)
        assert plane.conn._transport.get_protocol() is plane.wire
        assert isinstance(plane.wire, Wire)
        held.chan.write(b"hello")
        await until(lambda: end.data == b"hello")
        await turns()
