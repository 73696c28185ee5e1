"""Waiting for something, never longer than a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

POLL = 0.02
"""Seconds between two looks."""


def eventually(probe: Callable[[], T], *, within: float, what: str) -> T:
    """Ask until the answer is truthy, and return it; after ``within`` seconds it is a failure.

    An `AssertionError` of the probe counts as "not yet", and is shown if it was the last answer.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + within
    last: object = None
    while True:
        try:
            answer = probe()
        except AssertionError as exc:
            last = exc
        else:
            if answer:
                return answer
            last = answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"after {within:g} s: not {what}; last seen: {last!r}")
        time.sleep(POLL)


def for_seconds(seconds: float, *, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Let time pass where passing time is what the test is about; ``meanwhile`` looks again and again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        meanwhile()
        time.sleep(POLL)


class Background(Generic[T]):
    """A function that runs in a thread meanwhile."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._function())
        except BaseException as exc:
            self._error = exc

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def result(self, *, within: float) -> T:
        """Wait for its end; return what it returned, or raise what it raised."""
        __tracebackhide__ = True
        self._thread.join(within)
        assert self.done, f"still running after {within:g} s"
        if self._error:
            raise self._error
        return self._results[0]
