"""What is written comes out whole and in order, at once where anybody waits for it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import run_async
from tests.forwarding.fakes import turns
from tunnels.ssh import outlet
from tunnels.ssh.outlet import Outlet


class Transport:
    """What keeps what a socket does not take."""

    def __init__(self) -> None:
        self.queued = bytearray()
        self.closing = False

    def get_write_buffer_size(self) -> int:
        return len(self.queued)

    def write(self, data: bytes) -> None:
        self.queued += data

    def is_closing(self) -> bool:
        return self.closing


class Rig:
    """An outlet, and what has come out of it."""

    def __init__(self, near: socket.socket, far: socket.socket, queued: bytes = b"") -> None:
        self.transport = Transport()
        self.transport.queued += queued
        self.conn = SimpleNamespace(_transport=self.transport)
        self.given_up: list[str] = []
        self.outlet = Outlet(cast("Any", self.conn), near.fileno(), self.given_up.append)
        self._far = far

    def out(self) -> bytes:
        """What the socket was given since the last time; empty where that is nothing."""
        try:
            return self._far.recv(1 << 20)
        except BlockingIOError:
            return b""


@contextmanager
def rigged(queued: bytes = b"") -> Iterator[Rig]:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        yield Rig(near, far, queued)


async def test_what_is_written_is_out_when_the_call_returns() -> None:
    with rigged() as rig:
        rig.outlet.write(memoryview(b"packet"))
        assert rig.out() == b"packet"


async def test_what_may_wait_goes_out_with_the_next_packet_and_before_it() -> None:
    with rigged() as rig:
        rig.outlet.cork(b"end ")
        rig.outlet.cork(b"close ")
        assert rig.out() == b""
        rig.outlet.write(memoryview(b"open"))
        assert rig.out() == b"end close open"
        await turns(5)
        assert rig.out() == b""


async def test_what_may_wait_does_not_wait_for_ever() -> None:
    with rigged() as rig:
        rig.outlet.cork(b"end")
        await turns(3)
        assert rig.out() == b"end"


async def test_it_waits_until_whoever_comes_at_the_same_time_has_said_what_it_wants() -> None:
    """A client that was accepted beside the end of another one is told so in the next turn."""
    with rigged() as rig:
        rig.outlet.cork(b"end ")
        asyncio.get_running_loop().call_soon(rig.outlet.write, b"open")
        await turns(1)
        assert rig.out() == b"end open"


async def test_what_waits_is_not_lost_when_somebody_else_is_about_to_write() -> None:
    with rigged() as rig:
        rig.outlet.flush()
        rig.outlet.cork(b"end")
        rig.outlet.flush()
        assert rig.out() == b"end"


async def test_nothing_overtakes_what_was_queued_before_and_what_the_socket_does_not_take() -> None:
    with rigged(queued=b"asyncssh's ") as rig:
        assert rig.outlet.full
        rig.outlet.cork(b"end ")
        rig.outlet.write(b"open")
        assert rig.out() == b""
        assert rig.transport.queued == b"asyncssh's end open"
        rig.outlet.resume()
        rig.outlet.write(b"data")
        assert rig.out() == b"data"


async def test_the_rest_of_what_the_socket_takes_in_part_is_queued() -> None:
    with rigged() as rig:
        data = os.urandom(1 << 22)
        rig.outlet.write(memoryview(data))
        assert rig.transport.queued
        taken = bytearray()
        while piece := rig.out():
            taken += piece
        assert taken + rig.transport.queued == data


async def test_behind_a_full_socket_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "LARGEST_BACKLOG", 10)
    with rigged() as rig:
        rig.outlet.pause()
        rig.outlet.write(b"1234567890")
        assert rig.given_up == []
        rig.outlet.write(b"1")
        assert "does not read" in rig.given_up[0]
        assert rig.transport.queued == b"1234567890"


async def test_on_a_connection_that_has_ended_nothing_is_written() -> None:
    with rigged() as rig:
        rig.outlet.cork(b"end")
        rig.conn._transport = None
        rig.outlet.write(b"x")
        await turns(3)
        assert rig.out() == b""
        assert not rig.transport.queued


async def test_a_socket_that_is_closing_is_not_written_to_any_more() -> None:
    with rigged() as rig:
        rig.transport.closing = True
        rig.outlet.file = -1
        rig.outlet.write(b"x")
        assert not rig.transport.queued


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["write", "cork", "flush", "pause", "resume", "turn"]), st.binary(max_size=40)
        )
    )
)
def test_in_whatever_order_it_is_used_the_bytes_are_the_same(steps: list[tuple[str, bytes]]) -> None:
    async def scenario() -> None:
        said, heard = bytearray(), bytearray()
        with rigged() as rig:

            def hear() -> None:
                while piece := rig.out():
                    heard.extend(piece)
                heard.extend(rig.transport.queued)
                rig.transport.queued.clear()

            for step, data in steps:
                if step in ("write", "cork"):
                    said += data
                    getattr(rig.outlet, step)(data)
                elif step == "turn":
                    await turns(1)
                else:
                    if step == "resume":  # the transport has sent what it had
                        hear()
                    getattr(rig.outlet, step)()
            rig.outlet.flush()
            hear()
        assert heard == said
        assert rig.given_up == []

    run_async(scenario())
