"""Bytes from one socket to another in Python, with the event loop of tunnels and no SSH: what that costs by itself.

The floor under the round trip of tunnels. ``python -m bench.load.relay PORT`` prints the port that leads to PORT,
and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from tests.e2e.bed.ports import LOOPBACK

_REPOSITORY = Path(__file__).resolve().parents[2]


class End(asyncio.BufferedProtocol):
    """One of the two sockets; what comes is written to the other one's, as `tunnels.forwarding.relay` does."""

    def __init__(self) -> None:
        self.other = self
        self.file = -1
        self._buffer = memoryview(bytearray(256 * 1024))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self.file = transport.get_extra_info("socket").fileno()

    def get_buffer(self, sizehint: int) -> Any:
        """Where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes have come. A round trip at a time is never more than a socket takes."""
        os.write(self.other.file, self._buffer[:nbytes])


async def relay(port: int) -> None:
    """Lead clients to a port, until nobody is interested any more."""
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), asyncio.current_task().cancel)  # type: ignore[union-attr]
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        while True:
            client, _ = await loop.sock_accept(listener)
            near = End()
            _, far = await loop.create_connection(End, LOOPBACK, port)
            near.other, far.other = far, near
            await loop.connect_accepted_socket(lambda end=near: end, client)  # type: ignore[misc]


@contextmanager
def relayed(port: int) -> Iterator[int]:
    """Such a relay to a port, in a process of its own; the port that leads to it."""
    command = [sys.executable, "-m", "bench.load.relay", str(port)]
    with subprocess.Popen(command, cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.kill()


if __name__ == "__main__":
    uvloop.run(relay(int(sys.argv[1])))
