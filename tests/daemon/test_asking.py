from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import sys
import termios
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tunnels.core.question import Question
from tunnels.daemon import asking

TRUST = Question("q1", "host-key", "the key\x1b[2J is\nnot known", "Trust it?")
SECRET = Question("q2", "password", "bastion asks", "Password:", secret=True)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Be on a terminal; what the person types goes in here."""
    person, ours = pty.openpty()
    with open(ours, "r+b", buffering=0) as file:  # noqa: PTH123 - a file descriptor
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(encoding="utf-8", fileno=file.fileno))
        yield person
    with contextlib.suppress(OSError):
        os.close(person)


def is_shown() -> bool:
    return bool(termios.tcgetattr(sys.stdin.fileno())[3] & termios.ECHO)


async def begun(question: Question) -> asyncio.Task[str | None]:
    """Have a question asked, as far as it goes without an answer."""
    task = asyncio.get_running_loop().create_task(asking.Person().ask("work-db", question))
    await asyncio.sleep(0)
    return task


async def test_a_line_is_an_answer_and_the_question_cannot_command_the_terminal(
    terminal: int, capsys: pytest.CaptureFixture[str]
) -> None:
    task = await begun(TRUST)
    os.write(terminal, b"yes\n")
    assert await task == "yes"
    assert capsys.readouterr().err == "\nwork-db: the key [2J is\nnot known\nTrust it? "


async def test_an_empty_line_is_an_answer_and_the_end_of_the_input_is_none(terminal: int) -> None:
    task = await begun(TRUST)
    os.write(terminal, b"\n")
    assert await task == ""
    task = await begun(TRUST)
    os.write(terminal, b"\x04")
    assert await task is None


async def test_a_terminal_that_is_closed_is_no_answer(terminal: int) -> None:
    task = await begun(TRUST)
    os.close(terminal)
    assert await task is None


async def test_a_terminal_that_was_closed_before_is_no_answer(terminal: int) -> None:
    os.close(terminal)
    assert await asking.Person().ask("work-db", SECRET) is None


async def test_a_secret_is_not_shown_while_it_is_typed(terminal: int) -> None:
    task = await begun(SECRET)
    assert not is_shown()
    os.write(terminal, b"s3cret\n")
    assert await task == "s3cret"
    assert is_shown()


async def test_a_question_that_is_given_up_leaves_the_terminal_as_it_was(terminal: int) -> None:
    task = await begun(SECRET)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_shown()
    again = await begun(TRUST)
    os.write(terminal, b"no\n")
    assert await again == "no"


def test_without_a_terminal_there_is_nobody_to_ask() -> None:
    assert not asking.interactive()
