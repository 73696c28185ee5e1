"""What a tunnel asks the person it belongs to: one question at a time, and the secrets that were told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tunnels.core.question import Answer, PersonNeeded, Question
from tunnels.core.secrets import Secrets
from tunnels.errors import AlreadyAnswered, QuestionExpired, UsageError

_log = logging.getLogger("tunnels.tunnel")

#: Told of a question that an attempt waits with.
OnAsked = Callable[[Question], None]

#: Told of a secret that has proved good: what it is about, and the secret.
OnProved = Callable[[str, str], None]


class Questions:
    """The open question of a tunnel, if there is one."""

    def __init__(self, name: str, on_proved: OnProved = lambda _subject, _secret: None) -> None:
        self.secrets = Secrets()
        self._name = name
        self._on_proved = on_proved
        self._parked: PersonNeeded | None = None  # the attempt is over
        self._open: Question | None = None  # the attempt waits, or has waited
        self._answer: asyncio.Future[Answer] | None = None

    @property
    def current(self) -> Question | None:
        """What a person should answer, as it stands now."""
        if self._parked is not None:
            return self._parked.question
        if self._open is not None and (self._answer is None or self._answer.done()):
            return self._open._replace(stale=True)
        return self._open

    def dialogue(self, wanted: Callable[[], bool], on_asked: OnAsked) -> AttemptDialogue:
        """A dialogue for one attempt, which is heard for as long as it is ``wanted``."""
        return AttemptDialogue(self, wanted, on_asked)

    def park(self, person: PersonNeeded) -> None:
        """An attempt is over, because of a question that the next one needs answered."""
        self.clear()
        self._parked = person

    async def ask(self, question: Question, on_asked: OnAsked) -> Answer:
        """Ask a question while an attempt waits. Whoever awaits it may be cancelled: then the question is stale."""
        self.clear()
        self._open = question
        self._answer = answer = asyncio.get_running_loop().create_future()
        on_asked(question)
        try:
            given: Answer = await answer
        except asyncio.CancelledError:
            if self._open is question:  # and not because somebody has taken it back
                _log.warning("the server has stopped waiting for an answer", extra={"tunnel": self._name})
            raise
        return given

    def answer(self, question_id: str, answer: Answer) -> Callable[[], None]:
        """Take a person's answer, and return what lets the attempt have it.

        Raises AlreadyAnswered where something else, or nothing, is asked; QuestionExpired where nobody waits for
        it any more; and whatever the question makes of it.
        """
        question = self.current
        if question is None or question.id != question_id:
            raise AlreadyAnswered(
                f"{self._name} no longer waits for this answer", hint="look at `tunnels status`"
            )
        if question.stale:
            raise QuestionExpired(
                f"{self._name}: the server has stopped waiting for the answer",
                hint=f"`tunnels auth {self._name}` has it asked again",
            )
        if answer.save and not question.lasting:
            raise UsageError(
                "this answer is not good the next time, and is not saved", hint="answer without --save"
            )
        parked, waiting = self._parked, self._answer
        if parked is not None:
            parked.take(answer.text)
        self._parked = self._open = self._answer = None

        def release() -> None:
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

        return release

    def clear(self) -> None:
        """Forget the question. An attempt that waits with it is over anyway."""
        self._parked = self._open = None
        if self._answer is not None:
            self._answer.cancel()
            self._answer = None

    def proved(self, subject: str, secret: str) -> None:
        """A secret has proved good."""
        self.secrets.remember(subject, secret)
        self._on_proved(subject, secret)


class AttemptDialogue:
    """A `Dialogue`, for as long as its attempt is the tunnel's present one."""

    def __init__(self, questions: Questions, wanted: Callable[[], bool], on_asked: OnAsked) -> None:
        self._questions = questions
        self._wanted = wanted
        self._on_asked = on_asked

    async def ask(self, question: Question) -> Answer:
        """See `Dialogue.ask`."""
        if not self._wanted():
            raise asyncio.CancelledError
        return await self._questions.ask(question, self._on_asked)

    def recall(self, subject: str) -> str | None:
        """See `Dialogue.recall`."""
        return self._questions.secrets.recall(subject)

    def remember(self, subject: str, secret: str) -> None:
        """See `Dialogue.remember`."""
        if self._wanted():
            self._questions.proved(subject, secret)

    def forget(self, subject: str) -> None:
        """See `Dialogue.forget`."""
        self._questions.secrets.forget(subject)
