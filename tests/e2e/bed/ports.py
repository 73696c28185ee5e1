"""Ports that nobody else takes, and what can be said about them."""

from __future__ import annotations

import os
import random
import socket
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"

_BELOW_EPHEMERAL = range(12000, 32000)
"""Below the ephemeral ports of Linux (32768) and macOS (49152).

A port from the ephemeral range may become the source of somebody's connection while its server is
down; a client that keeps dialling it may even end up connected to itself.
"""


def _ours() -> range:
    """Those of this process: tests that run at the same time each have their own."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = len(_BELOW_EPHEMERAL) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return _BELOW_EPHEMERAL[number * share : (number + 1) * share]


_RANGE = _ours()
_given: set[int] = set()


def free_port() -> int:
    """Return a port that is free on both loopback addresses and was not given out before."""
    while True:
        port = random.choice(_RANGE)
        if port not in _given and not in_use(port):
            _given.add(port)
            return port


def free_ports(count: int) -> list[int]:
    """Return ``count`` free ports next to each other, for a port range."""
    while True:
        first = random.choice(_RANGE[: -count or None])
        ports = list(range(first, first + count))
        if not any(port in _given or in_use(port) for port in ports):
            _given.update(ports)
            return ports


def in_use(port: int) -> bool:
    """Whether a port cannot be bound on one of the loopback addresses."""
    for family, address in ((socket.AF_INET, LOOPBACK), (socket.AF_INET6, "::1")):
        if family == socket.AF_INET6 and not has_ipv6():
            continue
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen(1)
            except OSError:
                return True
    return False


def has_ipv6() -> bool:
    """Whether this machine has the IPv6 loopback address."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def accepts(port: int, host: str = LOOPBACK) -> bool:
    """Whether a client can connect."""
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


class RefusingPort:
    """A port that is taken but does not listen: every client is refused, and nobody else can have it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind((LOOPBACK, 0))
        self.host = LOOPBACK
        self.port = int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
