"""Somebody who answers what an attempt to log in asks, as the test has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tunnels.core.question import Answer, Question
from tunnels.errors import NeedsPerson


class Person:
    """Gives these answers, one after the other; notes what was asked and for how much time."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.asked: list[Question] = []
        self.known: dict[str, str] = {}
        self.patient: list[float] = []

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        if not self._answers:
            raise NeedsPerson(question.headline)
        return Answer(self._answers.pop(0))

    def recall(self, subject: str) -> str | None:
        return self.known.get(subject)

    def remember(self, subject: str, secret: str) -> None:
        self.known[subject] = secret

    def forget(self, subject: str) -> None:
        self.known.pop(subject, None)

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        self.patient.append(seconds)
        yield
