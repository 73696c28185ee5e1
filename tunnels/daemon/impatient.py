"""Threads that nobody waits for: the end of a command must not wait for a name server that does not answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import Any


class ImpatientExecutor(ThreadPoolExecutor):
    """Gives each call a thread of its own, and leaves those behind that have not ended.

    asyncio asks for a `ThreadPoolExecutor`, and waits for its threads before a loop ends; Python waits once more
    at its own end. getaddrinfo(3) cannot be interrupted, and takes half a minute where no name server answers.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it now."""
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as exc:  # noqa: BLE001 - it is raised where the result is wanted
                future.set_exception(exc)

        Thread(target=run, name="impatient", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for nobody."""
