"""Watchers hear of every change, and of many at once only once."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes import LIMIT, pass_time, turns
from tunnels.supervisor import bus as bus_module
from tunnels.supervisor.bus import Bus, Watch
from tunnels.tasks import TaskScope


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes are told without waiting for more of them."""
    monkeypatch.setattr(bus_module, "COALESCE", 0.0)


async def heard(watch: Watch) -> None:
    """Wait for a change, however long it takes."""
    async with asyncio.timeout(LIMIT):
        await watch.wait(None)


@pytest.mark.usefixtures("at_once")
async def test_a_watcher_hears_of_a_change() -> None:
    bus, scope = Bus(), TaskScope("test")
    with bus.watch() as watch:
        waiting = scope.spawn(heard(watch), name="watcher")
        await turns()
        assert not waiting.done()

        bus.changed()

        await waiting


@pytest.mark.usefixtures("at_once")
async def test_a_change_between_two_waits_is_not_missed() -> None:
    """A watcher asks for the full picture between two waits, and something may change meanwhile."""
    bus = Bus()
    with bus.watch() as watch:
        bus.changed()

        await heard(watch)


@pytest.mark.usefixtures("at_once")
async def test_a_change_is_told_once() -> None:
    bus, scope = Bus(), TaskScope("test")
    with bus.watch() as watch:
        bus.changed()
        await heard(watch)

        again = scope.spawn(heard(watch), name="watcher")
        await turns()

        assert not again.done()
        await scope.aclose()


@pytest.mark.usefixtures("at_once")
async def test_every_watcher_hears() -> None:
    bus = Bus()
    with bus.watch() as one, bus.watch() as other:
        bus.changed()

        await asyncio.gather(heard(one), heard(other))


@pytest.mark.usefixtures("at_once")
async def test_who_has_ended_does_not_hear_any_more() -> None:
    bus = Bus()
    with bus.watch() as other:
        with bus.watch() as watch:
            pass
        bus.changed()
        await heard(other)

    assert bus._watchers == set()
    assert not watch._event.is_set()


def test_a_change_costs_nothing_while_nobody_watches() -> None:
    """And needs no event loop."""
    Bus().changed()


async def test_changes_close_together_are_told_together() -> None:
    bus, scope = Bus(), TaskScope("test")
    with bus.watch() as watch:
        waiting = scope.spawn(heard(watch), name="watcher")
        await turns()
        for _ in range(3):
            bus.changed()
            await turns()
        assert not waiting.done()  # there may be more

        pass_time(bus_module.COALESCE)
        await waiting

        again = scope.spawn(heard(watch), name="watcher")
        await turns()
        assert not again.done()
        await scope.aclose()


async def test_a_watcher_waits_no_longer_than_its_interval() -> None:
    bus, scope = Bus(), TaskScope("test")
    with bus.watch() as watch:
        waiting = scope.spawn(watch.wait(3.0), name="watcher")
        await turns()
        assert not waiting.done()

        pass_time(3.0)

        await waiting


async def test_an_interval_that_ends_while_changes_are_gathered_loses_none() -> None:
    """The wait returns, so the watcher looks; what came in is seen then."""
    bus, scope = Bus(), TaskScope("test")
    with bus.watch() as watch:
        waiting = scope.spawn(watch.wait(bus_module.COALESCE / 2), name="watcher")
        await turns()
        bus.changed()
        await turns()
        assert not waiting.done()

        pass_time(bus_module.COALESCE / 2)

        await waiting


async def test_a_watcher_can_be_cancelled() -> None:
    bus, scope = Bus(), TaskScope("test")
    with bus.watch() as watch:
        waiting = scope.spawn(watch.wait(None), name="watcher")
        await turns()

        await scope.aclose()

        assert waiting.cancelled()
