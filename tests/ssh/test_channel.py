"""A channel tells its end everything, in order, once; and no server makes it keep more than a window."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import asyncssh
import pytest
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket, String, UInt32

from tests.forwarding.fakes import KIB, MIB, RecordingEnd
from tunnels.forwarding.channel import Channel
from tunnels.ssh.channel import LARGEST_DATA, ForwardChannel
from tunnels.ssh.channel_packets import SMALLEST_DATA
from tunnels.ssh.window import INITIAL, RESERVE, Budget

OPEN, CONFIRMED, REFUSED = 90, 91, 92
ADJUST, DATA, EXTENDED, EOF, CLOSE, REQUEST, SUCCESS, FAILURE = 93, 94, 95, 96, 97, 98, 99, 100

PEER = 7
"""What the server calls the channel."""


class FakeConnection:
    """As much of asyncssh's connection as a channel needs; it writes down what is sent."""

    def __init__(self) -> None:
        self._transport: object = object()
        self.channels: dict[int, Any] = {}
        self.sent: list[tuple[int, bytes]] = []

    def add_channel(self, channel: Any) -> int:
        number = 40 + len(self.channels)
        self.channels[number] = channel
        return number

    def remove_channel(self, number: int) -> None:
        del self.channels[number]

    def send_packet(self, kind: int, *args: bytes) -> None:
        self.sent.append((kind, b"".join(args)))

    def send_channel_open_confirmation(self, peer: int, number: int, window: int, largest: int) -> None:
        self.send_packet(CONFIRMED, UInt32(peer) + UInt32(number) + UInt32(window) + UInt32(largest))

    def send_channel_open_failure(self, peer: int, code: int, reason: str, lang: str) -> None:
        self.send_packet(REFUSED, UInt32(peer) + UInt32(code) + String(reason) + String(lang))

    @property
    def kinds(self) -> list[int]:
        return [kind for kind, _ in self.sent]

    def adjusted(self) -> int:
        """How many bytes more the server was allowed."""
        return sum(int.from_bytes(body[4:], "big") for kind, body in self.sent if kind == ADJUST)


class FakeWire:
    """As much of a wire as a channel needs."""

    def __init__(self, conn: FakeConnection) -> None:
        self.blocked = False
        self.waiting: list[ForwardChannel] = []
        self.data = bytearray()
        self.largest = 0
        self._conn = conn

    def send_data(self, peer: int, data: memoryview, largest: int) -> None:
        assert peer == PEER
        assert not self.blocked
        self.data += data
        self.largest = largest
        self._conn.sent.append((DATA, bytes(data)))

    def wait(self, channel: ForwardChannel) -> None:
        if not channel.queued:
            channel.queued = True
            self.waiting.append(channel)

    def go_on(self, quantum: int = 64 * KIB) -> None:
        """Give every channel that waits now its turn."""
        self.blocked = False
        waiting, self.waiting = self.waiting, []
        for channel in waiting:
            channel.queued = False
            channel.pump(quantum)


class Far:
    """A channel between a recording end and a server that is played by the test."""

    def __init__(self, end: RecordingEnd | None = None) -> None:
        self.conn = FakeConnection()
        self.wire = FakeWire(self.conn)
        self.round_trip: float | None = None
        self.end = end or RecordingEnd()
        self.budget = Budget()
        self.channel = ForwardChannel(self.conn, cast("Any", self.wire), lambda: self.round_trip, self.budget)
        self.answers: list[BaseException | None] = []  #: what became of `begin`

    def begin(self) -> None:
        """Ask the server for the channel."""
        self.channel.open(self.end, self.answers.append, String("direct-tcpip"), b"whereto")

    def confirm(self, *, window: int = INITIAL, largest: int = 32 * KIB, rest: bytes = b"") -> None:
        self.channel.process_open_confirmation(PEER, window, largest, SSHPacket(rest))

    def says(self, data: bytes) -> None:
        assert self.channel.data(memoryview(data))

    def packet(self, kind: int, body: bytes = b"") -> None:
        assert self.channel.process_packet(kind, 0, SSHPacket(body))

    @property
    def forgotten(self) -> bool:
        assert self.budget.windows == len(self.conn.channels)  # or the windows of others would stay small
        return not self.conn.channels


async def opened(*, window: int = INITIAL, largest: int = 32 * KIB, end: RecordingEnd | None = None) -> Far:
    far = Far(end)
    far.begin()
    far.confirm(window=window, largest=largest)
    assert far.answers == [None]
    del far.conn.sent[:]
    return far


def ended(far: Far) -> bool:
    """Whether the opening was told that the connection has ended."""
    (answer,) = far.answers
    return isinstance(answer, asyncssh.ConnectionLost)


# --- opening --------------------------------------------------------------------------------------


async def test_the_server_is_told_the_number_the_window_and_the_largest_packet() -> None:
    far = Far()
    far.begin()
    assert far.conn.sent == [
        (OPEN, String("direct-tcpip") + UInt32(40) + UInt32(INITIAL) + UInt32(LARGEST_DATA) + b"whereto")
    ]
    assert far.end.told == []
    assert far.answers == []
    far.confirm()
    assert far.answers == [None]
    assert far.end.told == ["made"]
    assert far.end.channel is far.channel


async def test_a_refusal_is_an_error_and_nothing_is_left() -> None:
    far = Far()
    far.begin()
    far.channel.process_open_failure(asyncssh.OPEN_CONNECT_FAILED, "Connection refused", "")
    (refusal,) = far.answers
    assert isinstance(refusal, asyncssh.ChannelOpenError)
    assert refusal.reason == "Connection refused"
    assert far.end.told == []
    assert far.forgotten


async def test_a_connection_that_ends_ends_the_opening() -> None:
    far = Far()
    far.begin()
    far.channel.process_connection_close(asyncssh.ConnectionLost("gone"))
    assert ended(far)
    assert far.end.told == []
    assert far.forgotten


async def test_a_confirmation_with_something_behind_it_ends_the_connection_and_the_opening() -> None:
    """And does not leave whoever waits for the channel to wait for ever."""
    far = Far()
    far.begin()
    with pytest.raises(PacketDecodeError):
        far.confirm(rest=b"?")
    far.channel.process_connection_close(asyncssh.ProtocolError("Unexpected data at end of packet"))
    assert ended(far)


async def test_a_server_that_takes_next_to_nothing_in_a_packet_is_not_served() -> None:
    """A read of a client would become a hundred thousand packets, and every other tunnel would wait for them."""
    far = Far()
    far.begin()
    with pytest.raises(asyncssh.ProtocolError, match="too small"):
        far.confirm(largest=SMALLEST_DATA - 1)
    far.channel.process_connection_close(None)
    assert ended(far)


async def test_a_server_that_takes_everything_in_one_packet_is_sent_a_usual_one() -> None:
    far = await opened(largest=0xFFFFFFFF)
    far.channel.write(b"hello")
    assert far.wire.largest == LARGEST_DATA


async def test_an_end_whose_client_has_gone_meanwhile_closes_the_channel_at_once() -> None:
    class Gone(RecordingEnd):
        def connection_made(self, chan: Channel, /) -> None:
            super().connection_made(chan)
            chan.abort()

    far = Far(Gone())
    far.begin()
    far.confirm()
    assert far.answers == [None]
    assert far.conn.kinds == [OPEN, CLOSE]
    far.packet(CLOSE)
    assert far.forgotten


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_confirmation_or_a_refusal_that_nobody_asked_for_ends_the_connection(is_open: bool) -> None:
    far = await opened() if is_open else Far()
    with pytest.raises(asyncssh.ProtocolError, match="not being opened"):
        far.confirm()
    with pytest.raises(asyncssh.ProtocolError, match="not being opened"):
        far.channel.process_open_failure(1, "", "")
    assert not far.forgotten


async def test_before_it_is_open_nothing_may_come() -> None:
    far = Far()
    far.begin()
    assert not far.channel.data(memoryview(b"early"))
    assert not far.channel.window_adjusted(1)
    for kind in (DATA, ADJUST, EXTENDED, EOF, CLOSE, REQUEST):
        with pytest.raises(asyncssh.ProtocolError, match="not open"):
            far.channel.process_packet(kind, 0, SSHPacket(UInt32(0)))
    assert far.end.told == []
    assert far.answers == []
    far.confirm()
    assert far.answers == [None]


async def test_on_a_connection_that_has_ended_no_channel_is_made() -> None:
    class Ended(FakeConnection):
        def add_channel(self, channel: Any) -> int:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "SSH connection closed")

    conn = Ended()
    with pytest.raises(asyncssh.ChannelOpenError):
        ForwardChannel(conn, cast("Any", FakeWire(conn)), lambda: None)


# --- channels that the server opens ---------------------------------------------------------------


async def accept(far: Far, find: Callable[[], RecordingEnd], *, largest: int = 32 * KIB) -> None:
    async def finding() -> RecordingEnd:
        await asyncio.sleep(0)
        return find()

    await far.channel.accept(PEER, INITIAL, largest, finding)


async def test_a_channel_of_the_server_is_coupled_to_whom_it_is_for() -> None:
    far = Far()
    await accept(far, lambda: far.end)
    assert far.conn.sent == [(CONFIRMED, UInt32(PEER) + UInt32(40) + UInt32(INITIAL) + UInt32(LARGEST_DATA))]
    assert far.end.told == ["made"]
    far.channel.write(b"hello")
    assert far.wire.data == b"hello"
    far.says(b"you")
    assert far.end.data == b"you"


async def test_a_channel_of_the_server_that_nobody_takes_is_refused_and_forgotten() -> None:
    def nobody() -> RecordingEnd:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "nobody is at home")

    far = Far()
    await accept(far, nobody)
    assert far.conn.kinds == [REFUSED]
    assert b"nobody is at home" in far.conn.sent[0][1]
    assert far.forgotten


async def test_a_channel_of_the_server_with_tiny_packets_is_refused_before_anybody_is_connected() -> None:
    far = Far()
    await accept(far, lambda: pytest.fail("somebody was connected"), largest=1)
    assert far.conn.kinds == [REFUSED]
    assert far.forgotten


@pytest.mark.parametrize("taken", [False, True])
async def test_a_connection_that_ends_before_the_channel_is_accepted_is_told_to_nobody_else(
    taken: bool,
) -> None:
    far = Far()

    def find() -> RecordingEnd:
        far.conn._transport = None
        far.channel.process_connection_close(None)
        if not taken:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "nobody is at home")
        return far.end

    await accept(far, find)
    assert far.conn.sent == []
    assert far.forgotten
    assert far.end.told == (["lost"] if taken else [])
    assert isinstance(far.end.error, asyncssh.ConnectionLost) is taken


# --- both directions end --------------------------------------------------------------------------


async def test_our_end_of_file_leaves_the_other_direction_open() -> None:
    far = await opened()
    far.channel.write(b"question")
    far.channel.write_eof()
    far.channel.write_eof()
    assert far.conn.kinds == [DATA, EOF]
    far.says(b"answer")
    far.packet(EOF)
    assert far.end.data == b"answer"
    assert far.end.told[-1] == "eof"
    with pytest.raises(BrokenPipeError):
        far.channel.write(b"more")


async def test_the_servers_end_of_file_leaves_ours_open() -> None:
    far = await opened()
    far.packet(EOF)
    assert far.end.told[-1] == "eof"
    far.channel.write(b"still here")
    assert far.wire.data == b"still here"
    assert CLOSE not in far.conn.kinds


async def test_when_both_have_closed_it_is_gone_and_said_so_once() -> None:
    far = await opened()
    far.channel.close()
    assert far.conn.kinds == [CLOSE]
    assert "lost" not in far.end.told
    far.packet(CLOSE)
    assert far.end.told.count("lost") == 1
    assert far.end.error is None
    assert far.forgotten
    far.channel.close()
    far.channel.abort()
    far.channel.resume_reading()
    far.channel.write_eof()
    far.channel.process_connection_close(asyncssh.ConnectionLost("gone"))
    assert far.end.told.count("lost") == 1
    assert far.conn.kinds == [CLOSE]


async def test_a_close_of_the_server_is_answered_and_is_the_end() -> None:
    far = await opened()
    far.packet(EOF)
    far.packet(CLOSE)
    assert far.conn.kinds == [CLOSE]
    assert far.end.told[-2:] == ["eof", "lost"]
    assert far.forgotten
    with pytest.raises(BrokenPipeError):
        far.channel.write(b"more")


@pytest.mark.parametrize("kind", [DATA, EOF, CLOSE, ADJUST, REQUEST, EXTENDED, SUCCESS])
async def test_what_comes_after_the_servers_close_is_ignored(kind: int) -> None:
    far = await opened()
    far.channel.pause_reading()
    far.says(b"kept")
    far.packet(CLOSE)
    del far.conn.sent[:]
    far.packet(kind, UInt32(1))
    assert not far.channel.data(memoryview(b"late"))
    assert far.conn.sent == []
    far.channel.resume_reading()
    assert far.end.data == b"kept"
    assert far.end.told[-1] == "lost"


async def test_what_was_kept_for_a_slow_reader_comes_before_the_end_that_came_with_it() -> None:
    far = await opened()
    far.channel.pause_reading()
    far.says(b"first ")
    far.says(b"second")
    far.packet(EOF)
    far.packet(CLOSE)
    assert far.conn.kinds == [CLOSE]  # the server need not wait for our reader
    assert far.end.told == ["made"]
    assert not far.forgotten
    far.channel.resume_reading()
    assert far.end.data == b"first second"
    assert far.end.told == ["made", "data", "eof", "lost"]
    assert far.forgotten


async def test_an_end_that_pauses_in_the_middle_is_told_the_rest_later() -> None:
    class Slow(RecordingEnd):
        def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
            super().data_received(data, datatype)
            assert self.channel is not None
            self.channel.pause_reading()

    far = await opened(end=Slow())
    big = bytes(64 * KIB)
    for _ in range(3):
        far.says(big)
    far.packet(EOF)
    seen = [len(far.end.data)]
    for _ in range(3):
        far.channel.resume_reading()
        seen.append(len(far.end.data))
    assert seen == [len(big), 2 * len(big), 3 * len(big), 3 * len(big)]
    assert far.end.told[-1] == "eof"


@pytest.mark.parametrize("way", ["close", "abort"])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("closed", [False, True])
async def test_an_end_that_hangs_up_while_it_is_told_something_is_told_nothing_more(
    way: str, kept: bool, closed: bool
) -> None:
    class Leaving(RecordingEnd):
        def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
            super().data_received(data, datatype)
            getattr(self.channel, way)()

    far = await opened(end=Leaving())
    if kept:
        far.channel.pause_reading()
    for _ in range(3):
        far.says(bytes(64 * KIB))
    if closed:
        far.packet(EOF)
        far.packet(CLOSE)
    far.channel.resume_reading()
    if not closed:
        far.packet(EOF)
        far.packet(CLOSE)
    assert far.end.told == ["made", "data", "lost"]
    assert len(far.end.data) == 64 * KIB
    assert far.conn.kinds.count(CLOSE) == 1
    assert far.forgotten


async def test_an_end_that_hangs_up_at_the_end_of_file_is_gone_once() -> None:
    class Polite(RecordingEnd):
        def eof_received(self) -> bool:
            assert self.channel is not None
            self.channel.close()
            return super().eof_received()

    far = await opened(end=Polite())
    far.channel.pause_reading()
    far.packet(EOF)
    far.packet(CLOSE)
    far.channel.resume_reading()
    assert far.end.told[-2:] == ["lost", "eof"] or far.end.told[-2:] == ["eof", "lost"]
    assert far.end.told.count("lost") == 1
    assert far.forgotten


async def test_a_close_waits_for_what_is_pending_and_an_abort_does_not() -> None:
    for way, data in (("close", b"last words"), ("abort", b"")):
        far = await opened()
        far.wire.blocked = True
        far.channel.write(b"last words")
        getattr(far.channel, way)()
        assert (CLOSE in far.conn.kinds) is (way == "abort")
        far.wire.go_on()
        assert far.wire.data == data
        assert far.conn.kinds[-1] == CLOSE


async def test_pending_bytes_of_a_channel_that_the_server_closes_are_dropped() -> None:
    far = await opened()
    far.wire.blocked = True
    far.channel.write(b"nobody wants it")
    far.packet(CLOSE)
    far.wire.go_on()
    assert far.wire.data == b""
    assert far.conn.kinds == [CLOSE]
    assert far.end.told[-1] == "lost"


@pytest.mark.parametrize(
    "state", ["open", "paused", "eof sent", "eof got", "closing", "closed by the server", "pending", "gone"]
)
async def test_a_connection_that_ends_ends_a_channel_in_whatever_state(state: str) -> None:
    far = await opened()
    channel = far.channel
    if state in ("paused", "closed by the server"):
        channel.pause_reading()
        far.says(b"kept")
    if state == "eof sent":
        channel.write_eof()
    if state == "eof got":
        far.packet(EOF)
    if state == "pending":
        far.wire.blocked = True
        channel.write(b"never sent")
    if state in ("closing", "gone"):
        channel.close()
    if state in ("closed by the server", "gone"):
        far.packet(CLOSE)
    del far.conn.sent[:]
    gone = asyncssh.ConnectionLost("gone")
    channel.process_connection_close(gone)
    assert far.end.told.count("lost") == 1
    assert far.end.error is (None if state == "gone" else gone)
    assert far.forgotten
    far.wire.go_on()
    channel.resume_reading()
    with pytest.raises(BrokenPipeError):
        channel.write(b"more")
    assert far.conn.sent == []


# --- our window -----------------------------------------------------------------------------------


async def test_a_reader_that_does_not_read_costs_one_window() -> None:
    far = await opened()
    far.channel.pause_reading()
    for _ in range(INITIAL // (32 * KIB)):
        far.says(bytes(32 * KIB))
    assert not far.channel.data(memoryview(b"x"))
    assert far.channel.kept == INITIAL
    assert far.conn.sent == []


async def test_a_server_that_exceeds_the_window_is_told_so_and_ended() -> None:
    far = await opened()
    far.channel.pause_reading()
    far.says(bytes(INITIAL))
    with pytest.raises(asyncssh.ProtocolError, match="exceeded"):
        far.channel.process_packet(DATA, 0, SSHPacket(String(b"x")))
    assert far.channel.kept == INITIAL


async def test_a_flood_of_nothing_costs_nothing() -> None:
    """No window ends it."""
    far = await opened()
    far.channel.pause_reading()
    for _ in range(1000):
        far.says(b"")
    assert not far.channel._kept


async def test_bytes_one_by_one_cost_no_more_than_bytes_together() -> None:
    far = await opened()
    far.channel.pause_reading()
    for _ in range(10_000):
        far.says(b"x")
    assert far.channel._kept is not None
    assert len(far.channel._kept._pieces) == 1


async def test_the_window_is_opened_again_for_what_was_read() -> None:
    far = await opened()
    for _ in range(3 * INITIAL // (32 * KIB)):
        far.says(bytes(32 * KIB))
    assert far.conn.adjusted() >= 2 * INITIAL
    assert all(body[:4] == UInt32(PEER) for kind, body in far.conn.sent if kind == ADJUST)


async def test_after_a_pause_the_window_is_opened_for_what_was_taken_and_not_for_what_is_kept() -> None:
    far = await opened()
    far.channel.pause_reading()
    far.says(bytes(INITIAL))
    assert far.conn.adjusted() == 0
    far.channel.resume_reading()
    assert far.conn.adjusted() == INITIAL


async def test_an_end_that_stops_while_it_is_told_something_has_its_window_opened_when_it_goes_on() -> None:
    class Slow(RecordingEnd):
        def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
            super().data_received(data, datatype)
            assert self.channel is not None
            self.channel.pause_reading()

    far = await opened(end=Slow())
    far.says(bytes(INITIAL // 2))
    assert far.conn.adjusted() == 0
    far.channel.resume_reading()
    assert far.conn.adjusted() == INITIAL // 2


async def test_an_end_is_told_the_next_thing_when_it_is_done_with_the_last() -> None:
    """Also one that stops and goes on in the same moment."""

    class Hasty(RecordingEnd):
        busy = False

        def data_received(self, data: bytes | memoryview, datatype: int | None, /) -> None:
            assert not self.busy
            self.busy = True
            super().data_received(data, datatype)
            assert self.channel is not None
            self.channel.pause_reading()
            self.channel.resume_reading()
            self.busy = False

    far = await opened(end=Hasty())
    far.channel.pause_reading()
    for _ in range(10):
        far.says(bytes(64 * KIB))
    far.channel.resume_reading()
    assert len(far.end.data) == 640 * KIB


async def test_a_window_grows_while_it_is_in_the_way() -> None:
    far = await opened()
    far.round_trip = 3600.0
    far.says(bytes(INITIAL // 2))
    assert far.conn.adjusted() == INITIAL // 2 + INITIAL


async def test_what_a_window_has_grown_by_is_for_others_when_the_channel_has_ended() -> None:
    far = await opened()
    far.round_trip = 3600.0
    far.says(bytes(INITIAL // 2))
    assert far.budget.reserve == RESERVE - INITIAL
    far.channel.close()
    far.packet(CLOSE)
    assert far.forgotten
    assert far.budget.reserve == RESERVE


async def test_who_has_closed_or_heard_the_end_opens_no_window() -> None:
    far = await opened()
    far.channel.pause_reading()
    far.says(bytes(INITIAL))
    far.packet(EOF)
    far.channel.resume_reading()
    assert far.conn.adjusted() == 0
    far = await opened()
    far.channel.close()
    far.says(bytes(INITIAL))
    assert far.conn.adjusted() == 0
    assert far.end.data == b""


# --- the server's window --------------------------------------------------------------------------


async def test_what_the_server_does_not_take_yet_waits_and_its_end_is_told_to() -> None:
    far = await opened(window=10)
    far.channel.write(b"0123456789abcdef")
    assert far.wire.data == b"0123456789"
    assert far.end.told[-1] == "pause"
    assert far.wire.waiting == []  # it is not the wire that it waits for
    far.channel.write_eof()
    far.packet(ADJUST, UInt32(4))
    assert far.wire.data == b"0123456789abcd"
    assert far.end.told[-1] == "pause"
    far.packet(ADJUST, UInt32(4))
    assert far.wire.data == b"0123456789abcdef"
    assert far.end.told[-1] == "resume"
    assert far.conn.kinds[-1] == EOF


async def test_a_window_of_nothing_is_a_wait() -> None:
    far = await opened(window=0)
    far.channel.write(b"hello")
    far.channel.write(b" you")
    assert far.wire.data == b""
    assert far.end.told.count("pause") == 1
    far.packet(ADJUST, UInt32(0))
    assert far.wire.data == b""
    far.packet(ADJUST, UInt32(100))
    assert far.wire.data == b"hello you"


async def test_a_window_beyond_all_numbers_ends_the_connection() -> None:
    far = await opened(window=0xFFFFFFFF)
    assert not far.channel.window_adjusted(1)
    with pytest.raises(asyncssh.ProtocolError, match="too large"):
        far.packet(ADJUST, UInt32(1))
    far.channel.write(b"x")
    assert far.channel.window_adjusted(1)


async def test_on_a_blocked_wire_a_channel_waits_for_its_turn() -> None:
    far = await opened()
    far.wire.blocked = True
    far.channel.write(bytes(100 * KIB))
    far.channel.write(b"behind")
    assert far.wire.waiting == [far.channel]
    assert far.end.told.count("pause") == 1
    far.wire.go_on(64 * KIB)
    assert len(far.wire.data) == 64 * KIB
    assert "resume" not in far.end.told
    far.wire.go_on(64 * KIB)
    assert far.wire.data == bytes(100 * KIB) + b"behind"
    assert far.end.told[-1] == "resume"
    assert far.wire.waiting == []


async def test_a_window_that_opens_while_the_wire_is_blocked_is_used_later() -> None:
    far = await opened(window=0)
    far.channel.write(b"hello")
    far.wire.blocked = True
    far.packet(ADJUST, UInt32(100))
    far.packet(ADJUST, UInt32(100))
    assert far.wire.waiting == [far.channel]
    far.wire.go_on()
    assert far.wire.data == b"hello"


async def test_an_end_that_writes_as_soon_as_it_may_writes_in_order() -> None:
    class Eager(RecordingEnd):
        def resume_writing(self) -> None:
            super().resume_writing()
            if self.told.count("resume") < 1000:
                assert self.channel is not None
                self.channel.write(b"more")

    far = await opened(window=5, end=Eager())
    far.channel.write(b"first ")
    for _ in range(1200):
        far.packet(ADJUST, UInt32(4))
    assert far.wire.data.startswith(b"first moremoremore")
    assert far.end.told.count("resume") == 1000


# --- everything else ------------------------------------------------------------------------------


async def test_a_request_gets_an_answer_where_one_is_wanted() -> None:
    far = await opened()
    far.packet(REQUEST, String("keepalive@openssh.com") + Boolean(True))
    far.packet(REQUEST, String("eow@openssh.com") + Boolean(False))
    assert far.conn.sent == [(FAILURE, UInt32(PEER))]
    far.channel.close()
    far.packet(REQUEST, String("keepalive@openssh.com") + Boolean(True))
    assert far.conn.kinds == [FAILURE, CLOSE]  # nothing comes after a close (RFC 4254 section 5.3)


@pytest.mark.parametrize(
    ("kind", "body"), [(SUCCESS, b""), (FAILURE, b""), (EXTENDED, UInt32(1) + String(b"x"))]
)
async def test_what_belongs_to_no_forward_ends_the_connection(kind: int, body: bytes) -> None:
    far = await opened()
    with pytest.raises(asyncssh.ProtocolError):
        far.packet(kind, body)


async def test_data_or_another_end_after_an_end_of_file_ends_the_connection() -> None:
    far = await opened()
    far.packet(EOF)
    assert not far.channel.data(memoryview(b"more"))
    with pytest.raises(asyncssh.ProtocolError):
        far.packet(DATA, String(b"more"))
    with pytest.raises(asyncssh.ProtocolError):
        far.packet(EOF)
    assert far.end.told.count("eof") == 1
    assert far.end.data == b""


async def test_packets_that_asyncssh_hands_over_are_the_same_as_those_of_the_wire() -> None:
    """During a key exchange, all of them come this way."""
    far = await opened(window=1)
    far.packet(DATA, String(b"hello"))
    assert far.end.data == b"hello"
    far.channel.write(b"you")
    far.packet(ADJUST, UInt32(MIB))
    assert far.wire.data == b"you"
    far.channel.log_received_packet(DATA, 0, b"")


async def test_it_says_which_it_is() -> None:
    far = await opened()
    assert repr(far.channel) == "<ForwardChannel 40 to 7>"
    assert ForwardChannel.carries
