"""The clients: ``python -m bench.load.near TASK`` does one task and prints what it measured, both as JSON."""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.load.bulk import PIECE, WELCOME, Bulk, Loop, Pattern, Starer, Wish, read_sum

PATIENCE = 60.0
"""Seconds without any byte after which a task gives up."""


def dial(port: int, host: str = "127.0.0.1") -> socket.socket:
    """Connect to a port."""
    connection = socket.create_connection((host, port), timeout=PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def visit(ports: list[int], host: str = "127.0.0.1") -> list[socket.socket]:
    """Connect to the bulk service; every way to it is open when this returns."""
    connections = [dial(port, host) for port in ports]
    for connection in connections:
        assert connection.recv(1) == WELCOME, "the way to the service is closed"
    return connections


def bulk(ports: list[int], wish: list[Any], host: str = "127.0.0.1") -> list[dict[str, float]]:
    """Let one client of each port have its wish, all at once; return what was measured for each."""
    loop = Loop()
    connections = visit(ports, host)
    wanted = Wish(*wish)._replace(start=time.monotonic())
    for connection in connections:
        connection.sendall(wanted.line())
    clients = [Bulk(loop, connection, wanted, sends=wanted.way == "up") for connection in connections]
    while not loop.empty:
        if not loop.turn(PATIENCE):
            raise SystemExit(f"no byte for {PATIENCE:g} s")
    assert all(client.measured for client in clients) or len(clients) > 1, "the connection was cut"
    return [client.measured or {"bytes": 0, "seconds": 0, "all": 0} for client in clients]


def verify(port: int, total: int) -> bool:
    """Whether so many bytes arrive as they were sent, in each direction."""
    pattern = Pattern()
    with visit([port])[0] as connection:
        connection.sendall(Wish("down", total).line())
        came = read_sum(connection, total)
        extra = connection.recv(1)
    with visit([port])[0] as connection:
        connection.sendall(Wish("sum", total).line())
        for at in range(0, total, PIECE):
            connection.sendall(pattern.data[: total - at])
        connection.shutdown(socket.SHUT_WR)
        arrived = connection.recv(4096).decode()
    return came == arrived == pattern.sum(total) and not extra


def round_trips(ports: list[int], count: int, size: int, block: int) -> list[list[float]]:
    """Send some bytes and wait for them, on one connection of each port, in alternating blocks; seconds each."""
    data = bytes(size)
    connections = [dial(port) for port in ports]
    times: list[list[float]] = [[] for _ in ports]
    for number in range(-1, -(-count // block)):
        for connection, found in zip(connections, times, strict=True):
            for _ in range(block):
                started = time.perf_counter()
                connection.sendall(data)
                left = size
                while left:
                    got = len(connection.recv(left))
                    assert got, "the echo has ended"
                    left -= got
                if number >= 0:  # the first block is a warm-up
                    found.append(time.perf_counter() - started)
    return times


def connects(ports: list[int], count: int, block: int) -> list[list[float]]:
    """Connect, send a byte, wait for it, close, so many times one after the other; seconds for each block."""
    times: list[list[float]] = [[] for _ in ports]
    for number in range(-1, -(-count // block)):
        for port, found in zip(ports, times, strict=True):
            started = time.perf_counter()
            for _ in range(block):
                with dial(port) as connection:
                    connection.sendall(b"x")
                    assert connection.recv(1) == b"x", "the echo has ended"
            if number >= 0:
                found.append(time.perf_counter() - started)
    return times


def stall(ports: list[int], way: str, *, reads: bool = False) -> None:
    """Be clients that write, or read, as much as they can, or that never read, until standard input ends.

    Then says how many bytes a second were moved.
    """
    loop = Loop()
    wish = Wish(way, 0, 1e6, 1e6, time.monotonic())  # the receiver never has enough
    connections, busy = visit(ports), []
    for connection in connections:
        connection.sendall(wish.line())
        if way == "up" or reads:
            busy.append(Bulk(loop, connection, wish, sends=way == "up"))
    started = time.monotonic()

    def say_rate() -> None:
        rate = sum(one.moved for one in busy) / (time.monotonic() - started)
        print(json.dumps(rate), flush=True)

    loop.selector.register(0, selectors.EVENT_READ, Starer(say_rate))
    print(json.dumps("stalled"), flush=True)
    while True:
        loop.turn()


TASKS: dict[str, Callable[..., Any]] = {
    "bulk": bulk,
    "verify": verify,
    "round_trips": round_trips,
    "connects": connects,
    "stall": stall,
}


def main(arguments: list[str]) -> None:
    """Do the task."""
    task = json.loads(arguments[0])
    print(json.dumps(TASKS[task.pop("task")](**task)))


if __name__ == "__main__":
    main(sys.argv[1:])
