"""The dialogue of an attempt that several tunnels wait for: each of them asks the person, the first answer counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tunnels.core.question import Answer, Dialogue, Question
from tunnels.tasks import TaskScope


class Member:
    """One who waits for the attempt."""

    def __init__(self, dialogue: Dialogue, on_failed: Callable[[Exception], None]) -> None:
        self.dialogue = dialogue
        self.on_failed = on_failed  #: nobody can be asked there
        self.asking: asyncio.Task[None] | None = None


class SharedDialogue:
    """A `Dialogue` that goes on for as long as one member is there, whoever of them began it."""

    def __init__(self, scope: TaskScope) -> None:
        self._scope = scope
        self._members: list[Member] = []
        self._question: Question | None = None
        self._answer: asyncio.Future[Answer] | None = None

    def join(self, dialogue: Dialogue, on_failed: Callable[[Exception], None]) -> Member:
        """Take part, also in a question that is open already."""
        member = Member(dialogue, on_failed)
        self._members.append(member)
        self._put_to(member)
        return member

    def leave(self, member: Member) -> None:
        """Take part no longer; the others go on."""
        if member in self._members:
            self._members.remove(member)
        if member.asking is not None:
            member.asking.cancel()

    async def ask(self, question: Question) -> Answer:
        """See `Dialogue.ask`."""
        self._question = question
        self._answer = answer = asyncio.get_running_loop().create_future()
        try:
            for member in list(self._members):
                self._put_to(member)
            given: Answer = await answer
            return given
        finally:
            self._question = self._answer = None
            for member in self._members:
                if member.asking is not None:
                    member.asking.cancel()

    def _put_to(self, member: Member) -> None:
        if self._question is not None and self._answer is not None:
            asking = self._ask_one(member, self._question, self._answer)
            member.asking = self._scope.spawn(asking, name="question")

    async def _ask_one(self, member: Member, question: Question, answer: asyncio.Future[Answer]) -> None:
        try:
            given = await member.dialogue.ask(question)
        except Exception as exc:  # noqa: BLE001 - it belongs to this member, and comes out there
            member.on_failed(exc)
        else:
            if not answer.done():
                answer.set_result(given)

    def recall(self, subject: str) -> str | None:
        """See `Dialogue.recall`."""
        known = (member.dialogue.recall(subject) for member in self._members)
        return next((secret for secret in known if secret is not None), None)

    def remember(self, subject: str, secret: str) -> None:
        """See `Dialogue.remember`."""
        for member in self._members:
            member.dialogue.remember(subject, secret)

    def forget(self, subject: str) -> None:
        """See `Dialogue.forget`."""
        for member in self._members:
            member.dialogue.forget(subject)
