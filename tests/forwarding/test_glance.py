"""A destination is asked by connecting to it for a moment, from here or from the server."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.e2e.bed.ports import LOOPBACK, RefusingPort
from tests.forwarding.fakes import FakeLink, black_hole
from tunnels.core.address import TcpAddress
from tunnels.errors import DialError, DialReason
from tunnels.forwarding import glance, remote
from tunnels.forwarding.channel import LinkLost

DB = TcpAddress("db", 5432)
REFUSED = DialError("refused", reason=DialReason.REFUSED)


async def test_a_destination_on_this_side_answers_refuses_or_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        found = await glance.reach_from_here(TcpAddress(LOOPBACK, server.getsockname()[1]))
        assert "answers here" in found.detail
    with RefusingPort() as nobody, pytest.raises(DialError) as refused:
        await glance.reach_from_here(TcpAddress(nobody.host, nobody.port))
    assert "as seen from this machine" in (refused.value.hint or "")
    monkeypatch.setattr(remote, "CONNECT_TIMEOUT", 0.05)
    with black_hole() as port, pytest.raises(DialError) as silent:
        await glance.reach_from_here(TcpAddress(LOOPBACK, port))
    assert silent.value.reason is DialReason.TIMED_OUT


async def test_a_channel_is_closed_as_soon_as_it_is_open() -> None:
    link = FakeLink()
    await glance.reach_from_server(link, DB)
    assert link.requests[0][0] == DB
    assert link.channels[0].ended


async def test_what_the_server_says_of_a_destination_is_passed_on() -> None:
    link = FakeLink()
    link.open_errors = [REFUSED, LinkLost("gone")]
    with pytest.raises(DialError):
        await glance.reach_from_server(link, DB)
    with pytest.raises(LinkLost):
        await glance.reach_from_server(link, DB)


async def test_a_destination_that_does_not_answer_is_given_up_and_closed_when_it_opens_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(glance, "DIAL_TIMEOUT", 0.01)
    link = FakeLink()
    link.gate = asyncio.Event()
    with pytest.raises(DialError) as late:
        await glance.reach_from_server(link, DB)
    assert late.value.reason is DialReason.TIMED_OUT
    link.gate.set()
    assert (await link.channel()).ended
