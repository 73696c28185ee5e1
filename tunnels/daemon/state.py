"""Writes down which tunnels should be up, so that the next daemon takes them up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from tunnels import desired_state
from tunnels.desired_state import DesiredState
from tunnels.errors import TunnelsError

_log = logging.getLogger("tunnels")

#: Seconds until what could not be written is tried again; a full disk is most often somebody's matter of minutes.
RETRY = 60.0


class StateKeeper:
    """One write for all that changes in one turn of the event loop: a command may start a thousand tunnels."""

    def __init__(self, path: Path, state: Callable[[], DesiredState]) -> None:
        self._path = path
        self._state = state
        self._written: DesiredState | None = None
        self._failed = False
        self._timer: asyncio.Handle | None = None

    def changed(self) -> None:
        """Write it down, before anything that is to come of it is told."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_soon(self.write)

    def write(self) -> None:
        """Write it down now, if it is not what was written last. What cannot be written is tried again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        state = self._state()
        if state == self._written:
            return
        try:
            desired_state.save(self._path, state)
        except (OSError, TunnelsError) as exc:
            if not self._failed:  # once is enough
                _log.error("what should be up could not be written down: %s", exc)
            self._failed = True
            self._timer = asyncio.get_running_loop().call_later(RETRY, self.write)
            return
        self._written = state
        if self._failed:
            self._failed = False
            _log.info("what should be up is written down again")

    def close(self) -> None:
        """Write no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
