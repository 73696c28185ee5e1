"""A file that exists exactly while everything works, for whoever can look at a file but not ask a daemon."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from tunnels.errors import UsageError

_log = logging.getLogger("tunnels")

#: What is in it. A file with anything else in it is somebody's, and is not removed.
WORD = b"ready\n"


class ReadyFile:
    """The file of ``up -f --ready-file``, or none."""

    def __init__(self, path: Path | None) -> None:
        """What a run that was killed has left is removed. Raises UsageError where the file is not ours."""
        self._path = path
        self._exists = False
        if path is None:
            return
        if not path.parent.is_dir():
            raise UsageError(f"--ready-file: there is no folder {path.parent}")
        try:
            with path.open("rb") as file:
                found = file.read(len(WORD) + 1)
        except FileNotFoundError:
            return
        except OSError as exc:
            raise UsageError(f"--ready-file: {path}: {exc.strerror or exc}") from exc
        if found not in {b"", WORD}:
            raise UsageError(
                f"--ready-file: {path} has something else in it, and would be removed",
                hint="name another file",
            )
        self._remove(path)

    def show(self, ready: bool) -> None:
        """Let it exist, or not. A disk that is full is said in the log, and nothing else suffers."""
        if self._path is None or ready == self._exists:
            return
        try:
            if ready:
                self._create(self._path)
            else:
                self._remove(self._path)
        except OSError as exc:
            _log.error("the ready file %s: %s", self._path, exc.strerror or exc)
        else:
            self._exists = ready

    def _create(self, path: Path) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        # A health check may be another user's, and there is nothing in it to hide.
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, WORD)
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        finally:
            os.close(fd)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
