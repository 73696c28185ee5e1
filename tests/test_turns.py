"""Whoever has filled a buffer is read from again, after everybody else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import cast

import pytest

from tests.forwarding import fakes
from tests.forwarding.fakes import turns, until
from tunnels.turns import let_others

pytestmark = pytest.mark.usefixtures("every_loop")

every_loop = fakes.every_loop


class Greedy(asyncio.BufferedProtocol):
    """Takes eight bytes at once, and lets others have their turn each time."""

    def __init__(self, name: str, heard: list[str]) -> None:
        self.transport: asyncio.Transport | None = None
        self._name = name
        self._heard = heard
        self._buffer = bytearray(8)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._heard.append(self._name)
        if nbytes == len(self._buffer):
            let_others(self.transport)


async def connect(far: socket.socket, name: str, heard: list[str]) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_accepted_socket(lambda: Greedy(name, heard), far)
    return transport


async def test_two_that_have_much_are_read_in_turn() -> None:
    heard: list[str] = []
    with contextlib.ExitStack() as peers:
        nears, transports = [], []
        for name in "ab":
            near, far = fakes.tcp_pair()
            nears.append(peers.enter_context(contextlib.closing(near)))
            transports.append(await connect(far, name, heard))
        for near in nears:
            near.sendall(bytes(64))
        await until(lambda: len(heard) >= 16)
        assert not any(len(set(heard[at : at + 3])) == 1 for at in range(len(heard) - 2)), heard
        for transport in transports:
            transport.abort()
        await turns()


async def test_who_is_closed_meanwhile_is_left_alone() -> None:
    near, far = fakes.tcp_pair()
    with contextlib.closing(near):
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: Greedy("a", []), far)
        let_others(transport)
        transport.abort()
        await turns()
        let_others(transport)
        await turns()
        assert transport.is_closing()
