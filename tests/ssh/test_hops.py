"""Shared connections to jump hosts; that they carry real traffic is shown in tests/e2e/test_ways.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.forwarding.fakes import turns, until
from tunnels.core.profile import Profile
from tunnels.core.question import Answer, NobodyThere, Question
from tunnels.errors import ConnectionLost, HostUnreachable, NeedsPerson
from tunnels.ssh import hops as sharing
from tunnels.ssh.destination import Destination
from tunnels.ssh.hops import Hops, Key, Lease

A = Destination("a", "10.0.0.1", 22, "me")
B = Destination("b", "10.0.0.2", 22, "me")
CODE = Question("1", "challenge", "a", "Code:")
PROFILE = Profile("work-db", "c")
ONE = Key((A,), None, None)
TWO = Key((A, B), None, None)


class FakeConn:
    """An asyncssh connection, as far as a jump host needs one."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.answers = True
        self.owner: FakeHop | None = None

    def get_extra_info(self, name: str) -> None:
        return None

    async def _make_keepalive_request(self) -> None:
        if not self.answers:
            await asyncio.Event().wait()

    def is_closed(self) -> bool:
        return self.closed.is_set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cleanup(exc)

    def _cleanup(self, exc: Exception | None) -> None:
        self.closed.set()

    def close(self) -> None:
        self.closed.set()

    abort = close

    async def wait_closed(self) -> None:
        await self.closed.wait()


class FakeClient:
    def __init__(self) -> None:
        self.lost: list[Exception | None] = []
        self.on_lost: object = None


class FakeHop:
    """An attempt that goes on when the test says so."""

    made: list[FakeHop] = []  # noqa: RUF012 - emptied by the fixture
    outcome: asyncio.Future[None] | None = None
    asks = False

    def __init__(
        self,
        profile: Profile,
        destination: Destination,
        dialogue: Any,
        through: object,
        *_: object,
        **__: object,
    ) -> None:
        self.destination = destination
        self.dialogue = dialogue
        self.through = through
        self.client = FakeClient()
        self.command = None
        self.conn = FakeConn()
        self.answered: Answer | None = None
        self.cancelled = False
        FakeHop.made.append(self)

    async def connect(self, on_found: Any) -> FakeConn:
        on_found((self.destination.hostname,))
        try:
            if self.asks:
                self.answered = await self.dialogue.ask(CODE)
            if FakeHop.outcome is not None:
                await asyncio.shield(FakeHop.outcome)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return self.conn


class Person(NobodyThere):
    """Who answers when the test says so."""

    def __init__(self) -> None:
        self.asked = False
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    async def ask(self, question: Question) -> Answer:
        self.asked = True
        given: Answer = await self.answer
        return given


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[FakeHop]:
    monkeypatch.setattr(sharing, "Hop", FakeHop)
    monkeypatch.setattr(sharing, "tolerate_late_packets", lambda _: None)
    monkeypatch.setattr(FakeHop, "made", [])
    monkeypatch.setattr(FakeHop, "outcome", None)
    monkeypatch.setattr(FakeHop, "asks", False)
    return FakeHop.made


@asynccontextmanager
async def pool() -> AsyncIterator[Hops]:
    hops = Hops()
    try:
        yield hops
    finally:
        await hops.aclose()
        assert len(hops.scope) == 0


async def lease(hops: Hops, key: Key = ONE, dialogue: Any = None) -> Lease:
    return await hops.lease(PROFILE, key, dialogue or NobodyThere(), lambda _: None)


def start(hops: Hops, dialogue: Any = None) -> asyncio.Task[Lease]:
    return asyncio.get_running_loop().create_task(lease(hops, ONE, dialogue))


def hold_up() -> asyncio.Future[None]:
    """Let attempts wait."""
    FakeHop.outcome = asyncio.get_running_loop().create_future()
    return FakeHop.outcome


# --- one connection for all -----------------------------------------------------------------------


async def test_the_second_gets_what_the_first_has_made_and_the_last_one_closes_it(
    made: list[FakeHop],
) -> None:
    async with pool() as hops:
        one, two = await lease(hops), await lease(hops)
        assert len(made) == 1
        await one.aclose()
        await one.aclose()
        assert not made[0].conn.is_closed()
        await two.aclose()
        assert made[0].conn.is_closed()
        await lease(hops)
        assert len(made) == 2


async def test_another_way_another_policy_and_another_owner_share_nothing(made: list[FakeHop]) -> None:
    async with pool() as hops:
        await lease(hops)
        await lease(hops, Key((B,), None, None))
        await lease(hops, ONE._replace(owner=object()))
        assert len(made) == 3


async def test_a_longer_way_shares_its_beginning(made: list[FakeHop]) -> None:
    async with pool() as hops:
        short = await lease(hops)
        long = await lease(hops, TWO)
        assert [hop.destination for hop in made] == [A, B]
        assert made[1].through is short.onward
        await short.aclose()
        assert not made[0].conn.is_closed(), "the longer way needs it"
        await long.aclose()
        await until(made[0].conn.is_closed)


async def test_the_addresses_of_the_first_host_are_told_to_everybody(made: list[FakeHop]) -> None:
    async with pool() as hops:
        found: list[tuple[str, ...]] = []
        for _ in range(2):
            await hops.lease(PROFILE, ONE, NobodyThere(), found.append)
        assert found == [("10.0.0.1",)] * 2


# --- one attempt for all --------------------------------------------------------------------------


async def test_two_that_dial_at_the_same_time_share_the_attempt(made: list[FakeHop]) -> None:
    async with pool() as hops:
        go_on = hold_up()
        one, two = start(hops), start(hops)
        await until(lambda: made)
        go_on.set_result(None)
        assert (await one).kept is (await two).kept
        assert len(made) == 1


async def test_who_began_may_go_and_the_attempt_goes_on(made: list[FakeHop]) -> None:
    async with pool() as hops:
        go_on = hold_up()
        one, two = start(hops), start(hops)
        await turns()
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        go_on.set_result(None)
        await two
        assert (len(made), made[0].cancelled) == (1, False)


async def test_the_attempt_ends_with_the_last_who_waits_and_the_next_one_begins_anew(
    made: list[FakeHop],
) -> None:
    async with pool() as hops:
        go_on = hold_up()
        one = start(hops)
        await turns()
        one.cancel()
        two = start(hops)
        with pytest.raises(asyncio.CancelledError):
            await one
        assert made[0].cancelled
        go_on.set_result(None)
        await two
        assert len(made) == 2


async def test_who_is_cancelled_in_the_moment_of_success_keeps_nothing(made: list[FakeHop]) -> None:
    async with pool() as hops:
        go_on = hold_up()
        one = start(hops)
        await turns()
        go_on.set_result(None)
        while not made[0].conn.closed.is_set() and not hops._kept:
            await asyncio.sleep(0)
        one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await one).release()
        await until(made[0].conn.is_closed)


async def test_a_failure_is_everybodys_and_the_next_attempt_is_a_new_one(made: list[FakeHop]) -> None:
    async with pool() as hops:
        go_on = hold_up()
        one, two = start(hops), start(hops)
        await turns()
        go_on.set_exception(HostUnreachable("no answer"))
        for attempt in (one, two):
            with pytest.raises(HostUnreachable):
                await attempt
        FakeHop.outcome = None
        await lease(hops)
        assert len(made) == 2


async def test_a_question_outlives_who_began_the_attempt(made: list[FakeHop]) -> None:
    async with pool() as hops:
        FakeHop.asks = True
        first, second = Person(), Person()
        one, two = start(hops, first), start(hops, second)
        await until(lambda: first.asked and second.asked)
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        second.answer.set_result(Answer("123456"))
        await two
        assert made[0].answered == Answer("123456")
        assert len(made) == 1


async def test_a_question_where_nobody_is_there_ends_it_only_for_those(made: list[FakeHop]) -> None:
    async with pool() as hops:
        FakeHop.asks = True
        person = Person()
        one, two = start(hops, person), start(hops, NobodyThere())
        with pytest.raises(NeedsPerson):
            await two
        person.answer.set_result(Answer("123456"))
        await one


# --- what may be dead -----------------------------------------------------------------------------


async def test_one_that_does_not_answer_is_not_handed_out_and_not_taken_away(
    made: list[FakeHop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "probe_limit", lambda _: 0.01)
    async with pool() as hops:
        one = await lease(hops)
        made[0].conn.answers = False
        two = await lease(hops)
        assert one.kept is not two.kept
        assert not made[0].conn.is_closed()
        assert (await lease(hops)).kept is two.kept


async def test_one_whose_address_has_left_this_machine_is_not_even_asked(
    made: list[FakeHop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "has_lost_its_address", lambda _: True)
    monkeypatch.setattr(sharing, "limit_retransmission_timeout", lambda _sock, _outage: None)
    monkeypatch.setattr(sharing, "let_say_goodbye", lambda _sock: None)
    monkeypatch.setattr(FakeConn, "get_extra_info", lambda _self, _name: object())
    async with pool() as hops:
        await lease(hops)
        made[0].conn.answers = False
        await lease(hops)
        assert len(made) == 2


async def test_one_that_is_lost_says_why_to_its_users_before_they_hear_of_it(made: list[FakeHop]) -> None:
    async with pool() as hops:
        long = await lease(hops, TWO)
        causes: list[ConnectionLost | None] = []
        conn: Any = made[0].conn
        conn.closed.set = lambda: causes.append(long.kept.through.cause if long.kept.through else None)
        conn.connection_lost(None)
        assert causes
        assert causes[0] is not None
        assert causes[0].message == "jump host a closed the connection"
        made[1].conn.connection_lost(None)
        assert long.cause is causes[0], "what is nearest to us is the reason"
        del conn.closed.set
        await lease(hops)
        assert len(made) == 3


async def test_an_outage_is_expected_as_long_as_one_user_expects_it(
    made: list[FakeHop], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(sharing, "limit_retransmission_timeout", lambda _sock, outage: told.append(outage))
    monkeypatch.setattr(sharing, "let_say_goodbye", lambda _sock: None)
    monkeypatch.setattr(sharing, "has_lost_its_address", lambda _: False)
    monkeypatch.setattr(sharing, "heard", lambda _: 0)
    monkeypatch.setattr(FakeConn, "get_extra_info", lambda _self, _name: object())
    async with pool() as hops:
        one, two = await lease(hops), await lease(hops)
        one.expect_outage(True)
        two.expect_outage(True)
        one.expect_outage(False)
        two.release()
        assert told == [True, True, True, False]


async def test_the_end_of_everything_is_bounded(made: list[FakeHop], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "CLOSE_TIMEOUT", 0.05)
    monkeypatch.setattr(FakeConn, "close", lambda _: None)
    async with pool() as hops:
        await lease(hops)
        waiting = hold_up()
        other = asyncio.get_running_loop().create_task(lease(hops, Key((B,), None, None)))
        await turns()
        async with asyncio.timeout(1):
            await hops.aclose()
        with pytest.raises(asyncio.CancelledError):
            await other
        waiting.cancel()
    assert made[0].conn.is_closed()


async def test_who_lets_go_after_the_end_of_everything_cuts_what_is_left(made: list[FakeHop]) -> None:
    hops = Hops()
    late = await lease(hops)
    hops._kept.clear()  # retired: only its user has it
    await hops.aclose()
    assert not made[0].conn.is_closed()
    await late.aclose()
    assert made[0].conn.is_closed()
