"""The load measures what arrives, and notices what does not."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.contestants import Load
from bench.load import near
from bench.load.bulk import Meter, Wish
from tests.e2e.bed.clients import talk_over


@contextmanager
def between(port: int, change: Callable[[bytes], bytes]) -> Iterator[int]:
    """Have a port in front of another one that changes what comes back from it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def carry(source: socket.socket, sink: socket.socket, via: Callable[[bytes], bytes]) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(via(data))
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                with client, socket.create_connection(("127.0.0.1", port)) as server:
                    back = threading.Thread(target=carry, args=(server, client, change))
                    back.start()
                    carry(client, server, lambda data: data)
                    back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_bytes_are_measured_from_the_first_to_the_last() -> None:
    meter = Meter(Wish("down", 300))
    for count, now in ((100, 5.0), (150, 6.0), (50, 7.5)):
        meter.take(count, now)
    assert meter.result() == {"bytes": 300, "seconds": 2.5, "all": 300}


@pytest.mark.parametrize("arrived", [299, 301])
def test_a_byte_too_few_or_too_many_is_no_measurement(arrived: int) -> None:
    meter = Meter(Wish("down", 300))
    meter.take(arrived, 1.0)
    with pytest.raises(AssertionError, match=f"{arrived} of 300 bytes"):
        meter.result()


def test_a_time_is_measured_after_the_warm_up_and_not_longer() -> None:
    meter = Meter(Wish("down", 0, warm=1.0, seconds=2.0, start=5.0))
    for now in (5.0, 5.9, 6.0, 7.0, 8.0, 8.1):
        meter.take(10, now)
    assert meter.result() == {"bytes": 30, "seconds": 2.0, "all": 60}


def test_both_directions_are_measured_by_who_receives() -> None:
    with Load() as load:
        for way in ("down", "up"):
            by_amount, by_time = Wish(way, 3_000_001), Wish(way, 0, 0.0, 0.05)
            measured = load.send("bulk", ports=[load.ports.bulk] * 3, wish=by_amount)
            assert [one["bytes"] for one in measured] == [3_000_001] * 3
            (measured,) = load.send("bulk", ports=[load.ports.bulk], wish=by_time)
            assert measured["bytes"] > 0
            assert measured["seconds"] == 0.05


def test_a_changed_byte_is_noticed() -> None:
    def flip(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if len(data) > 1000 else data

    with Load() as load:
        assert load.send("verify", port=load.ports.bulk, total=1_500_000)
        with between(load.ports.bulk, lambda data: data) as honest:
            assert near.verify(honest, 1_500_000)
        with between(load.ports.bulk, flip) as dishonest:
            assert not near.verify(dishonest, 1_500_000)


def test_the_services_end_with_whoever_has_started_them() -> None:
    load = Load()
    with socket.create_connection(("127.0.0.1", load.ports.echo)) as connection:
        assert talk_over(connection, b"hello").data == b"hello"
    load.close()
    for port in load.ports:
        with pytest.raises(ConnectionRefusedError):
            near.dial(port)


def test_a_wish_is_one_line_that_comes_back_the_same() -> None:
    wish = Wish("up", 5, 1.5, 2.5)
    assert wish.line().endswith(b"\n")
    assert Wish(*json.loads(wish.line())) == wish
