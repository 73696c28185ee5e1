"""One question for all who wait for the same attempt; whoever comes and goes, it stays open for the others."""

from __future__ import annotations

import asyncio

import pytest

from tests.forwarding.fakes import until
from tunnels.core.question import Answer, NobodyThere, Question
from tunnels.errors import NeedsPerson
from tunnels.ssh.shared_dialogue import SharedDialogue
from tunnels.tasks import TaskScope

CODE = Question("1", "challenge", "bastion", "Code:")


class Person(NobodyThere):
    """Whose answer the test gives."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.known: dict[str, str] = {}

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        given: Answer = await self.answer
        return given

    def recall(self, subject: str) -> str | None:
        return self.known.get(subject)

    def remember(self, subject: str, secret: str) -> None:
        self.known[subject] = secret

    def forget(self, subject: str) -> None:
        self.known.pop(subject, None)


def failed(exc: Exception) -> None:
    raise AssertionError(exc)


async def test_everybody_is_asked_and_the_first_answer_counts() -> None:
    shared, one, two = SharedDialogue(TaskScope("test")), Person(), Person()
    shared.join(one, failed)
    shared.join(two, failed)
    asking = asyncio.get_running_loop().create_task(shared.ask(CODE))
    await until(lambda: one.asked == two.asked == [CODE])
    two.answer.set_result(Answer("123456"))
    assert await asking == Answer("123456")
    await until(one.answer.cancelled)


async def test_who_comes_later_is_asked_the_open_question() -> None:
    shared, one, two = SharedDialogue(TaskScope("test")), Person(), Person()
    shared.join(one, failed)
    asking = asyncio.get_running_loop().create_task(shared.ask(CODE))
    await until(lambda: one.asked)
    shared.join(two, failed)
    two.answer.set_result(Answer("123456"))
    assert await asking == Answer("123456")


async def test_the_question_stays_open_when_the_one_who_began_goes() -> None:
    shared, one, two = SharedDialogue(TaskScope("test")), Person(), Person()
    first = shared.join(one, failed)
    shared.join(two, failed)
    asking = asyncio.get_running_loop().create_task(shared.ask(CODE))
    await until(lambda: two.asked)
    shared.leave(first)
    await until(one.answer.cancelled)
    two.answer.set_result(Answer("123456"))
    assert await asking == Answer("123456")


async def test_nobody_there_is_a_reason_for_that_member_only() -> None:
    shared, one = SharedDialogue(TaskScope("test")), Person()
    errors: list[Exception] = []
    shared.join(NobodyThere(), errors.append)
    shared.join(one, failed)
    asking = asyncio.get_running_loop().create_task(shared.ask(CODE))
    await until(lambda: errors)
    assert isinstance(errors[0], NeedsPerson)
    one.answer.set_result(Answer("123456"))
    assert await asking == Answer("123456")


async def test_an_attempt_that_ends_takes_its_question_back() -> None:
    shared, one = SharedDialogue(TaskScope("test")), Person()
    shared.join(one, failed)
    asking = asyncio.get_running_loop().create_task(shared.ask(CODE))
    await until(lambda: one.asked)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(one.answer.cancelled)


async def test_what_one_knows_serves_all_and_what_proves_good_or_bad_is_told_to_all() -> None:
    shared, one, two = SharedDialogue(TaskScope("test")), Person(), Person()
    assert shared.recall("password b") is None
    shared.join(one, failed)
    shared.join(two, failed)
    two.known["password b"] = "old"
    assert shared.recall("password b") == "old"
    shared.remember("password b", "new")
    assert one.known == two.known == {"password b": "new"}
    shared.forget("password b")
    assert one.known == two.known == {}
