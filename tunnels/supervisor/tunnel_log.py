"""What a tunnel writes into the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from tunnels.core.address import Address
from tunnels.core.forward import Forward
from tunnels.core.lifecycle import Lifecycle
from tunnels.core.state import TunnelState
from tunnels.errors import CaptivePortal, DialError, TunnelsError

#: Seconds between two lines that say the same of the same destination. A program that tries again and again would
#: push everything else out of the log.
REFUSED_INTERVAL = 10.0

#: Destinations of which it is remembered when that was said.
MOST_REFUSED = 64


class TunnelLog(logging.LoggerAdapter[logging.Logger]):
    """Every line of a tunnel carries its name."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.getLogger("tunnels.tunnel"), {"tunnel": name})
        self._clock = clock
        self._refused: dict[
            tuple[str, str], tuple[float, int]
        ] = {}  # said when, and not said how often since
        self._asked: tuple[int, float] | None = None  # in which attempt, and when

    def state(self, host: str, machine: Lifecycle, now: float) -> None:
        """The state has changed."""
        error = "" if machine.error is None else machine.error.message
        asked, self._asked = self._asked, None
        match machine.state:
            case TunnelState.BACKOFF:
                assert machine.retry_at is not None
                has_way = machine.online or isinstance(machine.error, CaptivePortal)
                offline = "" if has_way else "; offline, waits for the network"
                delay = max(0.0, machine.retry_at - now)
                self.warning("%s%s; attempt %d in %.1f s", error, offline, machine.attempt + 1, delay)
            case TunnelState.FAILED:
                self.error("failed: %s", error)
            case TunnelState.NEEDS_INPUT:
                self.warning("needs input: %s", error)
                self._asked = machine.attempt, now
            case TunnelState.CONNECTING if asked is not None and asked[0] == machine.attempt:
                self.info("goes on with an answer, after %.1f s", now - asked[1])
            case TunnelState.CONNECTING:
                self.info("connecting to %s (attempt %d)", host, machine.attempt)
            case state:
                self.info("%s", state.value)

    def client_refused(self, connect: Address, error: DialError) -> None:
        """A client could not be served. It is said at once, and then now and then with how many more."""
        now, key = self._clock(), (str(connect), error.message)
        said, unsaid = self._refused.pop(key, (float("-inf"), 0))
        if now - said < REFUSED_INTERVAL:
            self._refused[key] = said, unsaid + 1
            return
        self._refused[key] = now, 0
        if len(self._refused) > MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        others = f" ({unsaid} more since it was last said)" if unsaid else ""
        self.warning("a client could not reach %s: %s%s", connect, error.message, others)

    def destination(self, forward: Forward, error: DialError | None) -> None:
        """A probe has found that a destination has gone, or is there again."""
        if error is None:
            self.info("%s answers again", forward.connect)
        else:
            self.warning("%s does not answer: %s", forward.connect, error.message)

    def forward_failed(self, forward: Forward, error: TunnelsError) -> None:
        """A forward cannot listen."""
        self.error("%s: %s", forward, error.message)

    def offline(self, host: str, state: TunnelState) -> None:
        """There is no route any more."""
        if state is not TunnelState.IDLE:
            self.info("offline: no route to %s", host)

    def back_online(self, host: str, state: TunnelState, *, was_offline: bool) -> None:
        """There is a route again, or another one."""
        if state is not TunnelState.IDLE:
            self.info("there is a route to %s again" if was_offline else "the way to %s has changed", host)

    def portal(self, portal: CaptivePortal | None) -> None:
        """A login page is in the way, or has gone."""
        if portal is None:
            self.info("the login page has gone")
        else:
            self.warning("%s", portal.message)

    def forward_healed(self, forward: Forward, seconds: float) -> None:
        """A forward that could not listen does now."""
        self.info("%s: listens after all, %.1f s after it was first refused", forward, seconds)
