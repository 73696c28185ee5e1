"""The care of a terminal on which a person is asked: what is typed is shown only where it belongs to a question.

Whoever knows that a password will be asked for types it before it is; so nothing that is typed is shown
while a command works, and nothing that was typed before a question is an answer to it. However the command
ends, the terminal is given back as it was found; only a SIGKILL leaves that to the shell.

Lines are read in the terminal's canonical mode (termios(3)), which knows backspace, UTF-8 and Ctrl-U; and
from its descriptor, so that a command can wait for its person and for the daemon at the same time.
"""

from __future__ import annotations

import contextlib
import enum
import os
import select
import signal
import sys
import termios
from collections.abc import Iterator
from types import FrameType
from typing import Any, Protocol

#: A line of canonical mode is at most this many bytes with its end (termios(3)).
MAX_LINE = 4096

#: What ends a command at once, and leaves no time to give the terminal back. SIGINT is Python's KeyboardInterrupt.
_DEADLY = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_LFLAG = 3  # in what tcgetattr returns


class End(enum.Enum):
    """How a question can end without an answer."""

    LEFT = "left"  #: the person ended the input (Ctrl-D), or the terminal is gone
    OVERTAKEN = "overtaken"  #: something else has happened meanwhile


class Interruption(Protocol):
    """Something else that happens while a person types."""

    def fileno(self) -> int:
        """Readable when there may be news."""

    @property
    def unread(self) -> bool:
        """Whether there is news already."""

    def over(self) -> bool:
        """Take the news; whether the question is over. Called only when there is, or may be, some."""


class Terminal:
    """The terminal of the person who has typed the command. One question at a time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._found: list[Any] | None = None  # its modes, as they were
        self._shows = False  # what is typed, at the moment
        self._prompt: str | None = None  # of the question that is being asked
        self._asked = False  # at least one question
        self._typed = b""  # of a line that has not ended yet
        self._back = True  # from being suspended

    # --- the terminal's modes ---------------------------------------------------------------------

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        """Show nothing of what is typed, but in answer to a question that is no secret."""
        try:
            self._found = termios.tcgetattr(self._fd)
        except (termios.error, OSError):  # it is gone; `ask` will find that too
            yield
            return
        handlers = {
            **dict.fromkeys(_DEADLY, self._die),
            signal.SIGTSTP: self._suspend,
            signal.SIGCONT: self._resume,
        }
        # Whoever started us may have had them ignored (nohup), and an event loop handles some by itself.
        ours = [number for number in handlers if signal.getsignal(number) is signal.SIG_DFL]
        for number in ours:
            signal.signal(number, handlers[number])
        try:
            self._set(shows=False)
            yield
        finally:
            self._give_back()
            self._found = None
            for number in ours:
                signal.signal(number, signal.SIG_DFL)

    def _set(self, *, shows: bool, asking: bool = False) -> None:
        """Show what is typed, or do not. For a question, what was typed before it is thrown away.

        In the background only a question changes the terminal; then the kernel stops us, as whoever reads
        from a terminal in the background, and the shell says so (SIGTTOU, tcsetattr(3)).
        """
        self._shows = shows
        if self._found is None or not (asking or self._is_ours()):
            return
        modes = [*self._found]
        modes[0] |= termios.ICRNL
        modes[_LFLAG] |= termios.ICANON | termios.ISIG
        modes[_LFLAG] = modes[_LFLAG] | termios.ECHO if shows else modes[_LFLAG] & ~termios.ECHO
        termios.tcsetattr(self._fd, termios.TCSAFLUSH if asking else termios.TCSANOW, modes)

    def _give_back(self) -> None:
        """Let it be as it was. After a question, what is left of a paste is thrown away: it may be a secret."""
        if self._found is None or not self._is_ours():
            return
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSAFLUSH if self._asked else termios.TCSANOW, self._found)

    def _is_ours(self) -> bool:
        """Whether we are in its foreground."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # it does not control us, and knows no background
            return True

    # --- signals ----------------------------------------------------------------------------------

    def _die(self, number: int, _frame: FrameType | None) -> None:
        self._give_back()
        self._found = None
        if number == signal.SIGQUIT:  # with a core, if that is what the person wants
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise SystemExit(128 + number)

    def _suspend(self, _number: int, _frame: FrameType | None) -> None:
        self._give_back()
        self._back = False
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # returns after SIGCONT, and mostly after its handler
        signal.signal(signal.SIGTSTP, self._suspend)
        if not self._back:  # the second time would throw away what the person has typed since the first
            self._come_back()

    def _resume(self, _number: int, _frame: FrameType | None) -> None:
        self._come_back()
        if (
            self._prompt is not None
        ):  # not through sys.stderr, which may be in the middle of writing just that
            with contextlib.suppress(OSError, ValueError):
                os.write(sys.stderr.fileno(), f"\n{self._prompt} ".encode(sys.stderr.encoding, "replace"))

    def _come_back(self) -> None:
        self._back = True
        self._typed = b""
        with contextlib.suppress(termios.error):
            self._set(shows=self._shows, asking=self._prompt is not None)

    # --- one question -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def question(self, prompt: str, *, secret: bool) -> Iterator[None]:
        """Ask; `take` reads what is typed. Raises OSError or termios.error where the terminal is gone."""
        if self._found is None:  # a secret is never shown, whoever forgets to be quiet
            with self.quiet(), self._question(prompt, secret=secret):
                yield
        else:
            with self._question(prompt, secret=secret):
                yield

    @contextlib.contextmanager
    def _question(self, prompt: str, *, secret: bool) -> Iterator[None]:
        self._typed = b""
        self._asked = True
        self._set(shows=not secret, asking=True)
        self._prompt = prompt
        self._write(f"{prompt} ")
        try:
            yield
        finally:
            self._prompt = None
            with contextlib.suppress(termios.error):
                self._set(shows=False)

    def take(self) -> str | End | None:
        """Read what is there: an answer without its end, or None as long as it has not ended."""
        try:
            data = os.read(self._fd, MAX_LINE)
        except OSError:  # closed
            data = b""
        self._typed += data
        if not data or len(self._typed) > MAX_LINE:
            self.leave_line()
            return End.LEFT
        if not data.endswith(b"\n"):  # Ctrl-D in the middle of a line
            return None
        if not self._shows:
            self.leave_line()  # the person's Return was not shown
        return self._typed.removesuffix(b"\n").decode(sys.stdin.encoding or "utf-8", "replace")

    def ask(self, prompt: str, *, secret: bool, meanwhile: Interruption | None = None) -> str | End:
        """Ask, and wait for an answer. ``meanwhile`` may end it."""
        try:
            with self.question(prompt, secret=secret):
                return self._wait(meanwhile)
        except (OSError, termios.error):
            return End.LEFT

    def _wait(self, meanwhile: Interruption | None) -> str | End:
        others = [] if meanwhile is None else [meanwhile.fileno()]
        try:
            with _signals() as signals:
                while True:
                    news = meanwhile is not None and meanwhile.unread
                    ready = select.select([self._fd, signals, *others], [], [], 0 if news else None)[0]
                    if signals in ready:
                        os.read(signals, MAX_LINE)
                    if self._fd in ready:
                        answer = self.take()
                        if answer is not None:
                            return answer
                    elif meanwhile is not None and (news or others[0] in ready) and meanwhile.over():
                        self.leave_line()
                        return End.OVERTAKEN
        except KeyboardInterrupt:
            self.leave_line()  # or the shell's prompt stands behind ours
            raise

    def leave_line(self) -> None:
        """Nobody has typed a Return: go on below the question."""
        self._write("\n")

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """What is readable after a signal: one that comes in the moment before a wait would otherwise not end it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)
