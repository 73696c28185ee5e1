"""From a jump host to the next server: an attempt that is cancelled leaves no channel on what others use too."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import asyncssh
import pytest

from tests.forwarding.fakes import until
from tests.ssh.plane import connected
from tunnels.ssh.onward import Onward
from tunnels.tasks import TaskScope


class JumpHost:
    """Opens channels when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.aborted = 0
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def create_connection(self, factory: Any, host: str, port: int) -> tuple[Any, Any]:
        self.asked += 1
        await self.answer
        return self, factory()

    def abort(self) -> None:
        self.aborted += 1


def to(jump: JumpHost) -> Onward:
    return Onward(cast("asyncssh.SSHClientConnection", jump), "jump host b", TaskScope("test"))


async def test_the_channel_is_the_callers() -> None:
    jump = JumpHost()
    onward = to(jump)
    jump.answer.set_result(None)
    assert await onward.create_connection(lambda: "session", "c", 22) == (jump, "session")
    assert jump.aborted == 0


async def test_a_refusal_is_the_callers() -> None:
    jump = JumpHost()
    onward = to(jump)
    refusal = asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "Connection refused")
    jump.answer.set_exception(refusal)
    with pytest.raises(asyncssh.ChannelOpenError) as caught:
        await onward.create_connection(lambda: None, "c", 22)
    assert caught.value is refusal


async def test_a_jump_host_that_goes_meanwhile_is_not_taken_for_the_one_behind_it() -> None:
    async with connected() as plane:
        onward = Onward(plane.conn, "jump host b", TaskScope("test"), plane.wire)
        opening = asyncio.get_running_loop().create_task(onward.create_connection(lambda: None, "c", 22))
        await until(lambda: plane.conn._channels)
        plane.conn.abort()
        with pytest.raises(asyncssh.ChannelOpenError, match="SSH connection closed"):
            await opening


async def test_a_channel_that_nobody_waits_for_any_more_is_closed_when_it_comes() -> None:
    jump = JumpHost()
    onward = to(jump)
    opening = asyncio.get_running_loop().create_task(onward.create_connection(lambda: None, "c", 22))
    await until(lambda: jump.asked)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert jump.aborted == 0
    jump.answer.set_result(None)
    await until(lambda: jump.aborted == 1)


async def test_a_late_refusal_is_of_no_interest(caplog: pytest.LogCaptureFixture) -> None:
    jump = JumpHost()
    onward = to(jump)
    opening = asyncio.get_running_loop().create_task(onward.create_connection(lambda: None, "c", 22))
    await until(lambda: jump.asked)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    jump.answer.set_exception(asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "refused"))
    await until(lambda: len(onward._scope) == 0)
    assert caplog.text == ""
