"""Connections of one thread share their buffers, those of two threads do not; padding is never used twice."""

from __future__ import annotations

import threading

from tunnels.ssh.buffers import LARGEST_PACKET, READ, WRITE, Noise, buffers
from tunnels.ssh.gcm import OVERHEAD


def test_each_thread_has_its_own() -> None:
    others: list[memoryview] = []

    def look() -> None:
        others.extend((buffers.incoming, buffers.opened, buffers.plain, buffers.sealed))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    mine = (buffers.incoming, buffers.opened, buffers.plain, buffers.sealed)
    assert {id(view.obj) for view in mine}.isdisjoint(id(view.obj) for view in others)
    assert buffers.incoming is mine[0]


def test_there_is_room_for_the_largest_packet_wherever_it_is() -> None:
    assert len(buffers.incoming) == READ >= 4 + LARGEST_PACKET + OVERHEAD + 64 * 1024
    assert len(buffers.opened) >= LARGEST_PACKET
    assert len(buffers.sealed) >= max(WRITE, LARGEST_PACKET) + OVERHEAD


def test_no_byte_of_the_noise_is_given_twice() -> None:
    noise = Noise()
    taken = [noise.take(size) for size in (4, 19, 255, 1) * 100]
    assert [len(piece) for piece in taken] == [4, 19, 255, 1] * 100
    longer = [piece for piece in taken if len(piece) > 8]
    assert len(set(longer)) == len(longer)
