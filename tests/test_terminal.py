"""A terminal on which somebody is asked, with a person at the other end of a pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import tunnels
from tests.e2e.bed.terminal import Terminal as OnTerminal
from tunnels.terminal import MAX_LINE, End, Terminal


class Pty:
    """The person's side; ours is standard input."""

    def __init__(self, person: int, ours: int) -> None:
        self.person = person
        self.ours = ours
        self.terminal = Terminal(ours)

    def types(self, text: str) -> None:
        os.write(self.person, text.encode())

    def has_typed(self, text: str) -> None:
        """The same, and the kernel has taken the line to our side."""
        self.types(text)
        assert select.select([self.ours], [], [], 10)[0]

    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.ours)[3] & termios.ECHO)

    def shown(self) -> str:
        """What the kernel has echoed."""
        text = b""
        while select.select([self.person], [], [], 0)[0]:
            text += os.read(self.person, 65536)
        return text.decode()

    def waiting(self) -> int:
        """Bytes of whole lines that nobody has read."""
        answer: int = struct.unpack("i", fcntl.ioctl(self.ours, termios.FIONREAD, b"\0" * 4))[0]
        return answer


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pty]:
    person, ours = pty.openpty()
    with open(ours, "r+b", buffering=0) as file:  # noqa: PTH123 - a file descriptor
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(encoding="utf-8", fileno=file.fileno))
        yield Pty(person, ours)
    with contextlib.suppress(OSError):
        os.close(person)


class News:
    """Something else that happens while a question is open: at each look this is done, and says whether it is over."""

    def __init__(self, *looks: Callable[[], bool | None]) -> None:
        self.looks = list(looks)
        self.reader, self.writer = os.pipe()
        self.unread = bool(looks)

    def fileno(self) -> int:
        return self.reader

    def over(self) -> bool:
        over = self.looks.pop(0)()
        self.unread = bool(self.looks)
        return bool(over)


@pytest.fixture
def asking(desk: Pty) -> Iterator[Callable[..., str | End]]:
    """Ask; once the question is shown, each of these is done in its turn."""
    made: list[News] = []

    def ask(*looks: Callable[[], bool | None], secret: bool = True) -> str | End:
        made.append(News(*looks))
        return desk.terminal.ask("Password:", secret=secret, meanwhile=made[-1])

    with desk.terminal.quiet():
        yield ask
    for news in made:
        os.close(news.reader)
        os.close(news.writer)


Ask = Callable[..., "str | End"]


# --- an answer ------------------------------------------------------------------------------------


def test_a_line_is_an_answer_and_a_secret_is_not_shown(
    desk: Pty, asking: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asking(lambda: desk.types("s3cret\n")) == "s3cret"
    assert desk.shown() == ""
    assert capsys.readouterr().err == "Password: \n"


def test_what_is_no_secret_is_shown_while_it_is_typed(desk: Pty, asking: Ask) -> None:
    assert asking(lambda: desk.types("yes\n"), secret=False) == "yes"
    assert desk.shown() == "yes\r\n"


def test_the_terminals_own_keys_work(desk: Pty, asking: Ask) -> None:
    assert asking(lambda: desk.types("wrong\x15caf\u00e9x\x7f\n")) == "caf\u00e9"


def test_what_was_typed_before_the_question_is_neither_shown_nor_an_answer(desk: Pty, asking: Ask) -> None:
    desk.has_typed("hunter2\nhun")
    assert asking(lambda: desk.types("s3cret\n"), secret=False) == "s3cret"
    assert "hun" not in desk.shown()


def test_of_a_paste_the_first_line_is_the_answer_and_the_rest_is_none(desk: Pty, asking: Ask) -> None:
    assert asking(lambda: desk.types("first\nsecond\n")) == "first"
    assert asking(lambda: desk.types("third\n")) == "third"


def test_ctrl_d_leaves_the_question_and_in_the_middle_of_a_line_does_not(desk: Pty, asking: Ask) -> None:
    assert asking(lambda: desk.types("\x04")) is End.LEFT
    assert asking(lambda: desk.types("s3\x04"), lambda: desk.types("cret\n")) == "s3cret"


def test_a_line_without_an_end_is_not_kept_for_ever(desk: Pty, asking: Ask) -> None:
    chunk = "x" * 2000 + "\x04"
    assert asking(*[lambda: desk.types(chunk)] * (MAX_LINE // 2000 + 1)) is End.LEFT


def test_a_terminal_that_is_gone_is_no_answer(desk: Pty, asking: Ask) -> None:
    assert asking(lambda: os.close(desk.person)) is End.LEFT
    assert asking() is End.LEFT


def test_a_secret_is_not_shown_by_somebody_either_who_asks_out_of_the_blue(desk: Pty) -> None:
    with desk.terminal.question("Password:", secret=True):
        assert not desk.echoes()
    assert desk.echoes()


# --- meanwhile ------------------------------------------------------------------------------------


def test_a_question_ends_without_a_keystroke_when_it_is_answered_elsewhere(
    desk: Pty, asking: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asking(lambda: False, lambda: True) is End.OVERTAKEN
    assert capsys.readouterr().err == "Password: \n"


def test_an_answer_that_is_there_comes_before_the_news(desk: Pty, asking: Ask) -> None:
    assert asking(lambda: desk.types("s3cret\n"), lambda: True) == "s3cret"


def test_an_interruption_leaves_the_line_of_the_question(
    desk: Pty, asking: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asking(interrupt)
    assert capsys.readouterr().err == "Password: \n"


# --- the terminal is given back -------------------------------------------------------------------


def test_nothing_that_is_typed_is_shown_between_questions_and_then_everything_is(desk: Pty) -> None:
    before = termios.tcgetattr(desk.ours)
    with desk.terminal.quiet():
        assert not desk.echoes()
    assert termios.tcgetattr(desk.ours) == before


def test_what_was_typed_for_the_shell_is_left_to_it_unless_there_was_a_question(desk: Pty) -> None:
    with desk.terminal.quiet():
        desk.has_typed("ls\n")
    assert desk.waiting() == 3
    news = News(lambda: desk.types("s3cret\nrest of a paste\n"))
    with desk.terminal.quiet():
        assert desk.terminal.ask("Password:", secret=True, meanwhile=news) == "s3cret"
    assert desk.waiting() == 0
    os.close(news.reader)
    os.close(news.writer)


def test_it_is_given_back_after_an_error_and_handlers_are_too(desk: Pty) -> None:
    with pytest.raises(ZeroDivisionError), desk.terminal.quiet():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        raise ZeroDivisionError
    assert desk.echoes()
    assert {signal.getsignal(it) for it in (signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT)} == {
        signal.SIG_DFL
    }


def test_a_terminal_that_was_left_in_a_raw_mode_is_good_enough_to_ask_on(desk: Pty) -> None:
    tty.setraw(desk.ours)
    before = termios.tcgetattr(desk.ours)
    news = News(lambda: desk.types("yes\r"))
    with desk.terminal.quiet():
        assert desk.terminal.ask("Trust it?", secret=False, meanwhile=news) == "yes"
    assert termios.tcgetattr(desk.ours) == before
    os.close(news.reader)
    os.close(news.writer)


# --- signals, to a command on a terminal of its own -----------------------------------------------


def test_what_is_typed_as_soon_as_a_suspended_question_is_back_is_its_answer(
    desk: Pty, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = desk.terminal

    def stop_and_continue(_process: int, number: int) -> None:
        assert number == signal.SIGTSTP
        terminal._resume(signal.SIGCONT, None)  # in the middle of kill(2), as Python does it
        desk.has_typed("s3cret\n")

    with terminal.quiet(), terminal.question("Password:", secret=True):
        desk.has_typed("half\n")
        monkeypatch.setattr(os, "kill", stop_and_continue)
        terminal._suspend(signal.SIGTSTP, None)
        monkeypatch.undo()
        assert desk.waiting(), "it was thrown away"
        assert terminal.take() == "s3cret"


PROGRAM = """
from tunnels.terminal import Terminal
terminal = Terminal(0)
with terminal.quiet():
    print("ready", flush=True)
    print("got", terminal.ask("Password:", secret=True), flush=True)
"""


@contextlib.contextmanager
def program() -> Iterator[OnTerminal]:
    path = str(Path(tunnels.__file__).parents[1])
    env = {"PYTHONPATH": path, "PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    with OnTerminal([sys.executable, "-c", PROGRAM], env=env, cwd="/") as terminal:
        terminal.expect("Password: ")
        yield terminal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_command_that_is_ended_at_a_question_gives_the_terminal_back(number: signal.Signals) -> None:
    with program() as terminal:
        assert not terminal.echoes()
        os.kill(terminal.pid, number)
        assert terminal.wait() in {128 + number, -number}
        assert terminal.echoes()


def test_ctrl_c_at_a_question_gives_the_terminal_back() -> None:
    with program() as terminal:
        terminal.interrupt()
        assert terminal.wait() in {130, -signal.SIGINT}
        assert terminal.echoes()


def test_a_command_that_was_stopped_hides_the_answer_again_and_asks_again() -> None:
    with program() as terminal:
        os.kill(terminal.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, terminal.pid, os.WSTOPPED | os.WNOWAIT)
        modes = termios.tcgetattr(terminal._master)
        modes[3] |= termios.ECHO
        termios.tcsetattr(terminal._master, termios.TCSANOW, modes)  # as a shell does
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.expect("Password: ")
        assert not terminal.echoes()
        terminal.send("s3cret")
        terminal.expect("got s3cret")
        assert terminal.text.count("s3cret") == 1
