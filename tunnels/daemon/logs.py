"""Where log lines go: into a rotating file for the daemon, to stderr in the foreground."""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from tunnels import paths
from tunnels.core.logline import LogLine, printable
from tunnels.core.status import format_time

#: Two files of this size are kept: months of a busy laptop.
MAX_BYTES = 2 * 1024 * 1024
BACKUPS = 1


class _LineFormatter(logging.Formatter):
    """Our one-line format; a traceback follows, indented, so that it cannot be taken for a line."""

    def format(self, record: logging.LogRecord) -> str:
        tunnel = getattr(record, "tunnel", None)
        line = str(
            LogLine(format_time(record.created, precise=True), record.levelname, tunnel, record.getMessage())
        )
        if record.exc_info:
            line += "".join(
                f"\n    {printable(part)}" for part in self.formatException(record.exc_info).splitlines()
            )
        return line


class _PrivateRotatingHandler(RotatingFileHandler):
    """Creates its files 0600."""

    def _open(self):  # type: ignore[no-untyped-def]  # noqa: ANN202 - typed in the base class
        os.close(os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return super()._open()


def to_file(path: Path) -> logging.Handler:
    """Log into a file that only this user can read, and that stays bounded."""
    paths.make_private(path.parent)
    return _install(_PrivateRotatingHandler(path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8"))


def to_stderr() -> logging.Handler:
    """Log to stderr, for systemd, containers and debugging."""
    return _install(logging.StreamHandler(sys.stderr))


def _install(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(_LineFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("tunnels").setLevel(logging.INFO)
    # asyncssh's debug level 3 prints passwords, and its info level every destination: neither is for a log.
    logging.getLogger("asyncssh").setLevel(logging.ERROR)
    return handler
