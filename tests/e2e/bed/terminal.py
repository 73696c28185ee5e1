"""A terminal of its own for a command that asks its user something."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]|\x1b[=>78]|\r")


class Terminal:
    """Runs a command on a pseudo-terminal; `expect` waits for text, `send` types a line."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: str, columns: int = 120
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509  # nothing but one ioctl between fork and exec
        )
        os.close(slave)
        self.raw = ""  #: everything that was shown so far, as it was sent
        self._seen = 0

    @property
    def text(self) -> str:
        """Everything that was shown so far, without colours and cursor movements."""
        return _ESCAPES.sub("", self.raw)

    def _read(self, timeout: float) -> bool:
        """Take what is there; return whether the terminal is still open."""
        ready, _, _ = select.select([self._master], [], [], timeout)
        if not ready:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: the last one who had the terminal has closed it
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    def expect(self, pattern: str, *, within: float = 15) -> str:
        """Wait until a regular expression matches what was shown since the last match; return the match."""
        __tracebackhide__ = True
        deadline = time.monotonic() + within
        is_open = True
        while True:
            match = re.search(pattern, self.text[self._seen :], re.IGNORECASE)
            if match:
                self._seen += match.end()
                return match[0]
            if not is_open or time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} was not shown, but:\n{self.text}")
            is_open = self._read(0.1)

    def send(self, line: str) -> None:
        """Type a line and Return."""
        os.write(self._master, f"{line}\r".encode())

    def send_hidden(self, line: str, *, within: float = 15) -> None:
        """Type a line that must not be shown, as soon as the terminal does not show it."""
        __tracebackhide__ = True
        deadline = time.monotonic() + within
        while termios.tcgetattr(self._master)[3] & termios.ECHO:
            assert time.monotonic() < deadline, f"the terminal would show what is typed:\n{self.text}"
            self._read(0.02)
        self.send(line)

    def interrupt(self) -> None:
        """Type Ctrl-C."""
        os.write(self._master, b"\x03")

    def wait(self, *, within: float = 15) -> int:
        """Wait for the end of the command and return its exit code."""
        __tracebackhide__ = True
        deadline = time.monotonic() + within
        while (code := self._process.poll()) is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"still running after {within:g} s:\n{self.text}")
            self._read(0.05)
        while select.select([self._master], [], [], 0)[0] and self._read(0):
            pass
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            os.close(self._master)


def _take_terminal() -> None:
    """Make standard input the controlling terminal of the new session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
