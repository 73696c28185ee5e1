"""Everybody who is told of each change of a tunnel's state: the history, the hooks, the desktop."""

from __future__ import annotations

import logging
import time
from typing import Protocol

from tunnels import paths
from tunnels.core.profile import Profile
from tunnels.core.transition import Transition
from tunnels.supervisor.history import History
from tunnels.supervisor.hooks import Hooks
from tunnels.supervisor.notifications import Notifications

_log = logging.getLogger("tunnels")


class Observing(Protocol):
    """One of them."""

    def observe(self, profile: Profile, transition: Transition) -> None:
        """A tunnel's state has changed."""

    async def aclose(self) -> None:
        """Come to an end, within bounds."""


class Observers:
    """All of them. A fault in one is no reason to keep it from the others, let alone from the tunnel."""

    def __init__(self, *, history: bool) -> None:
        self._history = _history() if history else None
        self._all: list[Observing] = [Hooks(), Notifications()]
        if self._history is not None:
            self._all.insert(0, self._history)

    def observe(self, profile: Profile, transition: Transition) -> None:
        """A tunnel's state has changed. Never raises."""
        for one in self._all:
            try:
                one.observe(profile, transition)
            except Exception as exc:  # noqa: BLE001 - whatever is wrong with it, the tunnel goes on
                _log.error("%s ended with a bug", type(one).__name__, exc_info=exc)

    def slept(self, seconds: float) -> None:
        """The machine has slept for so long, and has just woken up."""
        if self._history is not None:
            self._history.slept(seconds)

    def clock_set(self, seconds: float) -> None:
        """The wall clock has just been put forward by so much."""
        if self._history is not None:
            self._history.clock_set(seconds)

    def ending(self) -> None:
        """What goes down from now on goes down because the daemon ends, and comes back with the next one."""
        if self._history is not None:
            self._history.ending()

    async def aclose(self) -> None:
        """Let everything that has been observed have its consequences, within bounds."""
        for one in reversed(self._all):
            await one.aclose()


def _history() -> History:
    paths.make_private(paths.state_dir())
    paths.make_private(paths.runtime_dir())
    return History(paths.history_file(), paths.alive_file(), paths.pulse_file(), wall_clock=time.time)
