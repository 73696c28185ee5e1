"""Reading files that may be on a file system that has stopped answering, such as a dead NFS.

Such a read cannot be interrupted. In the loop it would stop every tunnel; in the loop's executor a few of them
take the threads that names are looked up in. Here the attempt ends and is made again, and a thread stays behind:
only some of those are let come together for one server. Other servers may have other files.
"""

from __future__ import annotations

import time
from asyncio import timeout
from collections.abc import Callable
from typing import Final, TypeVar

from tunnels.errors import HostUnreachable
from tunnels.ssh.in_thread import in_thread

T = TypeVar("T")

#: Seconds for what takes milliseconds.
TIMEOUT: Final = 15.0

#: Reads for one server that may hang at the same time; after that none is begun.
MAX_HANGING: Final = 4

_reading: dict[object, tuple[str, float]] = {}  # for which server, and since when, in monotonic seconds


async def read(work: Callable[[], T], what: str, server: str) -> T:
    """Return what ``work`` returns, or raise what it raises. Raises HostUnreachable where it hangs."""
    now = time.monotonic()
    error = HostUnreachable(
        f"{what} of {server} could not be read within {TIMEOUT:g} s",
        hint="does its file system answer? run: ls -l on it",
    )
    hanging = [name for name, since in list(_reading.values()) if now - since >= TIMEOUT]
    if hanging.count(server) >= MAX_HANGING:
        raise error
    me = object()
    _reading[me] = server, now

    def run() -> T:
        try:
            return work()
        finally:
            _reading.pop(me, None)

    try:
        async with timeout(TIMEOUT):
            return await in_thread(run, name=what)
    except TimeoutError:
        raise error from None
