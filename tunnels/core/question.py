"""What a tunnel in needs-input waits for, and how an attempt to connect speaks with the person it is for.

There are two kinds of question. A host key is asked about between two attempts: the answer is good for
ever, and the next attempt finds it. Passphrases, passwords and codes are asked for in the middle of one,
while a server waits that will not wait for long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from tunnels.errors import NeedsPerson, TunnelsError


class Question(NamedTuple):
    """One question to a person."""

    id: str  #: so that an answer cannot meet another question than the one that was read
    kind: str  #: ``host-key``, ``passphrase``, ``password`` or ``challenge``
    text: str  #: what there is to know, some lines
    prompt: str  #: what to ask, in one line
    secret: bool = False  #: the answer must not be shown while it is typed
    subject: str = ""  #: what it is about; one answer may settle another question about the same
    lasting: bool = False  #: the answer is good the next time too, and may be kept; never a one-time password
    stale: bool = False  #: whoever asked has stopped waiting; it is asked anew as soon as somebody is there

    @property
    def headline(self) -> str:
        """What it is about, in one line."""
        return self.text.strip().split("\n", 1)[0] or self.prompt


class Answer(NamedTuple):
    """What a person has answered."""

    text: str
    save: bool = False  #: to be put into the keyring, once it has proved good

    def __repr__(self) -> str:
        return "Answer(…)"


class PersonNeeded(NeedsPerson):
    """An attempt to connect is over, because a person must answer something before the next one."""

    def __init__(self, error: TunnelsError, question: Question, take: Callable[[str], None]) -> None:
        super().__init__(error.message, hint=error.hint)
        self.error = error
        self.question = question
        self.take = take  #: does what the answer says; raises TunnelsError where it is a refusal


class Dialogue(Protocol):
    """How one attempt speaks with the person whose tunnel it is, and what is remembered of that.

    Secrets are remembered in memory only, by subject, until the tunnel is taken down.
    """

    async def ask(self, question: Question) -> Answer:
        """Ask, and wait for the answer for as long as the attempt lasts."""

    def recall(self, subject: str) -> str | None:
        """The secret that was good the last time."""

    def remember(self, subject: str, secret: str) -> None:
        """Keep a secret that has proved good. Other tunnels that ask about the same get it too."""

    def forget(self, subject: str) -> None:
        """It is not good any more."""


class NobodyThere:
    """A dialogue with nobody, for those who only want to know whether it works without."""

    async def ask(self, question: Question) -> Answer:
        """Raise NeedsPerson."""
        raise NeedsPerson(question.headline)

    def recall(self, subject: str) -> str | None:
        """Know nothing."""

    def remember(self, subject: str, secret: str) -> None:
        """Keep nothing."""

    def forget(self, subject: str) -> None:
        """Have nothing."""
