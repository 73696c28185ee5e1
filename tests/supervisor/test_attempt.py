"""Whatever comes of an attempt to connect is a value; only the end of whoever waits is raised."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.fakes import FakeConnection
from tests.supervisor.rig import UNREACHABLE, WORK_DB
from tunnels.core.profile import Profile
from tunnels.core.question import Dialogue, NobodyThere, PersonNeeded, Question
from tunnels.errors import HostKeyUnknown, InternalError, TunnelsError
from tunnels.supervisor.attempt import Outcome, attempt
from tunnels.supervisor.connector import OnFound, OnLost
from tunnels.supervisor.tunnel_log import TunnelLog


def ignore(_: Any) -> None:
    pass


async def come_of(result: BaseException | FakeConnection) -> Outcome:
    """Try a connector that ends with this."""

    async def connector(
        profile: Profile, on_lost: OnLost, on_found: OnFound, dialogue: Dialogue
    ) -> FakeConnection:
        assert profile is WORK_DB
        await asyncio.sleep(0)
        if isinstance(result, BaseException):
            raise result
        return result

    return await attempt(connector, WORK_DB, ignore, ignore, NobodyThere(), TunnelLog("work-db"))


async def test_a_connection_is_what_comes_of_it() -> None:
    connection = FakeConnection(ignore)
    assert await come_of(connection) is connection


async def test_what_the_connector_finds_and_loses_is_told() -> None:
    told: list[object] = []

    async def connector(
        profile: Profile, on_lost: OnLost, on_found: OnFound, dialogue: Dialogue
    ) -> FakeConnection:
        on_found(("198.51.100.1",))
        on_lost(UNREACHABLE)
        return FakeConnection(on_lost)

    await attempt(connector, WORK_DB, told.append, told.append, NobodyThere(), TunnelLog("work-db"))
    assert told == [("198.51.100.1",), UNREACHABLE]


@pytest.mark.parametrize(
    "error",
    [
        UNREACHABLE,
        PersonNeeded(
            HostKeyUnknown("the host key of bastion is not known"),
            Question("7", "host-key", "the key is …", "Trust it?"),
            ignore,
        ),
    ],
)
async def test_an_error_of_ours_is_a_value(error: TunnelsError, caplog: pytest.LogCaptureFixture) -> None:
    assert await come_of(error) is error
    assert caplog.records == [], "whoever gets it says it"


async def test_a_bug_is_an_error_like_any_other_and_its_traceback_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bug = ZeroDivisionError("division by zero")
    outcome = await come_of(bug)
    assert isinstance(outcome, InternalError)
    assert "ZeroDivisionError: division by zero" in outcome.message
    assert outcome.hint is not None
    assert "tunnels logs" in outcome.hint
    [record] = caplog.records
    assert (record.levelno, record.__dict__["tunnel"]) == (logging.ERROR, "work-db")
    assert record.exc_info is not None
    assert record.exc_info[1] is bug


async def test_being_cancelled_is_not_swallowed() -> None:
    with pytest.raises(asyncio.CancelledError):
        await come_of(asyncio.CancelledError())
