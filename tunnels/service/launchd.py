"""launchd, the service manager of macOS, through ``launchctl``: an agent of the user."""

from __future__ import annotations

import re
from pathlib import Path

from tunnels.errors import ServiceError
from tunnels.service import files
from tunnels.service.manager import Manager, State
from tunnels.service.run import Done, Runner, run

#: launchctl's exit code for a service that it does not know (ESRCH of its own table, `launchctl error 113`).
NOT_FOUND = 113


class Launchd(Manager):
    """An agent: runs while its user is logged in."""

    kind = "launchd"

    def __init__(self, file: Path, *, uid: int, log: Path, runner: Runner = run) -> None:
        super().__init__(file, runner)
        self._domain = f"gui/{uid}"
        self._target = f"gui/{uid}/{files.LABEL}"
        self._log = log

    def render(self, service: files.Service) -> str:
        """Return the text of the agent."""
        return files.agent_text(files.agent_of(service, log=str(self._log)))

    def check(self) -> None:
        """See whether launchd has a session of this user."""
        done = self._run(("launchctl", "print", self._domain))
        if done.code:
            raise ServiceError(
                f"launchd has no session of this user: {done.why}", hint="log in on the screen, then again"
            )

    def start(self) -> None:
        """Start the agent. launchd does not know when the daemon can be asked: whoever needs it waits."""
        if self._print().code:
            self._must("bootstrap", self._domain, str(self.file))
        self._must("kickstart", self._target)

    def restart(self) -> None:
        """Have a changed agent read, which is only possible without it."""
        self._forget()
        self.start()

    def state(self, *, now: float, monotonic: float) -> State:
        """Return how it stands, as far as launchd says."""
        if self.text() is None:
            return State(self.kind, str(self.file))
        done = self._print()
        pid = re.search(r"^\s*pid = (\d+)$", done.out, re.MULTILINE)
        state = re.search(r"^\s*state = (.+)$", done.out, re.MULTILINE)
        loaded = done.code == 0
        return State(
            self.kind,
            str(self.file),
            installed=True,
            enabled=True,  # RunAtLoad, for as long as the file is there
            active=loaded and pid is not None,
            state=state[1] if loaded and state else "not loaded",
            pid=int(pid[1]) if loaded and pid else None,
        )

    def _print(self) -> Done:
        return self._run(("launchctl", "print", self._target))

    def _learn(self) -> None:
        self._log.parent.mkdir(
            mode=0o700, parents=True, exist_ok=True
        )  # launchd makes the file, not its folder
        self._must("enable", self._target)

    def _forget(self) -> None:
        done = self._run(("launchctl", "bootout", self._target))
        if done.code and self._print().code != NOT_FOUND:
            raise ServiceError(f"`launchctl bootout` failed: {done.why}")

    def _learn_removal(self) -> None:
        """Nothing is left to tell: what was loaded is gone."""

    def _must(self, *arguments: str) -> Done:
        done = self._run(("launchctl", *arguments))
        if done.code:
            raise ServiceError(f"`launchctl {arguments[0]}` failed: {done.why}")
        return done
