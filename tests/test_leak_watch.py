"""A question that leaves this machine is seen; one to the proxy itself is none."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from tunnels import leak_watch
from tunnels.core.proxy_address import ProxyAddress
from tunnels.leak_watch import DatagramCounter, PacketWatch, open_watch

PROXY = ProxyAddress("127.0.0.1", 1080)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")
as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="looking at packets takes root on Linux"
)


def send(data: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, ("127.0.0.1", 9))


@pytest.fixture
def packets() -> Iterator[PacketWatch]:
    with contextlib.closing(PacketWatch(PROXY)) as watch:
        watch.begin()
        yield watch


@as_root
def test_a_name_in_a_packet_is_seen_however_it_is_spelt(packets: PacketWatch) -> None:
    assert packets.saw("leaktest-abcdef") is False
    send(b"\x0fLeakTest-abCDef\x07example\x03com\x00")
    assert packets.saw("leaktest-abcdef") is True
    assert packets.saw("leaktest-abcdef") is False, "it was seen"


@as_root
def test_what_came_before_the_question_does_not_count(packets: PacketWatch) -> None:
    send(b"leaktest-abcdef")
    packets.begin()
    assert packets.saw("leaktest-abcdef") is False


@as_root
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize(
    ("kind", "port", "is_question"),
    [
        (socket.SOCK_DGRAM, 53, True),
        (socket.SOCK_DGRAM, 5353, True),
        (socket.SOCK_STREAM, 53, True),
        (socket.SOCK_STREAM, 1080, False),  # our own request to the proxy has the name in it
    ],
)
def test_what_can_ask_for_a_name_passes_the_filter_and_nothing_else(
    family: int, kind: int, port: int, is_question: bool
) -> None:
    ports = struct.pack("!HH", 40000, port)
    back = struct.pack("!HH", port, 40000)
    number = socket.IPPROTO_UDP if kind == socket.SOCK_DGRAM else socket.IPPROTO_TCP
    for each in (ports, back):
        if family == socket.AF_INET:  # with an option, so that the header has 24 bytes
            packet = bytes([0x46, *bytes(8), number, *bytes(14)]) + each
        else:
            packet = bytes([0x60, *bytes(5), number, *bytes(33)]) + each
        assert passes(packet) is is_question


def passes(packet: bytes) -> bool:
    """Do what the kernel does with the filter."""
    accumulator = header = at = 0
    while True:
        operation, if_true, if_false, value = leak_watch._QUESTIONS[at]
        at += 1
        match operation:
            case leak_watch._LOAD_BYTE:
                accumulator = packet[value]
            case leak_watch._LOAD_HALF:
                accumulator = int.from_bytes(packet[value : value + 2], "big")
            case leak_watch._LOAD_HALF_BEHIND:
                accumulator = int.from_bytes(packet[header + value : header + value + 2], "big")
            case leak_watch._HEADER_LENGTH:
                header = 4 * (packet[value] & 0x0F)
            case leak_watch._SHIFT_RIGHT:
                accumulator >>= value
            case leak_watch._IF_EQUAL:
                at += if_true if accumulator == value else if_false
            case leak_watch._RETURN:
                return bool(value)


@as_root
def test_a_connection_to_the_proxy_is_none_of_its_business(packets: PacketWatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            client.sendall(b"leaktest-abcdef")
            server.accept()[0].close()
        assert packets.saw("leaktest-abcdef") is False


@as_root
def test_where_packets_were_missed_nothing_is_claimed(packets: PacketWatch) -> None:
    packets._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    for _ in range(200):
        send(b"x" * 1000)
    assert packets.saw("leaktest-abcdef") is None


@on_linux
def test_any_datagram_of_anybody_makes_the_counter_unsure() -> None:
    watch = DatagramCounter(PROXY)
    watch.begin()
    send(b"anything")
    assert watch.saw("leaktest-abcdef") is None


@on_linux
def test_no_datagram_is_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatagramCounter, "_sent", staticmethod(lambda: 7))
    assert DatagramCounter(PROXY).saw("leaktest-abcdef") is False


def test_a_watch_that_does_not_see_our_own_packet_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Blind(DatagramCounter):
        def saw(self, word: str) -> bool | None:
            return False

    def no_privilege(proxy: ProxyAddress) -> PacketWatch:
        raise PermissionError

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(DatagramCounter, "_sent", staticmethod(iter(range(9)).__next__))
    monkeypatch.setattr(leak_watch, "PacketWatch", no_privilege)
    assert isinstance(open_watch(PROXY), DatagramCounter)
    monkeypatch.setattr(leak_watch, "DatagramCounter", Blind)
    assert open_watch(PROXY) is None
    monkeypatch.setattr(sys, "platform", "darwin")
    assert open_watch(PROXY) is None


@as_root
def test_root_sees_the_packets_themselves() -> None:
    watch = open_watch(PROXY)
    assert isinstance(watch, PacketWatch)
    watch.close()
