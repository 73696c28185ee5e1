"""A word on the desktop when a tunnel needs its person: through ``notify-send``, or ``osascript`` on macOS."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping

from tunnels import process
from tunnels.core.logline import printable
from tunnels.core.profile import Profile
from tunnels.core.state import WORKING, TunnelState
from tunnels.core.transition import Transition
from tunnels.errors import CaptivePortal
from tunnels.tasks import TaskScope

#: Seconds in which a tunnel says something at most once.
QUIET = 60.0

#: Seconds that a question has to be answered in before it is said on the desktop: most often the person sits at the
#: terminal that asks it.
GRACE = 10.0

#: Seconds until a desktop that does not answer is given up.
TIMEOUT = 10.0

#: Characters of a text; desktops show less.
_MAX_TEXT = 300

#: One of these is set where there is a desktop to talk to.
_DESKTOP = ("WAYLAND_DISPLAY", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS")

_SAY = {TunnelState.FAILED: "failed", TunnelState.NEEDS_INPUT: "needs input"}

#: After one of these a question is a new one, also if it has the same words.
_SETTLED = WORKING | {TunnelState.FAILED, TunnelState.STOPPED}

#: The texts are arguments of this script and no part of it, so that none of them can be taken for a command.
_SCRIPT = (
    *("-e", "on run argv"),
    *("-e", "display notification (item 2 of argv) with title (item 1 of argv)"),
    *("-e", "end run"),
)

_log = logging.getLogger("tunnels.notifications")


class Notifications:
    """What is said on the desktop; nothing where there is none."""

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        *,
        platform: str = sys.platform,
        clock: Callable[[], float] = time.monotonic,
        grace: float = GRACE,
    ) -> None:
        self._environment = environment
        self._platform = platform
        self._clock = clock
        self._grace = grace
        self._states: dict[str, Transition] = {}  # the last change of each tunnel
        self._scope = TaskScope("notifications")
        self._said: dict[str, float] = {}
        self._portal_said = False
        self._asked: dict[
            str, str
        ] = {}  # what each tunnel needed last, until it has come to an end otherwise

    def observe(self, profile: Profile, transition: Transition) -> None:
        """A tunnel's state has changed."""
        is_portal = transition.error is not None and transition.error.code == CaptivePortal.code
        word = "waits behind a login page" if is_portal else _SAY.get(transition.after)
        self._states[profile.name] = transition
        if transition.after is TunnelState.STOPPED:
            del self._states[profile.name]
        if transition.after is TunnelState.UP:
            self._portal_said = False
        if transition.after in _SETTLED:
            self._asked.pop(profile.name, None)
        if word is None or not profile.notify or self._is_repeated(transition):
            return
        if is_portal and self._portal_said:  # it is in the way of all tunnels, and one of them has said it
            return
        now = self._clock()
        if now - self._said.get(profile.name, -QUIET) < QUIET:
            return
        words = command(f"{profile.name} {word}", _body(transition), self._environment, self._platform)
        if words is not None:
            self._said[profile.name] = now
            self._portal_said = self._portal_said or is_portal
            self._scope.spawn(self._say(words, transition), name=profile.name)

    def _is_repeated(self, transition: Transition) -> bool:
        """Whether it is the question that nobody has answered, asked again by an attempt that nobody wanted."""
        return transition.after is TunnelState.NEEDS_INPUT and self._asked.get(transition.tunnel) == _body(
            transition
        )

    async def _say(self, words: list[str], transition: Transition) -> None:
        if transition.after is TunnelState.NEEDS_INPUT:
            await asyncio.sleep(self._grace)
            if self._states.get(transition.tunnel) is not transition:  # answered
                self._said.pop(transition.tunnel, None)
                return
            self._asked[transition.tunnel] = _body(transition)
        try:
            done = await process.run(words, timeout=TIMEOUT, limit=1024, errors=True, env=self._environment)
        except (OSError, ValueError) as exc:
            _log.warning("%s: %s", words[0], exc)
            return
        if done.status != 0:
            said = done.output.decode("utf-8", "replace").strip().partition("\n")[0]
            _log.warning("%s did not work: %s", words[0], said or "it did not say why")

    async def aclose(self) -> None:
        """End what is still being said."""
        await self._scope.aclose()


def _body(transition: Transition) -> str:
    error = transition.error
    if error is None:
        return "`tunnels status` says why"
    return (
        f"{error.message[:_MAX_TEXT]}\n{error.hint[:_MAX_TEXT]}" if error.hint else error.message[:_MAX_TEXT]
    )


def command(summary: str, body: str, environment: Mapping[str, str], platform: str) -> list[str] | None:
    """The command that says it; None where there is no desktop or no program for it.

    ``summary`` begins with the name of a profile, which no program takes for an option.
    """
    summary, lines = printable(summary), [printable(line) for line in body.split("\n")]
    if platform == "darwin":
        program = shutil.which("osascript", path=environment.get("PATH"))
        return None if program is None else [program, *_SCRIPT, summary, "\n".join(lines)]
    if not any(environment.get(name) for name in _DESKTOP):
        return None
    program = shutil.which("notify-send", path=environment.get("PATH"))
    if program is None:
        return None
    # The desktop takes the body for a little HTML, and notify-send itself for a text with backslashes in it.
    text = "\n".join(lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return [program, "--app-name=tunnels", "--", summary, text.replace("\\", "\\\\")]
