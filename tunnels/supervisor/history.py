"""Writes down what happens to the tunnels, and leaves a sign of life for when nothing can be written any more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from tunnels import history_file
from tunnels.core.account import SIGNS
from tunnels.core.history import Facts, Record, Scribe, What
from tunnels.core.profile import Profile
from tunnels.core.transition import Transition
from tunnels.tasks import TaskScope

_log = logging.getLogger("tunnels")

#: Seconds between two signs of life: as exactly is it known when a daemon was killed. They are given in the
#: runtime folder, which is in memory on most systems: a disk would be written to all day.
PULSE = 5.0

#: How many of them there are to one sign in the state folder, which outlives the machine.
TO_DISK = int(SIGNS / PULSE)


class History:
    """The history of one daemon. A disk that is full costs records and never a tunnel."""

    def __init__(self, path: Path, alive: Path, pulse: Path, *, wall_clock: Callable[[], float]) -> None:
        self._alive = alive
        self._pulse = pulse
        self._wall_clock = wall_clock
        self._scope = TaskScope("history")
        self._complained = False
        self._ending = False
        records = history_file.load_open(path)
        facts = Facts(records)
        self._scribe = Scribe()
        self._file = history_file.Writer(path, facts)
        since = None
        if not facts.ended:
            since = max(history_file.last_sign(alive, pulse) or 0.0, records[-1].at)
        self._write(Record(wall_clock(), What.STARTED, since=since))
        self._scope.spawn(self._heartbeat(), name="heartbeat")

    def observe(self, profile: Profile, transition: Transition) -> None:
        """A tunnel's state has changed."""
        record = None if self._ending else self._scribe.take(transition)
        if record is not None:
            self._write(record)

    def clock_set(self, seconds: float) -> None:
        """The wall clock has just been put forward by so much."""
        if seconds > 0:
            self._write(Record(self._wall_clock(), What.CLOCK_SET, seconds=seconds))

    def slept(self, seconds: float) -> None:
        """The machine has slept for so long, and has just woken up."""
        if seconds > 0:
            self._write(Record(self._wall_clock(), What.SLEPT, seconds=seconds))

    def ending(self) -> None:
        """The daemon ends on purpose: the tunnels that are taken down from now on are still wanted."""
        if not self._ending:
            self._ending = True
            self._write(Record(self._wall_clock(), What.ENDED))

    async def aclose(self) -> None:
        """Stop giving signs of life."""
        await self._scope.aclose()
        self._file.close()

    async def _heartbeat(self) -> None:
        while True:
            self._safely(lambda: history_file.give_sign(self._alive, self._wall_clock()))
            for _ in range(TO_DISK):
                # The folder may go away with the last session of its user. Then the other one has to do.
                with contextlib.suppress(OSError):
                    history_file.give_sign(self._pulse, self._wall_clock())
                await asyncio.sleep(PULSE)

    def _write(self, record: Record) -> None:
        self._safely(lambda: self._file.write(record))

    def _safely(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as exc:
            if not self._complained:  # once: a full disk is no better for a log that fills it
                _log.error("the history cannot be written: %s", exc)
            self._complained = True
        else:
            self._complained = False
