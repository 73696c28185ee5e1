"""A late answer makes TCP repeat itself more often, and any answer ends that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.forwarding.fakes import until
from tunnels.ssh import doubt
from tunnels.ssh.doubt import Doubt


@pytest.fixture(autouse=True)
def _soon_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubt, "LATE", 0.01)


async def test_an_answer_in_time_changes_nothing() -> None:
    told: list[bool] = []
    it = Doubt(told.append)
    it.begin("a")
    it.end("a", answered=True)
    await asyncio.sleep(0.02)
    assert told == []


async def test_a_late_answer_is_doubted_until_it_comes() -> None:
    told: list[bool] = []
    it = Doubt(told.append)
    it.begin("a")
    await until(lambda: told)
    assert told == [True]
    it.end("a", answered=True)
    assert told == [True, False]


async def test_many_late_answers_are_one_doubt_and_the_first_answer_ends_it() -> None:
    told: list[bool] = []
    it = Doubt(told.append)
    it.begin("a")
    it.begin("b")
    await until(lambda: told)
    for each in "ab":
        it.end(each, answered=True)
    assert told == [True, False]


async def test_an_end_that_is_no_answer_leaves_the_doubt() -> None:
    told: list[bool] = []
    it = Doubt(told.append)
    it.begin("a")
    await until(lambda: told)
    it.end("a", answered=False)
    assert told == [True]


async def test_who_came_later_is_late_later() -> None:
    told: list[bool] = []
    it = Doubt(told.append)
    it.begin("a")
    await until(lambda: told)
    it.begin("b")
    it.end("a", answered=True)
    assert told == [True, False]
    await until(lambda: told == [True, False, True])


async def test_many_clients_that_are_answered_in_time_leave_no_timer_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doubt, "LATE", 60.0)
    set_up: list[float] = []
    loop = asyncio.get_running_loop()
    real = loop.call_later

    def call_later(delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        set_up.append(delay)
        return real(delay, callback)

    monkeypatch.setattr(loop, "call_later", call_later)
    it = Doubt(lambda _: None)
    for who in range(100):
        it.begin(who)
        it.end(who, answered=True)
    assert set_up == [60.0]
    assert not it._waiting
