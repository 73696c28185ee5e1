"""What a tunnel does about questions to a person, and about bugs in what makes its connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from tests.e2e.bed.ports import free_port, in_use
from tests.fakes import Client, local, turns
from tests.supervisor.rig import UNREACHABLE, Rig, rigged, work_db
from tunnels.core.question import Answer, PersonNeeded, Question
from tunnels.core.state import TunnelState
from tunnels.errors import HostKeyRejected, HostKeyUnknown, UsageError

# --- questions ------------------------------------------------------------------------------------

UNKNOWN = HostKeyUnknown("the host key of bastion is not known", hint="tunnels auth work-db")
QUESTION = Question("a1b2", "host-key", "ssh-ed25519 SHA256:…", "Trust this key? (yes/no)")


class Person:
    """Takes what was answered; refuses what it is told to."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.refusal: UsageError | None = None

    def take(self, answer: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.answers.append(answer)


async def ask(rig: Rig, question: Question = QUESTION) -> Person:
    """Let the attempt that is under way end with a question."""
    person = Person()
    (await rig.connector.next_attempt()).fail(PersonNeeded(UNKNOWN, question, person.take))
    await rig.reach(TunnelState.NEEDS_INPUT)
    return person


async def test_an_attempt_that_succeeds_while_its_question_is_open_brings_the_tunnel_up() -> None:
    """Somebody else who shared the attempt has answered in the very moment in which this one began to wait."""
    async with rigged() as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        asking = rig.scope.spawn(attempt.dialogue.ask(QUESTION._replace(kind="password")), name="question")
        await rig.reach(TunnelState.NEEDS_INPUT)
        asking.cancel()
        await asyncio.wait([asking])

        attempt.succeed()

        await rig.reach(TunnelState.UP)
        assert rig.tunnel.question is None


async def test_an_attempt_may_end_with_another_question_than_the_one_that_is_open() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()
        asking = rig.scope.spawn(attempt.dialogue.ask(QUESTION._replace(kind="password")), name="question")
        await rig.reach(TunnelState.NEEDS_INPUT)
        asking.cancel()
        await asyncio.wait([asking])

        person = Person()
        attempt.fail(PersonNeeded(UNKNOWN, QUESTION, person.take))
        await turns()
        rig.tunnel.answer(QUESTION.id, Answer("yes"))

        assert person.answers == ["yes"]
        (await rig.connector.next_attempt()).succeed()
        await rig.reach(TunnelState.UP)


async def test_a_question_is_shown_and_its_answer_brings_the_tunnel_up() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        person = await ask(rig)
        status = rig.tunnel.status()
        assert (status.question, status.error, status.retry_at) == (QUESTION, UNKNOWN.info, None)
        assert rig.clock.alarms == []  # it waits for as long as it takes

        rig.tunnel.answer("a1b2", Answer("yes"))

        assert person.answers == ["yes"]
        assert rig.state() is TunnelState.CONNECTING
        await rig.connected()
        status = rig.tunnel.status()
        assert (status.question, status.error) == (None, None)


async def test_the_port_is_held_while_a_person_is_asked() -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        rig.tunnel.start()
        await ask(rig)
        await rig.listens()
        async with Client.of(port):
            await rig.changes.until(lambda: rig.forward.held == 1)

            rig.tunnel.answer("a1b2", Answer("yes"))

            await (await rig.connected()).next_channel()


async def test_an_answer_to_another_question_is_refused() -> None:
    """Somebody may have read a question that is no longer the one that is asked."""
    async with rigged() as rig:
        rig.tunnel.start()
        person = await ask(rig)

        with pytest.raises(UsageError, match="work-db no longer waits for this answer"):
            rig.tunnel.answer("c3d4", Answer("yes"))

        assert person.answers == []
        assert rig.state() is TunnelState.NEEDS_INPUT
        assert rig.tunnel.status().question == QUESTION


async def test_an_answer_that_nobody_asked_for_is_refused() -> None:
    async with rigged() as rig:
        await rig.up()

        with pytest.raises(UsageError, match="no longer waits"):
            rig.tunnel.answer("a1b2", Answer("yes"))


async def test_a_question_is_answered_once() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        person = await ask(rig)
        rig.tunnel.answer("a1b2", Answer("yes"))

        with pytest.raises(UsageError, match="no longer waits"):
            rig.tunnel.answer("a1b2", Answer("yes"))

        assert person.answers == ["yes"]


async def test_an_answer_that_is_none_leaves_the_question_open() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        person = await ask(rig)
        person.refusal = UsageError("please answer yes, no, or the fingerprint")
        with pytest.raises(UsageError, match="please answer"):
            rig.tunnel.answer("a1b2", Answer("perhaps"))
        assert rig.tunnel.status().question == QUESTION

        person.refusal = None
        rig.tunnel.answer("a1b2", Answer("yes"))

        assert person.answers == ["yes"]


async def test_a_second_question_takes_the_place_of_the_first() -> None:
    """A jump host has a key of its own."""
    async with rigged() as rig:
        rig.tunnel.start()
        await ask(rig)
        rig.tunnel.answer("a1b2", Answer("yes"))
        second = QUESTION._replace(id="c3d4")
        person = await ask(rig, second)
        assert rig.tunnel.status().question == second

        with pytest.raises(UsageError):
            rig.tunnel.answer("a1b2", Answer("yes"))
        rig.tunnel.answer("c3d4", Answer("yes"))

        assert person.answers == ["yes"]


async def test_a_question_may_come_up_again() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        await ask(rig)
        rig.tunnel.start()  # `tunnels up` on another terminal
        person = await ask(rig)

        rig.tunnel.answer("a1b2", Answer("yes"))

        assert person.answers == ["yes"]
        await rig.connected()


async def dial_again(rig: Rig) -> None:
    rig.tunnel.start()
    await rig.connector.next_attempt()


async def fail_again(rig: Rig) -> None:
    rig.tunnel.start()
    await rig.fail(UNREACHABLE)
    await rig.reach(TunnelState.BACKOFF)


@pytest.mark.parametrize("overtaken", [dial_again, fail_again, Rig.stop], ids=lambda how: how.__name__)
async def test_an_answer_that_comes_too_late_is_refused(
    overtaken: Callable[[Rig], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """Another terminal has dialled again, or taken the tunnel down. Nothing is trusted behind its back."""
    async with rigged() as rig:
        rig.tunnel.start()
        person = await ask(rig)
        await overtaken(rig)

        with pytest.raises(UsageError, match="no longer waits"):
            rig.tunnel.answer("a1b2", Answer("yes"))

        assert person.answers == []
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_tunnel_that_waits_for_a_person_can_be_stopped() -> None:
    port = free_port()
    async with rigged(work_db(local(port))) as rig:
        rig.tunnel.start()
        await ask(rig)
        await rig.listens()

        await rig.stop()

        assert not in_use(port)
        assert rig.tunnel.status().question is None


async def test_a_refused_key_fails_the_tunnel_and_asks_nothing() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        await rig.fail(HostKeyRejected("the host key of bastion has changed"))
        await rig.reach(TunnelState.FAILED)

        assert rig.tunnel.status().question is None


# --- bugs -----------------------------------------------------------------------------------------


async def test_a_bug_in_connecting_fails_the_tunnel_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        (await rig.connector.next_attempt()).fail(KeyError("send_cipher"))
        await rig.reach(TunnelState.FAILED)

        error = rig.tunnel.status().error
        assert error is not None
        assert error.code == "internal"
        assert error.message == "KeyError: 'send_cipher'"
        assert error.hint == "`tunnels logs` has the details"
        assert "connecting ended with a bug" in caplog.messages
        assert "Traceback" in caplog.text


async def test_after_a_bug_the_tunnel_can_be_started_again() -> None:
    async with rigged() as rig:
        rig.tunnel.start()
        (await rig.connector.next_attempt()).fail(KeyError("send_cipher"))
        await rig.reach(TunnelState.FAILED)

        await rig.up()


async def test_an_attempt_that_ends_as_cancelled_by_itself_is_not_a_hang() -> None:
    """A library cancels a future of its own, and the cancellation comes out at our end."""
    async with rigged() as rig:
        rig.tunnel.start()
        attempt = await rig.connector.next_attempt()

        attempt.break_off()
        await turns()

        assert rig.state() is not TunnelState.CONNECTING


async def test_a_bug_in_closing_a_lost_connection_does_not_keep_the_tunnel_from_coming_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with rigged() as rig:
        connection = await rig.up()
        connection.close_error = ValueError("a bug")
        connection.lose()
        await turns()
        assert "a bug" in caplog.text

        rig.retry_now()
        await rig.connected()
