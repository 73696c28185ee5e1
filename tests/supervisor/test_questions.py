"""Questions that a tunnel has for its person: one at a time, and an answer that meets no other question."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tunnels.core.question import Answer, PersonNeeded, Question
from tunnels.errors import AlreadyAnswered, HostKeyUnknown, QuestionExpired, UsageError
from tunnels.supervisor.questions import AttemptDialogue, Questions

PASSWORD = Question("1", "password", "me@bastion", "Password:", secret=True, subject="password me@bastion")
CODE = Question("2", "challenge", "me@bastion", "Code:", secret=True)
GIVEN = Answer("s3cret")


def asked_by(questions: Questions, *, wanted: Callable[[], bool] = lambda: True) -> AttemptDialogue:
    return questions.dialogue(wanted, lambda _question: None)


def open_question(questions: Questions) -> Question | None:
    """A function, because it changes while a test looks at it."""
    return questions.current


async def asking(questions: Questions, question: Question) -> asyncio.Task[Answer]:
    """Let an attempt ask."""
    asked = asyncio.Event()
    dialogue = questions.dialogue(lambda: True, lambda _question: asked.set())
    task = asyncio.get_running_loop().create_task(dialogue.ask(question))
    await asked.wait()
    return task


async def test_the_attempt_gets_the_answer_only_when_it_is_released() -> None:
    questions = Questions("work-db")
    attempt = await asking(questions, PASSWORD)
    assert open_question(questions) == PASSWORD
    release = questions.answer("1", GIVEN)
    assert open_question(questions) is None
    assert not attempt.done()
    release()
    assert await attempt == GIVEN


async def test_an_answer_does_not_meet_another_question() -> None:
    questions = Questions("work-db")
    first = await asking(questions, PASSWORD)
    second = await asking(questions, CODE)
    with pytest.raises(AlreadyAnswered):
        questions.answer("1", GIVEN)
    questions.answer("2", GIVEN)()
    assert await second == GIVEN
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_question_that_the_server_has_given_up_is_stale_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    questions = Questions("work-db")
    attempt = await asking(questions, PASSWORD)
    attempt.cancel()
    await asyncio.wait([attempt])
    assert caplog.messages == ["the server has stopped waiting for an answer"]
    assert open_question(questions) == PASSWORD._replace(stale=True)
    with pytest.raises(QuestionExpired) as caught:
        questions.answer("1", GIVEN)
    assert "tunnels auth work-db" in (caught.value.hint or "")


async def test_a_question_that_is_taken_back_was_given_up_by_no_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    questions = Questions("work-db")
    attempt = await asking(questions, PASSWORD)
    questions.clear()
    await asyncio.wait([attempt])
    assert caplog.messages == []


async def test_a_parked_question_takes_its_answer_at_once_and_asks_again_after_nonsense() -> None:
    taken = []

    def take(answer: str) -> None:
        if answer == "what?":
            raise UsageError("please answer yes or no")
        taken.append(answer)

    questions = Questions("work-db")
    question = Question("3", "host-key", "unknown", "Trust it?")
    questions.park(PersonNeeded(HostKeyUnknown("unknown"), question, take))
    with pytest.raises(UsageError):
        questions.answer("3", Answer("what?"))
    assert open_question(questions) == question
    questions.answer("3", Answer("yes"))()
    assert taken == ["yes"]
    assert open_question(questions) is None
    with pytest.raises(AlreadyAnswered):
        questions.answer("3", Answer("yes"))


async def test_an_attempt_that_nobody_wants_any_more_is_not_heard() -> None:
    proved = []
    questions = Questions("work-db", lambda *what: proved.append(what))
    dialogue = asked_by(questions, wanted=lambda: False)
    with pytest.raises(asyncio.CancelledError):
        await dialogue.ask(PASSWORD)
    dialogue.remember("password me@bastion", "s3cret")
    assert open_question(questions) is None
    assert proved == []
    assert dialogue.recall("password me@bastion") is None


async def test_a_secret_that_has_proved_good_is_told_and_remembered_until_it_is_forgotten() -> None:
    proved = []
    questions = Questions("work-db", lambda *what: proved.append(what))
    dialogue = asked_by(questions)
    dialogue.remember("password me@bastion", "s3cret")
    assert proved == [("password me@bastion", "s3cret")]
    assert asked_by(questions).recall("password me@bastion") == "s3cret"
    dialogue.forget("password me@bastion")
    assert dialogue.recall("password me@bastion") is None


async def test_what_is_good_only_once_is_not_taken_for_saving() -> None:
    questions = Questions("work-db")
    attempt = await asking(questions, CODE)
    with pytest.raises(UsageError, match="is not saved"):
        questions.answer("2", Answer("123456", save=True))
    questions.answer("2", Answer("123456"))()
    assert await attempt == Answer("123456")
