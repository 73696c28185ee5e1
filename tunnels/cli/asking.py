"""Who answers the questions of tunnels: a person on this terminal, or the lines of a script's standard input."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from tunnels.cli import output
from tunnels.client import Client
from tunnels.core.logline import printable, screenful, shortened
from tunnels.core.question import Question
from tunnels.core.standing import Asked, Standing, waits_in_vain
from tunnels.core.status import Snapshot, TunnelStatus
from tunnels.errors import UsageError
from tunnels.terminal import MAX_LINE, End, Terminal

#: Seconds until a question that is gone counts as answered, where it may be that it is only being asked anew.
PATIENCE = 1.0

#: Snapshots to wait for news in; there are at least four a second.
_LOOKS = 40

#: Characters of a prompt: what asks for more in one line is no server that means well.
_MAX_PROMPT = 500


class Look:
    """What the daemon says of a question while somebody thinks about it."""

    def __init__(self, client: Client, snapshots: Iterator[Snapshot], tunnel: TunnelStatus) -> None:
        assert tunnel.question is not None
        self.standing = Standing.OPEN
        self.asked = Asked(tunnel.question, tunnel.attempt)
        self._client = client
        self._snapshots = snapshots
        self._name = tunnel.name
        self._unsure_since: float | None = None

    def fileno(self) -> int:
        """Of the connection to the daemon."""
        return self._client.fileno()

    @property
    def unread(self) -> bool:
        """Whether a snapshot is here already."""
        return self._client.unread

    def over(self) -> bool:
        """Take a snapshot; whether nobody needs to answer here any more."""
        tunnel = self._next()
        self.standing, self.asked = self.asked.standing(tunnel)
        if self.standing is not Standing.UNSURE:
            self._unsure_since = None
            return self.standing is not Standing.OPEN
        now = time.monotonic()
        if self._unsure_since is None:
            self._unsure_since = now
        if now - self._unsure_since >= PATIENCE:
            self.standing = Standing.ANSWERED
        return self.standing is not Standing.UNSURE

    def renewed(self) -> bool:
        """Whether a question that was gone when it was answered was only asked anew; then `asked` is the new one."""
        gone = self.asked.question.id
        for _ in range(_LOOKS):
            if self.over():
                return False
            if self.asked.question.id != gone:
                return True
        return False

    def _next(self) -> TunnelStatus | None:
        return next((tunnel for tunnel in next(self._snapshots).tunnels if tunnel.name == self._name), None)


class Vain(Look):
    """The same while nothing waits for an answer, until somebody has it asked anew."""

    def over(self) -> bool:
        """Take a snapshot; whether it is asked anew already, or not at all any more."""
        tunnel = self._next()
        return tunnel is None or not waits_in_vain(tunnel)


class Answerer(Protocol):
    """Somebody who answers."""

    #: What to say, with the name of the tunnel, where no answer comes from there.
    silence: str

    def quiet(self) -> AbstractContextManager[None]:
        """Surrounds the whole of a command."""

    def answer(self, name: str, question: Question, meanwhile: Look) -> str | End:
        """Answer a question of the tunnel with this name."""

    def again(self, meanwhile: Look) -> str | End:
        """The server has stopped waiting: any answer means that somebody is there for whom it should ask again."""

    def keep(self, answer: str) -> None:
        """An answer was not taken, and what it was for is asked anew."""


class Person:
    """Somebody at this terminal."""

    silence = "{} waits for an answer"

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._invited = False  # to press Return, and has not done so

    def quiet(self) -> AbstractContextManager[None]:
        """Nothing that is typed is shown, but answers that are no secrets."""
        return self._terminal.quiet()

    def answer(self, name: str, question: Question, meanwhile: Look) -> str | End:
        """Show the question, and wait for a line."""
        output.note("\n" + screenful(f"{name}: {question.text.strip()}"))
        prompt = shortened(printable(question.prompt), _MAX_PROMPT)
        answer = self._terminal.ask(prompt, secret=question.secret, meanwhile=meanwhile)
        if answer == "" and self._invited:  # the Return was meant for us, and not as an empty password
            answer = self._terminal.ask(prompt, secret=question.secret, meanwhile=meanwhile)
        self._invited = False
        return answer

    def again(self, meanwhile: Look) -> str | End:
        """Ask for a sign of life: a login that begins and ends every two minutes makes servers suspicious."""
        prompt = "The server has stopped waiting for the answer. Press Return, and it asks again:"
        answer = self._terminal.ask(prompt, secret=True, meanwhile=meanwhile)
        self._invited = isinstance(answer, End)
        return answer

    def keep(self, answer: str) -> None:
        """A person types it again."""


class Script:
    """One answer a line, from standard input."""

    silence = "{} needs an answer, and standard input has no further line"

    def __init__(self, lines: BinaryIO) -> None:
        self._lines = lines
        self._given: set[tuple[str, str]] = set()  # what has had an answer
        self._kept: str | None = None

    def quiet(self) -> AbstractContextManager[None]:
        """There is nothing to see."""
        return contextlib.nullcontext()

    def answer(self, name: str, question: Question, meanwhile: Look) -> str | End:
        """Take the next line. Raises UsageError where it is no answer."""
        kept, self._kept = self._kept, None
        if kept is not None:
            return kept
        line = self._lines.readline(MAX_LINE + 1)
        if len(line) > MAX_LINE:
            raise UsageError(f"an answer has at most {MAX_LINE - 1} bytes", hint="one answer a line")
        this = (name, question.subject or question.prompt)
        if not line:
            said = "{} did not take the answer" if this in self._given else "{} needs an answer"
            self.silence = f"{said}, and standard input has no further line"
            return End.LEFT
        self._given.add(this)
        try:
            return line.decode().rstrip("\r\n")
        except UnicodeDecodeError as exc:
            raise UsageError("an answer is text in UTF-8", hint="one answer a line") from exc

    def again(self, meanwhile: Look) -> str | End:
        """A script has its lines ready."""
        return ""

    def keep(self, answer: str) -> None:
        """The line was not used."""
        self._kept = answer


def person() -> Person | None:
    """Who is at the terminal of this command, if it has one."""
    return Person(Terminal(sys.stdin.fileno())) if output.interactive() else None
