"""Asks over plain HTTP whether a login page answers in place of the network; `core.captive` says why and judges.

One for all tunnels of a daemon: a thousand of them that cannot get through ask the address that is nobody's
once. Nothing is asked while everything works.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from typing import Protocol

from tunnels import process
from tunnels.core.captive import (
    NO_DOUBT,
    NOBODY,
    REFUSAL,
    SILENCE,
    Doubt,
    Reply,
    Verdict,
    is_this_machine,
    judge,
    portal_error,
    read_reply,
)
from tunnels.errors import HostUnreachable, NameNotResolved, TunnelsError
from tunnels.tasks import TaskScope

#: Seconds for an answer: at first, and while it is only asked whether the login page is still there.
FIRST_LIMIT = 3.0
AGAIN_LIMIT = 1.5

#: Bytes of an answer that are read: the head of a redirect is far smaller.
MAX_ANSWER = 4096

#: Seconds in which nobody's answer is good for all tunnels.
_FRESH = 1.0

_NMCLI_LIMIT = 3.0

_HTTP = 80


class PortalProbe(Protocol):
    """Looks whether there is a login page."""

    async def look(
        self, addresses: tuple[str, ...], doubt: Doubt = NO_DOUBT, *, again: bool = False
    ) -> Verdict:
        """Look, within `FIRST_LIMIT` seconds and some; ``again``: there was one a moment ago. Never raises.

        ``addresses`` are those of the SSH host; the first of them is asked where there is a ``doubt``.
        """


class HttpPortalProbe:
    """The real one."""

    def __init__(self, *, port: int = _HTTP, clock: Callable[[], float] = time.monotonic) -> None:
        self._port = port
        self._clock = clock
        self._scope = TaskScope("login pages")
        self._asking: asyncio.Task[Reply] | None = None  # the address that is nobody's
        self._asked = -_FRESH  # when its last answer came
        self._answer = SILENCE

    async def look(
        self, addresses: tuple[str, ...], doubt: Doubt = NO_DOUBT, *, again: bool = False
    ) -> Verdict:
        """See `PortalProbe`."""
        limit = AGAIN_LIMIT if again else FIRST_LIMIT
        address = addresses[0] if addresses and doubt.concerns_host else ""
        nobody, host = await asyncio.gather(
            self._ask_nobody(limit), ask(address, self._port, limit=limit) if address else _nothing()
        )
        verdict = judge(nobody, host, address=address, doubt=doubt)
        if verdict.captive or not shutil.which("nmcli"):
            return verdict
        return judge(nobody, host, address=address, doubt=doubt, manager=await _ask_manager(anew=again))

    async def _ask_nobody(self, limit: float) -> Reply:
        """Ask it once for all who want to know now."""
        if self._answer.present and self._clock() - self._asked < _FRESH:
            return self._answer
        if self._asking is None or self._asking.done():
            self._asking = self._scope.spawn(ask(NOBODY, self._port, limit=limit), name="ask")
        self._answer = await asyncio.shield(self._asking)
        self._asked = self._clock()
        return self._answer

    async def aclose(self) -> None:
        """Ask no more."""
        await self._scope.aclose()


async def _nothing() -> Reply:
    return SILENCE


async def ask(address: str, port: int, *, limit: float) -> Reply:
    """Ask an address for its first page: no path, no cookie, no redirect followed, `MAX_ANSWER` bytes. Never raises."""
    host = f"[{address}]" if ":" in address else address
    request = (
        f"GET / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tunnels\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    try:
        async with asyncio.timeout(limit):
            reader, writer = await asyncio.open_connection(address, port, limit=MAX_ANSWER)
    except ConnectionRefusedError:
        return REFUSAL
    except (OSError, UnicodeError):  # TimeoutError is one; or there is no way there
        return SILENCE
    data = b""
    try:
        async with asyncio.timeout(limit):
            writer.write(request.encode("ascii", "replace"))
            while len(data) < MAX_ANSWER and b"\n\r\n" not in data and b"\n\n" not in data:
                more = await reader.read(MAX_ANSWER - len(data))
                if not more:
                    break
                data += more
    except OSError:
        pass
    finally:
        writer.transport.abort()
    return read_reply(data)


async def _ask_manager(*, anew: bool) -> str:
    """What NetworkManager thinks of the network; ``anew``: it is to look for itself first."""
    words = ["nmcli", "--terse", "networking", "connectivity", *(["check"] if anew else [])]
    try:
        done = await process.run(words, timeout=_NMCLI_LIMIT, limit=64, env={**os.environ, "LC_ALL": "C"})
    except (OSError, ValueError):
        return ""
    return done.output.decode("ascii", "replace").strip() if done.status == 0 else ""


async def explain(error: TunnelsError, addresses: tuple[str, ...] = (), *, port: int = _HTTP) -> TunnelsError:
    """Say why one attempt has failed, for who makes only that one: a login page, or what it was said to be."""
    if not isinstance(error, HostUnreachable | NameNotResolved) or is_this_machine(addresses):
        return error
    probe = HttpPortalProbe(port=port)
    try:
        verdict = await probe.look(())
    finally:
        await probe.aclose()
    return portal_error(verdict) if verdict.captive else error
