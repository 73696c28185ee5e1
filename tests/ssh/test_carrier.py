"""A channel on a jump host is a transport for the connection that goes through it, from its first byte to its last."""

from __future__ import annotations

from typing import Any

from tests.forwarding.fakes import FakeChannel
from tunnels.forwarding.channel import ChannelEnd
from tunnels.ssh.carrier import Carrier


class Connection:
    """What asyncssh has of the connection inside: writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def connection_made(self, transport: Any) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> None:
        self.told.append("eof")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append(("lost", exc))


def carried() -> tuple[Carrier, FakeChannel, Connection]:
    inside = Connection()
    carrier = Carrier(lambda: inside)
    end: ChannelEnd = carrier  # it has the shape of one
    channel = FakeChannel(end)
    channel.open()
    return carrier, channel, inside


def test_the_connection_begins_when_the_channel_is_open() -> None:
    made: list[Connection] = []

    def make() -> Connection:
        made.append(Connection())
        return made[-1]

    carrier = Carrier(make)
    assert made == []
    FakeChannel(carrier).open()
    assert carrier.protocol is made[0]
    assert made[0].told == ["made"]


def test_bytes_go_both_ways() -> None:
    carrier, channel, inside = carried()
    carrier.write(b"SSH-2.0-us")
    assert channel.written == b"SSH-2.0-us"
    channel.deliver(b"SSH-2.0-them")
    assert inside.told == ["made", b"SSH-2.0-them"]


def test_what_it_hands_on_is_a_copy() -> None:
    """Where the bytes of the outer packet are, those of the inner one will be opened."""
    carrier, _, inside = carried()
    buffer = bytearray(b"outer")
    carrier.data_received(memoryview(buffer), None)
    buffer[:] = b"inner"
    assert inside.told[-1] == b"outer"
    assert type(inside.told[-1]) is bytes


def test_a_full_jump_host_stops_the_connection_inside() -> None:
    carrier, _, inside = carried()
    carrier.pause_writing()
    carrier.resume_writing()
    assert inside.told == ["made", "pause", "resume"]


def test_an_end_of_file_is_handed_on_and_closes_both_halves() -> None:
    carrier, _, inside = carried()
    assert carrier.eof_received() is False
    assert inside.told[-1] == "eof"


def test_the_loss_of_the_channel_is_the_loss_of_the_connection() -> None:
    carrier, channel, inside = carried()
    closed: list[bool] = []
    carrier.on_closed = lambda: closed.append(True)
    error = ConnectionResetError()
    channel.lose(error)
    assert inside.told[-1] == ("lost", error)
    assert closed == [True]
    assert carrier.is_closing()
    carrier.write(b"too late")
    carrier.close()
    carrier.abort()
    assert channel.written == b""
    assert channel.ended is None


def test_closing_and_aborting_end_the_channel_once() -> None:
    for way in ("close", "abort"):
        carrier, channel, _ = carried()
        getattr(carrier, way)()
        assert channel.ended == way
        assert carrier.is_closing()
        carrier.write(b"too late")
        carrier.abort()
        assert channel.written == b""
        assert channel.ended == way


def test_a_channel_that_takes_no_more_is_no_error() -> None:
    carrier, channel, _ = carried()
    channel.breaks = BrokenPipeError()
    carrier.write(b"too late")
    assert not carrier.is_closing()


def test_it_answers_what_asyncssh_asks_a_transport() -> None:
    carrier, _, _ = carried()
    assert carrier.get_extra_info("socket") is None
    assert carrier.get_extra_info("peername") == ("", 0)
    assert carrier.get_extra_info("sockname", "?") == "?"
    assert carrier.get_write_buffer_size() == 0
    carrier.set_write_buffer_limits(high=0, low=0)
    carrier.link_paused()
    carrier.link_resumed()
    carrier.link_lost()


def test_who_comes_later_is_told_that_the_jump_host_takes_no_more() -> None:
    carrier, _, _ = carried()
    carrier.pause_writing()
    assert carrier.get_write_buffer_size() > 0
    carrier.resume_writing()
    assert carrier.get_write_buffer_size() == 0
