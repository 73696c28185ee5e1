"""Tasks have an owner: what fails in one is heard, and all of them end with it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.fakes import turns
from tunnels import tasks
from tunnels.tasks import TaskScope


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_has_the_names_of_its_scope_and_its_own() -> None:
    scope = TaskScope("work-db")
    task = scope.spawn(forever(), name="connect")

    assert task.get_name() == "work-db: connect"
    assert len(scope) == 1
    assert repr(scope) == "<TaskScope work-db: 1 tasks>"
    await scope.aclose()


async def test_a_task_that_has_ended_is_forgotten() -> None:
    scope = TaskScope("work-db")
    task = scope.spawn(asyncio.sleep(0, "done"), name="quick")

    assert await task == "done"
    await turns(1)

    assert len(scope) == 0


async def test_a_failure_is_logged_with_the_name_and_the_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("the very thing")

    scope = TaskScope("work-db")
    scope.spawn(fail(), name="connect")
    await turns(3)

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "work-db: connect ended with an error"
    assert "the very thing" in caplog.text
    assert "in fail" in caplog.text


async def test_a_failure_leaves_the_siblings_running() -> None:
    async def fail() -> None:
        raise ValueError

    scope = TaskScope("work-db")
    sibling = scope.spawn(forever(), name="sibling")
    scope.spawn(fail(), name="client")
    await turns(3)

    assert not sibling.done()
    assert len(scope) == 1
    await scope.aclose()


async def test_a_cancelled_task_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    scope = TaskScope("work-db")
    task = scope.spawn(forever(), name="client")
    await turns(1)
    task.cancel()
    await turns(3)

    assert len(scope) == 0
    assert caplog.records == []


async def test_cancel_asks_every_task_to_end_and_does_not_wait() -> None:
    scope = TaskScope("work-db")
    pair = [scope.spawn(forever(), name=name) for name in ("one", "two")]
    await turns(1)

    scope.cancel()

    assert [task.cancelling() for task in pair] == [1, 1]
    assert len(scope) == 2
    await turns(3)
    assert len(scope) == 0


async def test_closing_ends_every_task_before_it_returns() -> None:
    ended = []

    async def tidy(name: str) -> None:
        try:
            await forever()
        finally:
            await turns(3)
            ended.append(name)

    scope = TaskScope("work-db")
    for name in ("one", "two"):
        scope.spawn(tidy(name), name=name)
    await turns(1)

    await scope.aclose()

    assert sorted(ended) == ["one", "two"]
    assert len(scope) == 0


async def test_closing_twice_or_with_nothing_to_close_is_fine(caplog: pytest.LogCaptureFixture) -> None:
    empty = TaskScope("empty")
    await empty.aclose()
    await empty.aclose()
    scope = TaskScope("work-db")
    task = scope.spawn(forever(), name="client")
    await scope.aclose()
    await scope.aclose()

    assert task.cancelled()
    assert caplog.records == []


async def test_two_may_close_at_the_same_moment() -> None:
    scope = TaskScope("work-db")
    task = scope.spawn(forever(), name="client")

    await asyncio.gather(scope.aclose(), scope.aclose())

    assert task.cancelled()


async def test_a_task_may_close_the_scope_that_it_belongs_to() -> None:
    """The last thing that a tunnel does is to end everything of its own, in a task of its own."""
    closed = asyncio.Event()
    scope = TaskScope("work-db")
    sibling = scope.spawn(forever(), name="sibling")

    async def close() -> None:
        await scope.aclose()
        closed.set()

    closing = scope.spawn(close(), name="close")
    await closing

    assert closed.is_set()
    assert sibling.cancelled()


async def test_a_failure_while_closing_is_logged_and_the_others_still_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail_at_the_end() -> None:
        try:
            await forever()
        finally:
            raise ValueError("could not tidy up")

    scope = TaskScope("work-db")
    scope.spawn(fail_at_the_end(), name="untidy")
    sibling = scope.spawn(forever(), name="sibling")
    await turns(1)

    await scope.aclose()

    assert sibling.cancelled()
    assert [record.getMessage() for record in caplog.records] == ["work-db: untidy ended with an error"]


async def test_closing_does_not_wait_for_ever_for_a_task_that_refuses_to_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "CLOSE_TIMEOUT", 0.01)
    released = asyncio.Event()

    async def refuse() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    scope = TaskScope("work-db")
    stubborn = scope.spawn(refuse(), name="stubborn")
    willing = scope.spawn(forever(), name="willing")
    await turns(1)

    await scope.aclose()

    assert willing.cancelled()
    assert not stubborn.done()
    assert [record.getMessage() for record in caplog.records] == [
        "work-db: stubborn did not end within 0.01 s"
    ]
    released.set()
    await stubborn


async def test_a_closed_scope_takes_no_more_tasks() -> None:
    """And the coroutine that it refuses does not warn that it was never awaited."""
    scope = TaskScope("work-db")
    await scope.aclose()

    with pytest.raises(RuntimeError, match="work-db is closed"):
        scope.spawn(forever(), name="late")


async def test_a_task_cannot_be_added_while_the_scope_closes() -> None:
    refused = []
    scope = TaskScope("work-db")

    async def spawn_at_the_end() -> None:
        try:
            await forever()
        finally:
            try:
                scope.spawn(forever(), name="late")
            except RuntimeError as error:
                refused.append(str(error))

    scope.spawn(spawn_at_the_end(), name="client")
    await turns(1)

    await scope.aclose()

    assert refused == ["work-db is closed"]


async def test_a_scope_settles_when_its_tasks_and_those_they_begin_have_ended() -> None:
    scope = TaskScope("test")
    ended: list[str] = []

    async def second() -> None:
        await asyncio.sleep(0)
        ended.append("second")

    async def first() -> None:
        scope.spawn(second(), name="second")

    scope.spawn(first(), name="first")
    await scope.settle(5)
    assert ended == ["second"]


async def test_a_scope_that_does_not_settle_is_not_waited_for_any_longer() -> None:
    scope = TaskScope("test")
    task = scope.spawn(asyncio.Event().wait(), name="stuck")
    await scope.settle(0.01)
    assert not task.done()
    await scope.aclose()
