"""The keyring of the system (Keychain, Secret Service, KWallet), through the package ``keyring``, an extra.

Without the package there is no keyring, and nothing is said about that until somebody wants to save something.
Everything happens in threads that nobody waits for at the end: a keyring that is locked may ask its owner, and
one whose D-Bus service hangs never answers.

A secret that a server has refused stays where it is, because the server may be wrong; but this process does not
take it out again. Servers count wrong passwords, and lock the account.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tunnels.errors import UsageError

_log = logging.getLogger("tunnels")

_T = TypeVar("_T")

#: What our entries are filed under; the account of an entry is what its secret is about.
SERVICE = "tunnels"

#: Seconds for an answer; a keyring that is locked asks its owner first.
TIMEOUT = 15.0

#: Calls that may hang at the same time; after that the keyring counts as absent.
MAX_CALLS = 8

_calls = threading.BoundedSemaphore(MAX_CALLS)

_refused: dict[str, bytes] = {}  # subject -> digest of what was refused; the last one is enough
_salt = os.urandom(16)


class _Unavailable(Exception):
    """The keyring could not be used; says why, and nothing of what is in it."""


def installed() -> bool:
    """Whether the package is there."""
    return importlib.util.find_spec("keyring") is not None


async def recall(subject: str) -> str | None:
    """The secret about a subject; None where there is none that was not refused, or no keyring that answers."""

    def get(keyring: Any) -> str | None:
        found = keyring.get_password(SERVICE, subject)
        return found if isinstance(found, str) else None

    if not installed():
        return None
    try:
        found = await _call(get)
    except _Unavailable as exc:
        if exc.args != ("NoKeyringError",):  # the package's word for a machine that has none
            _log.info("the keyring was not asked about the %s: %s", subject, exc)
        return None
    return None if found is None or _refused.get(subject) == _digest(found) else found


def refuse(subject: str, secret: str) -> None:
    """A server has not taken it: do not give it out again."""
    _refused[subject] = _digest(secret)


def trust(subject: str) -> None:
    """Whatever was refused before: there is a secret about this now that a server has taken."""
    _refused.pop(subject, None)


async def save(subject: str, secret: str) -> bool:
    """Keep a secret in the place of what was there before; whether that has worked. If not, the log says why."""
    try:
        await _call(lambda keyring: keyring.set_password(SERVICE, subject, secret))
    except _Unavailable as exc:
        _log.warning("the %s could not be saved in the keyring: %s", subject, exc)
        return False
    return True


async def remove(subject: str) -> None:
    """Remove what has proved to be wrong."""
    try:
        await _call(lambda keyring: keyring.delete_password(SERVICE, subject))
    except _Unavailable as exc:
        _log.info("the %s could not be removed from the keyring: %s", subject, exc)


async def check() -> None:
    """Raise UsageError where nothing could be saved."""

    def look(keyring: Any) -> bool:
        return bool(keyring.get_keyring().priority > 0)  # what stands there for "none" has 0 or less

    if not installed():
        raise UsageError(
            "the answer cannot be saved: the package keyring is not installed",
            hint='pip install "tunnels[keyring]"; or answer without --save',
        )
    try:
        usable = await _call(look)
    except _Unavailable as exc:
        raise UsageError(
            f"the answer cannot be saved: {exc}", hint="answer without --save to go on"
        ) from None
    if not usable:
        raise UsageError(
            "the answer cannot be saved: this machine has no keyring",
            hint="`python -m keyring diagnose` says more; answer without --save to go on",
        )


async def _call(function: Callable[[Any], _T]) -> _T:
    """Give a function the package, in a thread. Raises _Unavailable."""
    if not _calls.acquire(blocking=False):
        raise _Unavailable("it does not answer")
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # whatever the function gives

    def work() -> None:
        result: _T | None = None
        error: Exception | None = None
        try:
            import keyring  # noqa: PLC0415 - an extra, which looks for its backends when it is imported

            result = function(keyring)
        except Exception as exc:  # noqa: BLE001 - backends raise whatever they like, and may quote what they were given
            error = _Unavailable(type(exc).__name__)
        finally:
            _calls.release()
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop has ended meanwhile
            pass

    threading.Thread(target=work, name="keyring", daemon=True).start()
    try:
        async with asyncio.timeout(TIMEOUT):
            return await future
    except TimeoutError:
        raise _Unavailable(f"it did not answer within {TIMEOUT:g} s") from None


def _digest(secret: str) -> bytes:
    return hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=_salt).digest()
