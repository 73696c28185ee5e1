"""One server on the way; most of it is tested with a real sshd, in test_connection."""

from __future__ import annotations

import asyncio

import pytest

from tunnels.core.profile import Profile
from tunnels.core.question import Answer, NobodyThere, Question
from tunnels.ssh import hop
from tunnels.ssh.destination import Destination
from tunnels.ssh.options import LOGIN_TIMEOUT

BASTION = Destination("bastion", "bastion.example.com", 22, "me")
CODE = Question("1", "challenge", "bastion", "Code:")


class Slow(NobodyThere):
    """A person who takes a while."""

    async def ask(self, question: Question) -> Answer:
        await asyncio.sleep(0)
        return Answer("123456")


async def test_the_time_that_a_person_takes_does_not_count() -> None:
    attempt = hop.Hop(Profile("work-db", "bastion"), BASTION, Slow(), None)
    async with asyncio.timeout(0.001) as attempt._limit:
        assert await attempt.ask(CODE) == Answer("123456")
        assert attempt._limit is not None
        left = (attempt._limit.when() or 0) - asyncio.get_running_loop().time()
    assert 0 < left <= LOGIN_TIMEOUT


async def test_neither_does_the_time_of_a_command_that_prints_the_password() -> None:
    attempt = hop.Hop(
        Profile("work-db", "bastion"), BASTION, NobodyThere(), None, password_command="sleep 0.2; echo s3cret"
    )
    async with asyncio.timeout(0.05) as attempt._limit:
        assert await attempt._login.password() == "s3cret"


async def test_after_a_person_did_nothing_the_login_has_its_time_again() -> None:
    attempt = hop.Hop(Profile("work-db", "bastion"), BASTION, Slow(), None)
    async with asyncio.timeout(0.001) as attempt._limit:
        with pytest.raises(ValueError, match="nobody"), attempt.patience(60):
            assert (attempt._limit.when() or 0) - asyncio.get_running_loop().time() > LOGIN_TIMEOUT
            raise ValueError("nobody touched it")
        assert (attempt._limit.when() or 0) - asyncio.get_running_loop().time() <= LOGIN_TIMEOUT


async def test_a_signature_that_comes_after_the_end_of_the_attempt_changes_nothing() -> None:
    attempt = hop.Hop(Profile("work-db", "bastion"), BASTION, Slow(), None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0) as attempt._limit:
            await asyncio.sleep(1)
    attempt._limit, over = None, attempt._limit
    with attempt.patience(60):
        attempt._limit = over
