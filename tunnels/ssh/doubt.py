"""Grows suspicious when the server is slow to open a channel: perhaps the way to it is broken.

Most often it is the destination that is slow. But where packets are being lost without any other sign, TCP waits
twice as long before each repetition (RFC 6298 section 5.5), and would go on waiting after the way is mended. So
while an answer is late, TCP is told to repeat every second: that costs some packets, and a client that came
during a black hole of 8 s is served up to 6 s sooner after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Seconds after which an answer is late: longer than most servers need to reach a destination or to give it up.
LATE = 1.5


class Doubt:
    """Whether the way to the server is in doubt, and who is told of it."""

    def __init__(self, doubtful: Callable[[bool], None]) -> None:
        self._doubtful = doubtful
        self._late = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what the server should answer; then `answered` says whether it did."""
        timer = asyncio.get_running_loop().call_later(LATE, self._is_late)
        try:
            yield
        finally:
            timer.cancel()

    def _is_late(self) -> None:
        if not self._late:
            self._late = True
            self._doubtful(True)

    def answered(self) -> None:
        """The server has answered, be it with a refusal."""
        if self._late:
            self._late = False
            self._doubtful(False)
