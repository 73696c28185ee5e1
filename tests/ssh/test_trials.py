"""One login at a time tells a server what nobody has just typed."""

from __future__ import annotations

import asyncio

import pytest

from tunnels.ssh import trials
from tunnels.ssh.trials import Trial
from tunnels.tasks import TaskScope

scope = TaskScope("trials")


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_comes_second_waits_for_the_verdict() -> None:
    first, second = Trial("a"), Trial("a")
    await first.begin()
    waits = scope.spawn(second.begin(), name="second")
    await turn()
    assert not waits.done()
    first.end()
    await waits
    second.end()


async def test_what_has_proved_good_holds_nobody_back() -> None:
    first, others = Trial("b"), [Trial("b") for _ in range(3)]
    await first.begin()
    waits = [scope.spawn(other.begin(), name="other") for other in others]
    await turn()
    first.end(good=True)
    await asyncio.wait_for(asyncio.gather(*waits), 1)


async def test_a_refusal_lets_one_go_on_and_not_all_of_them() -> None:
    first, others = Trial("c"), [Trial("c") for _ in range(3)]
    await first.begin()
    waits = [scope.spawn(other.begin(), name="other") for other in others]
    await turn()
    first.end()
    await turn()
    assert sum(wait.done() for wait in waits) == 1
    for other in others:
        other.end()
        await turn()
    await asyncio.wait_for(asyncio.gather(*waits), 1)
    for other in others:
        other.end()


async def test_other_subjects_and_a_login_itself_do_not_wait() -> None:
    first = Trial("d")
    await first.begin()
    await asyncio.wait_for(first.begin(), 1)
    other = Trial("e")
    await asyncio.wait_for(other.begin(), 1)
    first.end()
    first.end()
    other.end()


async def test_a_login_that_hangs_does_not_hold_the_others_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "PATIENCE", 0.01)
    first = Trial("f")
    await first.begin()
    await asyncio.wait_for(Trial("f").begin(), 5)
    first.end()


def test_what_was_refused_is_known_until_something_has_proved_good() -> None:
    trials.refuse("g", "old")
    assert trials.was_refused("g", "old")
    assert not trials.was_refused("g", "new")
    assert not trials.was_refused("h", "old")
    trials.trust("g")
    assert not trials.was_refused("g", "old")
