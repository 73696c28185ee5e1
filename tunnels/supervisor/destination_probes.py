"""Asks the destinations of a tunnel from time to time whether they are there, where a profile says ``probe``.

Only while the connection is up: a probe wakes nothing, holds nothing open, and is no client. A destination that
has just taken a client is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tunnels.core.forward import Forward, ForwardKind
from tunnels.errors import DialError
from tunnels.forwarding.channel import Link, LinkLost
from tunnels.forwarding.forwarder import Forwarder
from tunnels.forwarding.glance import reach_from_here, reach_from_server
from tunnels.tasks import TaskScope

#: Destinations of one tunnel that are asked at the same time.
AT_ONCE = 8

#: Told of a destination that has gone, or is there again: (forward, why; None: it answers).
OnProbed = Callable[[Forward, DialError | None], None]


class DestinationProbes:
    """From `start` to `stop`, for every forward that has a ``probe``."""

    def __init__(self, forwarders: Sequence[Forwarder], scope: TaskScope, on_probed: OnProbed) -> None:
        self._forwarders = [each for each in forwarders if each.forward.probe and each.forward.connect]
        self._scope = scope
        self._on_probed = on_probed
        self._few = asyncio.Semaphore(AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        self._gone: set[Forwarder] = set()  #: as far as we have said

    def start(self, link: Link) -> None:
        """The connection is there."""
        self.stop()
        self._tasks = [
            self._scope.spawn(self._watch(each, link), name=f"probe {each.forward.connect}")
            for each in self._forwarders
        ]

    def stop(self) -> None:
        """The connection is away."""
        for task in self._tasks:
            task.cancel()
        self._tasks = []

    async def _watch(self, forwarder: Forwarder, link: Link) -> None:
        period = forwarder.forward.probe
        assert period is not None
        while True:
            alive_at = forwarder.health.alive_at
            rest = 0.0 if alive_at is None else alive_at + period - asyncio.get_running_loop().time()
            if rest > 0:
                self._say(forwarder, None)  # perhaps a client has shown it
                await asyncio.sleep(rest)
                continue
            try:
                async with self._few:
                    await self._ask(forwarder.forward, link)
            except LinkLost:
                return
            except DialError as error:
                forwarder.health.refused(error)
                self._say(forwarder, error)
                await asyncio.sleep(period)
            else:
                forwarder.health.answered()

    async def _ask(self, forward: Forward, link: Link) -> None:
        assert forward.connect is not None
        if forward.kind is ForwardKind.REMOTE:
            await reach_from_here(forward.connect)
        else:
            await reach_from_server(link, forward.connect)

    def _say(self, forwarder: Forwarder, error: DialError | None) -> None:
        """Once for each change: a destination that stays away is not worth a line every 30 s."""
        if error is None and forwarder in self._gone:
            self._gone.discard(forwarder)
        elif error is not None and forwarder not in self._gone:
            self._gone.add(forwarder)
        else:
            return
        self._on_probed(forwarder.forward, error)
