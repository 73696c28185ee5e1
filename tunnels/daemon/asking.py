"""Asks a question on the terminal without stopping the engine, which goes on in the same thread."""

from __future__ import annotations

import asyncio
import sys
import termios
from contextlib import AbstractContextManager

from tunnels.core.logline import printable, screenful, shortened
from tunnels.core.question import Question
from tunnels.terminal import End, Terminal

#: Characters of a prompt: what asks for more in one line is no server that means well.
_MAX_PROMPT = 500


def interactive() -> bool:
    """Whether there is a person to ask: a terminal to read from and one to ask on."""
    return sys.stdin.isatty() and sys.stderr.isatty()


class Person:
    """Somebody at the terminal of this process."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self._terminal = Terminal(self._fd)

    def quiet(self) -> AbstractContextManager[None]:
        """Nothing that is typed is shown, but answers that are no secrets."""
        return self._terminal.quiet()

    async def ask(self, name: str, question: Question) -> str | None:
        """Ask, and wait for a line; None where the person ends the input, or has gone. Can be cancelled."""
        text = f"{name}: {question.text.strip()}" if question.text else ""
        try:
            sys.stderr.write(f"\n{screenful(text)}\n" if text else "\n")
            sys.stderr.flush()
            prompt = shortened(printable(question.prompt), _MAX_PROMPT)
            with self._terminal.question(prompt, secret=question.secret):
                return await self._line()
        except (OSError, termios.error):  # the terminal was closed
            return None

    async def _line(self) -> str | None:
        loop = asyncio.get_running_loop()
        typed: asyncio.Future[str | End] = loop.create_future()

        def take() -> None:
            answer = self._terminal.take()
            if answer is not None:
                loop.remove_reader(self._fd)
                if not typed.done():
                    typed.set_result(answer)

        loop.add_reader(self._fd, take)
        try:
            answer = await typed
        except asyncio.CancelledError:
            self._terminal.leave_line()
            raise
        finally:
            loop.remove_reader(self._fd)
        return None if isinstance(answer, End) else answer
