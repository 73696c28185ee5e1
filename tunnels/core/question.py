"""What a tunnel in needs-input waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tunnels.errors import NeedsPerson, TunnelsError


class Question(NamedTuple):
    """One question to a person."""

    id: str  #: so that an answer cannot meet another question than the one that was read
    kind: str  #: ``host-key``
    text: str  #: what there is to know, some lines
    prompt: str  #: what to ask, in one line
    secret: bool = False  #: the answer must not be shown while it is typed
    subject: str = ""  #: what it is about; one answer may settle another question about the same


class PersonNeeded(NeedsPerson):
    """An attempt to connect is over, because a person must answer something before the next one."""

    def __init__(self, error: TunnelsError, question: Question, take: Callable[[str], None]) -> None:
        super().__init__(error.message, hint=error.hint)
        self.error = error
        self.question = question
        self.take = take  #: does what the answer says; raises TunnelsError where it is a refusal
