"""Grows suspicious when the server is slow to open a channel: perhaps the way to it is broken.

Most often it is the destination that is slow. But where packets are being lost without any other sign, TCP waits
twice as long before each repetition (RFC 6298 section 5.5), and would go on waiting after the way is mended. So
while an answer is late, TCP is told to repeat every second: that costs some packets, and a client that came
during a black hole of 8 s is served up to 6 s sooner after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

#: Seconds after which an answer is late: longer than most servers need to reach a destination or to give it up.
LATE = 1.5


class Doubt:
    """Whether the way to the server is in doubt, and who is told of it. All who wait share one timer."""

    def __init__(self, doubtful: Callable[[bool], None]) -> None:
        self._doubtful = doubtful
        self._late = False
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[object, float] = {}  # when each began, the first one first
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, who: object) -> None:
        """Somebody waits for an answer from now on."""
        self._waiting[who] = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(LATE, self._look)

    def end(self, who: object, *, answered: bool) -> None:
        """And no longer: the server has answered, be it with a refusal; or will not any more."""
        self._waiting.pop(who, None)
        if answered and self._late:
            self._late = False
            self._doubtful(False)

    def _look(self) -> None:
        """Whoever has waited for too long is forgotten: the next one may make it doubtful again."""
        self._timer = None
        now = self._loop.time()
        for who, since in list(self._waiting.items()):
            left = since + LATE - now
            if left > 0:
                self._timer = self._loop.call_later(left, self._look)
                return
            del self._waiting[who]
            if not self._late:
                self._late = True
                self._doubtful(True)
