"""A secret that nobody has just typed is told to a server by one login at a time, until the server has judged it.

Five tunnels to one server come back in the same second. If the password that all of them remember was changed
meanwhile, the server would count five wrong ones, and lock the account. So the first one tries; the others wait
for its verdict, and what was refused to one is told by none of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os

#: Seconds to wait for the verdict of another login, which may hang; then this one goes on by itself.
PATIENCE = 20.0

_trials: dict[str, asyncio.Future[bool]] = {}  # subject -> whether the server has taken it

_refused: dict[str, bytes] = {}  # subject -> digest of what was refused; the last one is enough
_salt = os.urandom(16)


class Trial:
    """The part of one login in this."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._verdict: asyncio.Future[bool] | None = None

    async def begin(self) -> None:
        """Wait for those who try the same; returns when this login may tell the server."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while (other := _trials.get(self._subject)) is not None and other is not self._verdict:
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait([other], timeout=max(0.0, left))
            if not other.done() or (not other.cancelled() and other.result()):
                return
        if self._verdict is None:
            self._verdict = _trials[self._subject] = asyncio.get_running_loop().create_future()

    def end(self, *, good: bool = False) -> None:
        """The server has judged, or will not for a while. Does nothing the second time."""
        verdict, self._verdict = self._verdict, None
        if verdict is not None:
            if _trials.get(self._subject) is verdict:
                del _trials[self._subject]
            if not verdict.done():
                verdict.set_result(good)


def refuse(subject: str, secret: str) -> None:
    """A server has not taken it: nobody who remembers it tells it again."""
    _refused[subject] = _digest(secret)


def trust(subject: str) -> None:
    """Whatever was refused before: there is a secret about this now that the server has taken."""
    _refused.pop(subject, None)


def was_refused(subject: str, secret: str) -> bool:
    """Whether this is what the server refused the last time."""
    return _refused.get(subject) == _digest(secret)


def _digest(secret: str) -> bytes:
    return hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=_salt).digest()
