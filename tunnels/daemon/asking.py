"""Asks a question on the terminal without stopping the engine, which goes on in the same thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import termios
from collections.abc import Iterator

from tunnels.core.logline import printable, printable_lines
from tunnels.core.question import Question

#: What a terminal gives at once: a line of canonical mode is at most 4,096 bytes (termios(3)).
_LINE = 4096


def interactive() -> bool:
    """Whether there is a person to ask: a terminal to read from and one to ask on."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def ask(question: Question) -> str | None:
    """Ask, and wait for a line; None where the person ends the input, or has gone. Can be cancelled."""
    try:
        sys.stderr.write(f"\n{printable_lines(question.text)}\n{printable(question.prompt)} ")
        sys.stderr.flush()
        terminal = sys.stdin.fileno()
        with _hidden(terminal) if question.secret else contextlib.nullcontext():
            return await _line(terminal)
    except (OSError, termios.error):  # the terminal was closed
        return None


async def _line(terminal: int) -> str | None:
    loop = asyncio.get_running_loop()
    typed = loop.create_future()

    def take() -> None:
        loop.remove_reader(terminal)
        try:
            data = os.read(terminal, _LINE)
        except OSError:  # closed
            data = b""
        if not typed.done():
            typed.set_result(data)

    loop.add_reader(terminal, take)
    try:
        data: bytes = await typed
    finally:
        loop.remove_reader(terminal)
    return data.decode("utf-8", "replace").rstrip("\r\n") if data else None


@contextlib.contextmanager
def _hidden(terminal: int) -> Iterator[None]:
    """Do not show what is typed; what was typed before the question is no answer to it."""
    before = termios.tcgetattr(terminal)
    hidden = termios.tcgetattr(terminal)
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSAFLUSH, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
        sys.stderr.write("\n")
