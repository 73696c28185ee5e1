"""Runs the commands that a profile wants run when its tunnel comes up, goes down or needs its person.

A hook never touches its tunnel: it runs beside it, one at a time for each tunnel and in order, for
`TIMEOUT` seconds at most. What it prints, and how it ended, is in the tunnel's log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tunnels import process
from tunnels.core.logline import printable
from tunnels.core.profile import Profile
from tunnels.core.state import TunnelState
from tunnels.core.transition import Transition
from tunnels.tasks import TaskScope

#: Seconds that a hook may take.
TIMEOUT = 30.0

#: Seconds that all hooks together may still take when the daemon ends.
END_TIMEOUT = 8.0

#: Hooks of one tunnel that wait for their turn. Of more, as a flapping link makes them, the oldest are left out.
MAX_WAITING = 8

#: Hooks that run at the same time: a thousand tunnels may lose their link at once.
MAX_RUNNING = 16

#: Bytes and lines of a hook's output that go into the log.
_OUTPUT = 4096
_LINES = 20

_FAILED = frozenset({TunnelState.FAILED, TunnelState.NEEDS_INPUT})


class Hook(NamedTuple):
    """One command to be run."""

    event: str  #: ``up``, ``down`` or ``failed``
    tunnel: str
    words: Sequence[str]
    variables: Mapping[str, str]


def hooks_for(profile: Profile, change: Transition) -> Iterator[Hook]:
    """What has to be run for a change of state, in order."""
    events = []
    if change.before is TunnelState.UP:
        events.append(("down", profile.on_down))
    if change.after is TunnelState.UP:
        events.append(("up", profile.on_up))
    if change.after in _FAILED:
        events.append(("failed", profile.on_failed))
    for event, words in events:
        if words:
            yield Hook(event, profile.name, words, _variables(event, profile, change))


def _variables(event: str, profile: Profile, change: Transition) -> dict[str, str]:
    return {
        "TUNNELS_EVENT": event,
        "TUNNELS_NAME": profile.name,
        "TUNNELS_HOST": profile.host,
        "TUNNELS_STATE": change.after.value,
        "TUNNELS_ERROR_CODE": "" if change.error is None else change.error.code,
        # A server may have put anything into it, and no variable can hold a NUL.
        "TUNNELS_ERROR": "" if change.error is None else printable(change.error.message),
    }


class Hooks:
    """The hooks of all tunnels."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        self._scope = TaskScope("hooks")
        self._waiting: dict[str, deque[Hook]] = {}
        self._places = asyncio.Semaphore(MAX_RUNNING)
        self._idle = asyncio.Event()
        self._idle.set()

    def observe(self, profile: Profile, transition: Transition) -> None:
        """A tunnel's state has changed."""
        for hook in hooks_for(profile, transition):
            self._queue(hook)

    def _queue(self, hook: Hook) -> None:
        waiting = self._waiting.get(hook.tunnel)
        if waiting is None:
            self._waiting[hook.tunnel] = waiting = deque()
            self._idle.clear()
            self._scope.spawn(self._run_all(hook.tunnel, waiting), name=hook.tunnel)
        waiting.append(hook)
        if len(waiting) > MAX_WAITING:
            left_out = waiting.popleft()
            _log(left_out).warning("on_%s left out: %d others wait already", left_out.event, MAX_WAITING)

    async def _run_all(self, tunnel: str, waiting: deque[Hook]) -> None:
        try:
            while waiting:
                async with self._places:
                    await self._run(waiting.popleft())
        finally:
            del self._waiting[tunnel]
            if not self._waiting:
                self._idle.set()

    async def _run(self, hook: Hook) -> None:
        log, name = _log(hook), f"on_{hook.event}"
        began = time.monotonic()
        home = Path.home()
        words = [_from_home(hook.words[0], home), *hook.words[1:]]
        try:
            done = await process.run(
                words,
                timeout=TIMEOUT,
                limit=_OUTPUT,
                errors=True,
                env={**self._environment, **hook.variables},
                folder=home,
                spare=True,
            )
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            log.error("%s: %s cannot be run: %s", name, hook.words[0], why)  # noqa: TRY400 - it says why
            return
        for line in _shown(done.output):
            log.info("%s: %s", name, line)
        took = time.monotonic() - began
        if done.status is None:
            log.error("%s did not end within %g s, and was killed", name, TIMEOUT)
        elif done.status < 0:
            log.error("%s was ended by signal %d after %.1f s", name, -done.status, took)
        else:
            level = logging.INFO if done.status == 0 else logging.ERROR
            log.log(level, "%s ended with status %d after %.1f s", name, done.status, took)

    async def aclose(self) -> None:
        """Let what waits still run, for `END_TIMEOUT` seconds; then end it."""
        try:
            async with asyncio.timeout(END_TIMEOUT):
                await self._idle.wait()
        except TimeoutError:
            for waiting in self._waiting.values():
                for hook in waiting:
                    _log(hook).warning("on_%s left out: there is no more time", hook.event)
        await self._scope.aclose()


def _log(hook: Hook) -> logging.LoggerAdapter[logging.Logger]:
    return logging.LoggerAdapter(logging.getLogger("tunnels.hooks"), {"tunnel": hook.tunnel})


def _from_home(program: str, home: Path) -> str:
    return f"{home}/{program[2:]}" if program.startswith("~/") else program


def _shown(output: bytes) -> Iterator[str]:
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    yield from lines[:_LINES]
    if len(lines) > _LINES or len(output) >= _OUTPUT:
        yield "…"
