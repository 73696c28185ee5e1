"""Who waits at the door, for how long, and what lets them in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.forwarding.fakes import FakeLink, turns
from tunnels.errors import ConnectionLost, DialError, DialReason, HostKeyRejected
from tunnels.forwarding import door as doors
from tunnels.forwarding.channel import Link
from tunnels.forwarding.door import MAX_WAITING, Door
from tunnels.forwarding.relay import EARLY_LIMIT

LONG = 3600.0
"""Seconds that no test takes."""


class Entrance:
    """A door, and how often it has said that somebody waits."""

    def __init__(self, hold: float) -> None:
        self.calls = 0
        self.door = Door(hold, on_waiting=self._count)

    def _count(self) -> None:
        self.calls += 1


@asynccontextmanager
async def waiting(
    door: Door, count: int = 1, *, after: Link | None = None
) -> AsyncIterator[list[asyncio.Task[Link]]]:
    """Let some clients wait; whoever still does so at the end goes away."""
    loop = asyncio.get_running_loop()
    clients = [loop.create_task(door.enter(after=after)) for _ in range(count)]
    await turns()
    try:
        yield clients
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


# --- waiting --------------------------------------------------------------------------------------


async def test_a_client_goes_straight_through_to_a_connection_that_is_there() -> None:
    entrance, link = Entrance(LONG), FakeLink()
    entrance.door.admit(link)
    assert await entrance.door.enter() is link
    assert (entrance.door.waiting, entrance.calls) == (0, 0)


async def test_clients_wait_until_the_connection_is_there_and_all_go_through() -> None:
    entrance, link = Entrance(LONG), FakeLink()
    async with waiting(entrance.door, 3) as clients:
        assert entrance.door.waiting == 3
        assert not any(client.done() for client in clients)
        entrance.door.admit(link)
        assert await asyncio.gather(*clients) == [link, link, link]
    assert entrance.door.waiting == 0


async def test_every_client_that_begins_to_wait_is_a_reason_to_dial() -> None:
    entrance = Entrance(LONG)
    async with waiting(entrance.door, 3):
        assert entrance.calls == 3


async def test_a_client_waits_as_long_as_hold_says_and_is_told_how_long_that_was() -> None:
    entrance = Entrance(0.02)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(DialError, match=r"not connected again within 0\.02 s") as caught:
        await entrance.door.enter()
    assert loop.time() - started >= 0.02
    assert caught.value.reason is DialReason.LINK_DOWN
    assert entrance.door.waiting == 0


async def test_nobody_waits_where_hold_is_zero() -> None:
    entrance = Entrance(0)
    with pytest.raises(DialError) as caught:
        await entrance.door.enter()
    assert caught.value.reason is DialReason.LINK_DOWN
    assert entrance.calls == 0


async def test_one_client_more_than_may_wait_is_turned_away_and_the_others_wait_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doors, "MAX_WAITING", 2)
    entrance, link = Entrance(LONG), FakeLink()
    async with waiting(entrance.door, 2) as clients:
        with pytest.raises(DialError) as caught:
            await entrance.door.enter()
        assert caught.value.reason is DialReason.LINK_DOWN
        assert entrance.calls == 2
        entrance.door.admit(link)
        assert await asyncio.gather(*clients) == [link, link]
        assert await entrance.door.enter() is link


def test_all_that_may_wait_together_cost_no_more_than_the_docstring_says() -> None:
    assert MAX_WAITING * EARLY_LIMIT == 64 * 1024 * 1024


async def test_a_client_that_goes_away_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "MAX_WAITING", 1)
    entrance = Entrance(LONG)
    async with waiting(entrance.door):
        pass
    assert entrance.door.waiting == 0
    async with waiting(entrance.door) as (client,):
        assert not client.done()


# --- what the tunnel says -------------------------------------------------------------------------


async def test_after_the_connection_is_away_new_clients_wait_again() -> None:
    entrance = Entrance(LONG)
    entrance.door.admit(FakeLink())
    entrance.door.shut()
    async with waiting(entrance.door) as (client,):
        assert not client.done()
        entrance.door.admit(link := FakeLink())
        assert await client is link


async def test_shutting_the_door_sends_nobody_away() -> None:
    entrance = Entrance(LONG)
    async with waiting(entrance.door) as (client,):
        entrance.door.shut()
        await turns()
        assert not client.done()


async def test_closing_turns_everybody_away_and_says_why() -> None:
    entrance = Entrance(LONG)
    async with waiting(entrance.door, 2) as clients:
        entrance.door.close(HostKeyRejected("the host key has changed"))
        for client in clients:
            with pytest.raises(DialError, match="the host key has changed") as caught:
                await client
            assert caught.value.reason is DialReason.LINK_DOWN
    assert entrance.door.waiting == 0


async def test_at_a_closed_door_nobody_waits_until_it_is_shut_or_admits_again() -> None:
    entrance = Entrance(LONG)
    entrance.door.admit(FakeLink())
    entrance.door.close(ConnectionLost("the tunnel was taken down"))
    with pytest.raises(DialError, match="taken down"):
        await entrance.door.enter()
    assert entrance.calls == 0

    entrance.door.shut()
    async with waiting(entrance.door) as (client,):
        assert not client.done()
    entrance.door.close(ConnectionLost("the tunnel was taken down"))
    entrance.door.admit(link := FakeLink())
    assert await entrance.door.enter() is link


# --- a connection that was found dead -------------------------------------------------------------


async def test_a_client_that_found_the_connection_dead_waits_for_another_one() -> None:
    entrance, dead, alive = Entrance(LONG), FakeLink(), FakeLink()
    entrance.door.admit(dead)  # nobody has noticed yet
    async with waiting(entrance.door, after=dead) as (client,):
        assert not client.done()
        assert entrance.calls == 1
        assert await entrance.door.enter() is dead  # others are not concerned
        entrance.door.shut()
        entrance.door.admit(alive)
        assert await client is alive


async def test_a_client_that_found_the_last_connection_dead_goes_through_to_a_newer_one() -> None:
    entrance, dead, alive = Entrance(LONG), FakeLink(), FakeLink()
    entrance.door.admit(alive)
    assert await entrance.door.enter(after=dead) is alive


async def test_a_client_that_leaves_in_the_moment_of_admission_is_no_error() -> None:
    entrance = Entrance(LONG)
    async with waiting(entrance.door, 2) as (leaving, staying):
        leaving.cancel()
        entrance.door.admit(link := FakeLink())
        assert await staying is link
        with pytest.raises(asyncio.CancelledError):
            await leaving
    async with waiting(entrance.door, after=link) as (leaving,):
        leaving.cancel()
        entrance.door.close(ConnectionLost("gone"))
    assert entrance.door.waiting == 0


async def test_admitting_and_closing_in_one_moment_lets_those_who_waited_through() -> None:
    entrance, link = Entrance(LONG), FakeLink()
    async with waiting(entrance.door) as (client,):
        entrance.door.admit(link)
        entrance.door.close(ConnectionLost("gone"))
        assert await client is link  # it will find out by itself
