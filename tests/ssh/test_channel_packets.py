"""A packet of a channel is read to its last byte, or not at all."""

from __future__ import annotations

import asyncssh
import pytest
from asyncssh.packet import Boolean, PacketDecodeError, SSHPacket, String, UInt32

from tunnels.ssh.channel_packets import carry, hand_over

CONFIRMATION, ADJUST, DATA, EXTENDED, EOF, CLOSE, REQUEST, SUCCESS, FAILURE = (
    91,
    93,
    94,
    95,
    96,
    97,
    98,
    99,
    100,
)


class Recording:
    """Writes down what it is given."""

    def __init__(self, *, well: bool = True) -> None:
        self.given: list[object] = []
        self._well = well

    def data(self, data: bytes | memoryview, /) -> bool:
        self.given.append(bytes(data))
        return self._well

    def window_adjusted(self, more: int, /) -> bool:
        self.given.append(more)
        return self._well

    def confirmed(self, peer: int, window: int, largest: int, /) -> bool:
        self.given.append((peer, window, largest))
        return self._well

    def eof_came(self) -> bool:
        self.given.append("eof")
        return self._well

    def close_came(self) -> bool:
        self.given.append("close")
        return self._well

    def request_came(self, *, wants_answer: bool) -> None:
        self.given.append(("request", wants_answer))


GOOD = [
    (DATA, String(b"hello"), b"hello"),
    (DATA, String(b""), b""),
    (ADJUST, UInt32(2**32 - 1), 2**32 - 1),
    (EOF, b"", "eof"),
    (CLOSE, b"", "close"),
    (REQUEST, String("keepalive@openssh.com") + Boolean(True), ("request", True)),
    (REQUEST, String("exit-status") + Boolean(False) + UInt32(1), ("request", False)),
]


@pytest.mark.parametrize(("kind", "body", "given"), GOOD)
def test_a_packet_is_given_to_its_channel(kind: int, body: bytes, given: object) -> None:
    channel = Recording()
    hand_over(kind, SSHPacket(body), channel)
    assert channel.given == [given]


@pytest.mark.parametrize(("kind", "body", "given"), [row for row in GOOD if row[0] != REQUEST])
def test_a_packet_with_something_behind_it_is_none(kind: int, body: bytes, given: object) -> None:
    channel = Recording()
    with pytest.raises(PacketDecodeError):
        hand_over(kind, SSHPacket(body + b"?"), channel)
    assert channel.given == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (DATA, b""),
        (DATA, UInt32(6) + b"hello"),
        (ADJUST, b"\0\0\0"),
        (REQUEST, b""),
        (REQUEST, String("name")),
    ],
)
def test_a_packet_that_is_too_short_is_none(kind: int, body: bytes) -> None:
    channel = Recording()
    with pytest.raises(PacketDecodeError):
        hand_over(kind, SSHPacket(body), channel)
    assert channel.given == []


@pytest.mark.parametrize(("kind", "body"), [(DATA, String(b"x")), (ADJUST, UInt32(1)), (EOF, b"")])
def test_what_the_channel_finds_wrong_is_against_the_protocol(kind: int, body: bytes) -> None:
    with pytest.raises(asyncssh.ProtocolError):
        hand_over(kind, SSHPacket(body), Recording(well=False))


@pytest.mark.parametrize("kind", [EXTENDED, SUCCESS, FAILURE])
def test_what_belongs_to_no_forward_is_against_the_protocol(kind: int) -> None:
    with pytest.raises(asyncssh.ProtocolError):
        hand_over(kind, SSHPacket(UInt32(1) + String(b"x")), Recording())


SMALL = [
    (CONFIRMATION, UInt32(7) + UInt32(2**32 - 1) + UInt32(32768), (7, 2**32 - 1, 32768)),
    (EOF, b"", "eof"),
    (CLOSE, b"", "close"),
]


@pytest.mark.parametrize(("kind", "body", "given"), SMALL)
def test_what_every_client_costs_is_taken_where_it_comes(kind: int, body: bytes, given: object) -> None:
    channel = Recording()
    assert carry(kind, memoryview(body), channel)
    assert channel.given == [given]
    assert not carry(kind, memoryview(body), Recording(well=False))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        *((kind, body + b"?") for kind, body, _ in SMALL),
        (CONFIRMATION, UInt32(7) + UInt32(1)),
        (CONFIRMATION, b""),
        *((kind, body) for kind, body, _ in GOOD if kind not in (EOF, CLOSE)),
        *((kind, UInt32(1)) for kind in (EXTENDED, SUCCESS, FAILURE, 90, 92)),
    ],
)
def test_what_is_seldom_or_not_as_long_as_it_should_be_is_left_to_asyncssh(kind: int, body: bytes) -> None:
    channel = Recording()
    assert not carry(kind, memoryview(body), channel)
    assert channel.given == []
