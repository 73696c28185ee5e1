"""Watches, for one tunnel that cannot get through, whether a login page is in the way, and when it has gone.

An attempt that fails, or gets nowhere for `SLOW` seconds, is the reason to look; `portal_probe` looks, and the
tunnel goes on meanwhile. Where there is a login page, the machine hears it as the reason (`events.Explained`);
from then on it is looked for every `POLL` seconds, and its end is a way to the host again (`PathChanged`), so
that the tunnel dials at once. An attempt is made now and then all the same (`backoff.OFFLINE_RETRY`).

What answers on the SSH port and is a web server, without any login page, is the wrong port: a person must mend
that, unless the tunnel has been up before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tunnels.core import events as ev
from tunnels.core.captive import (
    Doubt,
    Manner,
    Verdict,
    has_moved_inside,
    is_this_machine,
    manner,
    portal_error,
)
from tunnels.core.lifecycle import Lifecycle
from tunnels.core.state import TunnelState
from tunnels.errors import (
    CaptivePortal,
    HandshakeFailed,
    HostUnreachable,
    NameNotResolved,
    NotSsh,
    TunnelsError,
)
from tunnels.supervisor.alarm import Alarm
from tunnels.supervisor.portal_probe import PortalProbe
from tunnels.supervisor.tunnel_log import TunnelLog
from tunnels.tasks import TaskScope

#: Seconds that an attempt may take before it is looked why: most portals let no SSH through and say nothing.
SLOW = 3.0

#: Seconds between two looks whether the login page is still there; and where only NetworkManager knows of it,
#: which asks its own page then.
POLL = 2.0
POLL_MANAGER = 10.0

#: Seconds in which it is not looked again after a look that found nothing.
LOOK_AGAIN = 15.0

#: In these it makes a difference.
ON_ITS_WAY = frozenset({TunnelState.CONNECTING, TunnelState.BACKOFF})


class PortalWatch:
    """What one tunnel knows of login pages. Without a ``probe`` it never looks."""

    def __init__(
        self,
        probe: PortalProbe | None,
        scope: Callable[[], TaskScope],
        machine: Lifecycle,
        feed: Callable[[ev.Event], None],
        log: TunnelLog,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._probe = probe
        self._scope = scope
        self._machine = machine
        self._feed = feed
        self._log = log
        self._loop = loop
        self._timer = Alarm(loop)
        self._task: asyncio.Task[None] | None = None
        self._portal: CaptivePortal | None = None
        self._addresses: tuple[str, ...] = ()
        self._reached: tuple[str, ...] = ()  # the addresses with which the tunnel was up last
        self._stranger: NotSsh | None = None  # who answered the last attempt
        self._looked = -LOOK_AGAIN  # when nothing was found last

    def __repr__(self) -> str:
        return f"<PortalWatch: {self._portal or 'nothing in the way'}>"

    def found(self, addresses: tuple[str, ...]) -> None:
        """An attempt is about to dial these."""
        self._addresses = addresses
        is_idle = self._portal is None and self._task is None
        if self._probe is not None and is_idle and not is_this_machine(addresses):
            self._timer.set(self._loop.time() + SLOW, self._look)

    def failed(self, error: TunnelsError) -> TunnelsError:
        """An attempt has failed; returns what is known to be the reason."""
        if self._probe is None or not isinstance(error, HostUnreachable | NameNotResolved):
            self.stop()
            return error
        self._stranger = error if isinstance(error, NotSsh) else None
        if self._portal is not None:
            return self._portal
        is_due = self._loop.time() - self._looked >= LOOK_AGAIN and not is_this_machine(self._addresses)
        if self._stranger is not None or is_due:
            self._look()
        else:
            self._timer.cancel()
        return error

    def reached(self) -> None:
        """The SSH server has let us in: whatever was the reason to try again, a login page has gone."""
        self._reached = self._addresses
        if self._portal is not None:
            self._log.portal(None)
        self.stop()

    def stop(self) -> None:
        """It is of no interest any more."""
        self._timer.cancel()
        self._portal = self._stranger = None
        self._looked = -LOOK_AGAIN
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def _look(self) -> None:
        self._timer.cancel()
        if self._task is None:
            self._task = self._scope().spawn(self._ask(), name="login page")

    async def _ask(self) -> None:
        assert self._probe is not None
        doubt = Doubt(
            None if self._stranger is None else manner(self._stranger.heard),
            has_moved_inside(self._reached, self._addresses),
        )
        verdict = Verdict(False)
        if not is_this_machine(self._addresses):
            verdict = await self._probe.look(self._addresses, doubt, again=self._portal is not None)
        if self._task is not asyncio.current_task():
            return
        self._task = None
        if verdict.captive:
            self._is_there(verdict)
        elif self._portal is not None:
            self._is_gone()
        else:
            self._looked = self._loop.time()
            self._is_none(verdict, doubt)

    def _is_there(self, verdict: Verdict) -> None:
        is_new = self._portal is None
        self._portal = portal_error(verdict)
        self._timer.set(self._loop.time() + (POLL_MANAGER if verdict.manager else POLL), self._look)
        if is_new and self._machine.state in ON_ITS_WAY:
            self._log.portal(self._portal)
            self._feed(ev.Explained(self._portal))

    def _is_gone(self) -> None:
        self._portal = None
        if self._machine.state in ON_ITS_WAY:
            self._log.portal(None)
            self._feed(ev.PathChanged())

    def _is_none(self, verdict: Verdict, doubt: Doubt) -> None:
        stranger = self._stranger
        if stranger is None or doubt.manner is not Manner.HTTP or verdict.captive is not False:
            return
        if self._machine.state in ON_ITS_WAY:
            hint = "check the host and the port; no login page is in the way"
            self._feed(ev.Explained(HandshakeFailed(stranger.message, hint=hint)))
