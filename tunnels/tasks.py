"""The owner of background tasks: every task has a scope and a name, and a failure in it is heard.

`asyncio.TaskGroup` does not fit here: it ends the siblings when one child raises, and a scope of ours
must outlive the failure of one client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger("tunnels")

#: Seconds a scope waits for its cancelled tasks. asyncio cancels once; a task that swallows that would
#: otherwise keep its owner waiting for ever.
CLOSE_TIMEOUT = 5.0


class TaskScope:
    """Tasks that end, at the latest, when their owner closes the scope."""

    def __init__(self, name: str) -> None:
        self.name = name  #: whose tasks they are
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"<TaskScope {self.name}: {len(self._tasks)} tasks>"

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, coroutine: Coroutine[Any, Any, object], *, name: str) -> asyncio.Task[Any]:
        """Run a coroutine in this scope. What it raises is logged as the bug that it is."""
        if self._closed:
            coroutine.close()
            raise RuntimeError(f"{self.name} is closed")
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self.name}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("%s ended with an error", task.get_name(), exc_info=error)

    def cancel(self) -> None:
        """Ask every task to end, without waiting for it."""
        for task in self._tasks:
            task.cancel()

    async def settle(self, limit: float) -> None:
        """Wait until every task has ended by itself, those that they have begun too; at most ``limit`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while self._tasks:
                    await asyncio.wait(list(self._tasks))

    async def aclose(self) -> None:
        """End every task; at most `CLOSE_TIMEOUT` seconds. Does nothing the second time."""
        self._closed = True
        me = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not me]
        for task in tasks:
            task.cancel()
        if tasks:
            _, stuck = await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)
            for task in stuck:
                _log.error("%s did not end within %g s", task.get_name(), CLOSE_TIMEOUT)
