"""Our own channels are used with an asyncssh that is known, and can be switched off; connections work either way."""

from __future__ import annotations

import logging
from typing import Any, cast

import asyncssh
import pytest

from tests.ssh.plane import connected
from tunnels.ssh import fast_path
from tunnels.ssh.wire import Wire


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_path, "_said", set())
    monkeypatch.delenv(fast_path.SWITCH, raising=False)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def test_a_known_asyncssh_is_taken_over(caplog: pytest.LogCaptureFixture) -> None:
    """When this fails for a new version: read what it has changed, run every test, and add it to KNOWN."""
    async with connected(wire=False) as plane:
        assert isinstance(fast_path.install(plane.conn), Wire)
        assert plane.conn._transport.get_protocol() is not plane.conn
    assert warnings(caplog) == []


@pytest.mark.parametrize("value", ["off", "OFF", "no", "false", "0"])
async def test_it_can_be_switched_off_and_nothing_is_touched(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(fast_path.SWITCH, value)
    async with connected(wire=False) as plane:
        before = dict(vars(plane.conn))
        assert fast_path.install(plane.conn) is None
        assert vars(plane.conn) == before
        assert plane.conn._transport.get_protocol() is plane.conn
    assert warnings(caplog) == []


@pytest.mark.parametrize("value", ["", "on", "1"])
async def test_anything_else_leaves_it_on(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fast_path.SWITCH, value)
    async with connected(wire=False) as plane:
        assert fast_path.install(plane.conn) is not None


async def test_an_unknown_version_is_left_alone_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(asyncssh, "__version__", "2.99.0")
    async with connected(wire=False) as plane:
        before = dict(vars(plane.conn))
        assert fast_path.install(plane.conn) is None
        assert fast_path.install(plane.conn) is None
        assert vars(plane.conn) == before
    assert len(warnings(caplog)) == 1
    assert "2.99.0" in warnings(caplog)[0]


@pytest.mark.parametrize("name", [*fast_path._ATTRIBUTES, *fast_path._METHODS])
async def test_a_name_that_is_missing_is_found_before_anything_is_touched(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(wire=False) as plane:

        class Less:
            """The connection without that name."""

            def __getattr__(self, asked: str) -> Any:
                if asked == name:
                    raise AttributeError(asked)
                return getattr(plane.conn, asked)

        less = Less()
        assert fast_path.install(cast("Any", less)) is None
        assert vars(less) == {}
    assert name in warnings(caplog)[0]


async def test_a_connection_that_has_just_been_lost_is_not_taken_over() -> None:
    async with connected(wire=False) as plane:
        plane.conn.abort()
        assert fast_path.install(plane.conn) is None
        await plane.gone()
