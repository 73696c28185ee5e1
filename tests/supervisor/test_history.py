"""The history of a daemon: what it finds, what it writes, and that nothing of it can hurt a tunnel."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes import turns
from tunnels import history_file
from tunnels.core.account import ENDED, KILLED, account
from tunnels.core.history import What
from tunnels.core.profile import Profile
from tunnels.core.state import TunnelState as S
from tunnels.core.transition import Transition
from tunnels.errors import ErrorInfo
from tunnels.supervisor import history
from tunnels.supervisor.history import History

NINE = 1_795_165_200.0
LOST = ErrorInfo("connection-lost", "the server did not answer")
HOME = Profile("home", "vps")


class Wall:
    now = NINE

    def __call__(self) -> float:
        return self.now


class Kept:
    """A history, its files and its clock."""

    def __init__(self, folder: Path, wall: Wall) -> None:
        self.path, self.alive, self.wall = folder / "history.jsonl", folder / "alive", wall
        self.pulse = folder / "pulse"
        self.history = History(self.path, self.alive, self.pulse, wall_clock=wall)

    def go(self, before: S, after: S, error: ErrorInfo | None = None) -> None:
        self.wall.now += 10
        self.history.observe(HOME, Transition("home", before, after, self.wall.now, error))

    def up(self) -> None:
        self.go(S.STOPPED, S.CONNECTING)
        self.go(S.CONNECTING, S.UP)

    @property
    def written(self) -> list[What]:
        return [record.what for record in history_file.load(self.path)]


@contextlib.asynccontextmanager
async def keeping(folder: Path, wall: Wall | None = None) -> AsyncIterator[Kept]:
    kept = Kept(folder, wall or Wall())
    try:
        await turns()
        yield kept
    finally:
        await kept.history.aclose()


async def test_what_happens_is_on_the_disk_at_once(home: Path) -> None:
    async with keeping(home) as kept:
        kept.up()
        kept.go(S.UP, S.BACKOFF, LOST)
        assert kept.written == [What.STARTED, What.WANTED, What.UP, What.DOWN]
        kept.go(S.BACKOFF, S.STOPPING)
        assert kept.written[-1] is What.STOPPED


async def test_the_end_of_the_daemon_is_not_taken_for_a_persons_down(home: Path) -> None:
    async with keeping(home) as kept:
        kept.up()
        kept.history.ending()
        kept.history.ending()
        kept.go(S.UP, S.STOPPING)
        assert kept.written == [What.STARTED, What.WANTED, What.UP, What.ENDED]


async def test_after_a_daemon_that_was_killed_the_next_one_knows_from_when_to_when_nothing_ran(
    home: Path,
) -> None:
    wall = Wall()
    async with keeping(home, wall) as first:
        first.up()
        wall.now += 100
        history_file.give_sign(first.alive, wall.now)  # the last one before the power cut
    cut, wall.now = wall.now, wall.now + 3600
    async with keeping(home, wall) as second:
        second.up()
        found = account(history_file.load(second.path), "home", wall.now)
    assert [(drop.begin, drop.end, drop.cause) for drop in found.drops] == [(cut, wall.now, KILLED)]


async def test_after_a_clean_end_too_and_it_has_another_name(home: Path) -> None:
    wall = Wall()
    async with keeping(home, wall) as first:
        first.up()
        first.history.ending()
    end, wall.now = wall.now, wall.now + 3600
    async with keeping(home, wall) as second:
        second.up()
        found = account(history_file.load(second.path), "home", wall.now)
    assert [(drop.begin, drop.end, drop.cause) for drop in found.drops] == [(end, wall.now, ENDED)]


async def test_signs_of_life_are_given_for_as_long_as_it_lives(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    due = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await due.wait()
        due.clear()

    with monkeypatch.context() as patch:
        kept = Kept(home, Wall())
        real = asyncio.sleep
        patch.setattr(asyncio, "sleep", sleep)
        for _ in range(5):
            await real(0)
        assert history_file.last_sign(kept.alive) == NINE
        for place in range(1, 13):  # a minute
            assert history_file.last_sign(kept.alive) == NINE
            assert history_file.last_sign(kept.pulse) == NINE + 5 * (place - 1)
            kept.wall.now += 5
            due.set()
            for _ in range(5):
                await real(0)
        assert history_file.last_sign(kept.alive) == history_file.last_sign(kept.pulse) == NINE + 60
        assert waits == [history.PULSE] * 13
    await kept.history.aclose()


async def test_a_daemon_that_is_killed_and_started_again_was_away_for_some_seconds_and_not_for_a_minute(
    home: Path,
) -> None:
    wall = Wall()
    async with keeping(home, wall) as first:
        first.up()
        wall.now += 50
        history_file.give_sign(first.pulse, wall.now)  # and none on the disk since it began
    wall.now += 2
    async with keeping(home, wall) as second:
        second.up()
        found = account(history_file.load(second.path), "home", wall.now)
    assert [drop.end - drop.begin for drop in found.drops if drop.end] == [22]  # 20 of them to come up
    assert (found.off_for, found.unsure_for, found.drops[0].unsure) == (2, 2, 2)


async def test_a_runtime_folder_that_has_gone_away_costs_nothing(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wall = Wall()
    kept = Kept(home, wall)
    kept.pulse.mkdir()
    await turns()
    kept.up()
    assert kept.written == [What.STARTED, What.WANTED, What.UP]
    assert not caplog.messages
    await kept.history.aclose()


async def test_sleep_is_the_cause_of_the_drops_around_it(home: Path) -> None:
    async with keeping(home) as kept:
        kept.up()
        kept.wall.now += 3600
        kept.history.slept(3000)
        kept.history.slept(0)
        kept.go(S.UP, S.BACKOFF, LOST)
        found = account(history_file.load(kept.path), "home", kept.wall.now)
    assert [drop.slept for drop in found.drops] == [3000]


async def test_a_disk_that_is_full_is_said_once_and_stops_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    caplog.set_level(logging.INFO)
    async with keeping(home) as kept:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            kept.up()
            kept.go(S.UP, S.BACKOFF, LOST)
        kept.go(S.BACKOFF, S.CONNECTING)
        kept.go(S.CONNECTING, S.UP)
        assert kept.written == [What.STARTED, What.UP]
    assert caplog.text.count("No space left") == 1


async def test_a_folder_that_cannot_be_written_to_stops_nothing(home: Path) -> None:
    (home / "history.jsonl").mkdir()
    (home / "alive").mkdir()
    async with keeping(home) as kept:
        kept.up()
