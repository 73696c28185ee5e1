"""Runs a program that goes on for long, and ends it and all that it has started when we are told to end."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import IO, NamedTuple

#: Seconds that a program has to save what it wants to save.
_GRACE = 5.0

#: Lines of what it has said last.
_LINES = 5

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(NamedTuple):
    """How a program has ended."""

    code: int  #: as in a shell: 128 and the number of the signal that ended it
    signal: int | None  #: what we were sent, if that is why
    said: str  #: the end of its standard error, where that was not shown


def run_to_its_end(
    command: Sequence[str], *, environment: Mapping[str, str], keep_open: Sequence[int] = (), quiet: bool
) -> Ended:
    """Run a program in a process group of its own, until it has ended. Raises OSError.

    Ctrl-C, SIGTERM and SIGHUP are passed on to the whole group; what has not ended 5 s later, or at the second
    Ctrl-C, is killed. At the end nothing of the group is left. With ``quiet`` its standard error is not shown.
    """
    child = _Child()
    with child.told_of_signals():
        process = subprocess.Popen(
            command,
            env=dict(environment),
            start_new_session=True,  # a group of its own: Ctrl-C comes from us, once
            pass_fds=tuple(keep_open),
            stderr=subprocess.PIPE if quiet else None,
        )
        child.began(process)
        last_words: collections.deque[bytes] = collections.deque(maxlen=_LINES)
        reader = threading.Thread(target=_collect, args=(process.stderr, last_words), daemon=True)
        reader.start()
        code = process.wait()
        child.kill()  # helpers that have outlived it
        reader.join(1.0)
    said = b"".join(last_words).decode("utf-8", "replace").strip()
    return Ended(code if code >= 0 else 128 - code, child.signal, said)


class _Child:
    """The process, and the signals that are to end it; they may come before it has begun."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._group: int | None = None
        self._deadline: threading.Timer | None = None

    @contextlib.contextmanager
    def told_of_signals(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in _ENDING}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, self._end)
        try:
            yield
        finally:
            if self._deadline is not None:
                self._deadline.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    def began(self, process: subprocess.Popen[bytes]) -> None:
        self._group = process.pid
        if self.signal is not None:
            self._terminate()

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        again, self.signal = self.signal is not None, number
        if again:
            self.kill()
        else:
            self._terminate()

    def _terminate(self) -> None:
        if self._group is None:
            return
        self._send(signal.SIGTERM)
        self._deadline = threading.Timer(_GRACE, self.kill)
        self._deadline.daemon = True
        self._deadline.start()

    def _send(self, number: signal.Signals) -> None:
        if self._group is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, number)


def _collect(stream: IO[bytes] | None, lines: collections.deque[bytes]) -> None:
    """Read to the end, so that the program never waits for us."""
    if stream is None:
        return
    with stream:
        while line := stream.readline(8192):
            lines.append(line)
