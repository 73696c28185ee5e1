"""A service manager, whichever it is: what can be asked of it, and the care of the one file it reads."""

from __future__ import annotations

import abc
import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from tunnels.errors import ServiceError
from tunnels.service import files
from tunnels.service.run import Runner


class State(NamedTuple):
    """How the service stands."""

    kind: str  #: ``systemd-user``, ``systemd-system`` or ``launchd``
    file: str
    installed: bool = False
    enabled: bool = False  #: starts by itself at the next login or boot
    active: bool = False
    state: str = "not installed"  #: in the words of the service manager
    since: float | None = None  #: seconds since the epoch
    pid: int | None = None
    status: str | None = None  #: what the daemon says of itself
    restarts: int | None = None
    lingering: bool | None = None  #: goes on after the logout; None where that is not a question


class Manager(abc.ABC):
    """One place for one service: this user's systemd, the system's, or launchd."""

    kind: str

    def __init__(self, file: Path, runner: Runner) -> None:
        self.file = file
        self._run = runner

    # --- the file -----------------------------------------------------------------------------

    def text(self) -> str | None:
        """What is installed; None where nothing is. Raises ServiceError where it is not ours, or unreadable."""
        try:
            found = self.file.read_text("utf-8", "replace")
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise ServiceError(f"{self.file} cannot be read: {exc.strerror or exc}") from exc
        if not files.is_ours(found):
            raise ServiceError(
                f"{self.file} was not written by tunnels, and stays as it is",
                hint="move it away first if the service is to be installed here",
            )
        return found

    def _write(self, text: str) -> None:
        """Put the file in its place, in one step. Units are read by anybody, as all of them are: no secrets."""
        temporary = self.file.with_name(f".{self.file.name}.new")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - a file descriptor, not a path
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(self._mode)
            temporary.replace(self.file)
        except OSError as exc:
            temporary.unlink(missing_ok=True)
            raise ServiceError(f"{self.file} cannot be written: {exc.strerror or exc}") from exc

    @property
    def _mode(self) -> int:
        return 0o600

    def _remove(self) -> None:
        try:
            self.file.unlink(missing_ok=True)
        except OSError as exc:
            raise ServiceError(f"{self.file} cannot be removed: {exc.strerror or exc}") from exc

    def put(self, text: str) -> str | None:
        """Install the file and have it known; it does not start. Returns what was there before.

        Raises ServiceError, and then everything is as it was.
        """
        before = self.text()
        self._write(text)
        try:
            self._learn()
        except ServiceError:
            self.put_back(before)
            raise
        return before

    def put_back(self, before: str | None) -> None:
        """Undo `put`, as far as it goes: what went wrong first is what is said."""
        if before is None:
            steps = [self._forget, self._remove, self._learn_removal]
        else:
            steps = [lambda: self._write(before), self._learn_removal]
        for step in steps:
            with contextlib.suppress(ServiceError):
                step()

    def uninstall(self) -> bool:
        """End the service and remove its file. Returns whether there was one. Raises ServiceError."""
        if self.text() is None:
            return False
        self._forget()
        self._remove()
        self._learn_removal()
        return True

    # --- what each of them does in its own way ---------------------------------------------------

    @abc.abstractmethod
    def render(self, service: files.Service) -> str:
        """Return the text of the file."""

    @abc.abstractmethod
    def check(self) -> None:
        """See whether the service manager is there and answers. Raises ServiceError."""

    @abc.abstractmethod
    def start(self) -> None:
        """Start the daemon, unless it runs; it can be asked when this returns. Raises ServiceError."""

    @abc.abstractmethod
    def restart(self) -> None:
        """End the daemon and start it again. Raises ServiceError."""

    @abc.abstractmethod
    def state(self, *, now: float, monotonic: float) -> State:
        """Return how it stands. Raises ServiceError."""

    @abc.abstractmethod
    def _learn(self) -> None:
        """Have the manager read the file, and start it at the next login or boot."""

    @abc.abstractmethod
    def _forget(self) -> None:
        """End it now, and do not start it any more."""

    @abc.abstractmethod
    def _learn_removal(self) -> None:
        """Have the manager see that the file has changed or gone."""
