from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.served import REMOTE, connect_for_ever, forward, profile_file, tunnel
from tests.daemon.test_app import OTHER, logged
from tests.daemon.test_notify import Systemd
from tests.fakes import FakeConnection, FakeConnector
from tunnels import paths, profiles
from tunnels.core.profile import Profile
from tunnels.core.question import Dialogue, PersonNeeded, Question
from tunnels.core.state import ForwardState, TunnelState
from tunnels.daemon import engine
from tunnels.daemon import foreground as verb
from tunnels.daemon.foreground import Foreground, hopeless, is_ready
from tunnels.daemon.ready_file import ReadyFile
from tunnels.errors import HostKeyRejected, HostKeyUnknown, HostUnreachable, LoginRefused, UsageError
from tunnels.supervisor.connector import Connection, OnFound, OnLost

REFUSED = LoginRefused("bastion refused the login", hint="set identity_file")


@pytest.fixture
def connector(monkeypatch: pytest.MonkeyPatch) -> FakeConnector:
    connector = FakeConnector()
    monkeypatch.setattr(engine, "connect", connector)
    return connector


def question(take: Callable[[str], None] = lambda _: None) -> PersonNeeded:
    """Make the end of an attempt that a person has to say something to."""
    asked = Question("q1", "host-key", "the host key of bastion is not known", "Trust it?")
    return PersonNeeded(HostKeyUnknown("the host key of bastion is not known"), asked, take)


class Run:
    """One run in the loop of the test."""

    def __init__(self, task: asyncio.Task[int], ready: Path) -> None:
        self.task = task
        self.ready = ready

    async def ready_is(self, wanted: bool) -> None:
        """Wait until the ready file is there, or is not."""
        while self.ready.exists() is not wanted:
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def foreground(
    config: Path, *names: str, ask: verb.Ask | None = None, ends: int | None = None
) -> AsyncIterator[Run]:
    """Run these in the foreground; SIGTERM ends it with 0, unless it ``ends`` by itself."""
    file = profiles.load(config)
    ready = config.parent / "ready"
    run = Foreground(config, [file.profiles[name] for name in names], ReadyFile(ready), ask=ask)
    task = asyncio.get_running_loop().create_task(run.run())
    await asyncio.sleep(0)  # until it listens to signals
    try:
        yield Run(task, ready)
    finally:
        if ends is None:
            os.kill(os.getpid(), signal.SIGTERM)
        assert await task == (ends or 0)
        assert not ready.exists()


# --- what runs ------------------------------------------------------------------------------------


async def test_only_the_named_tunnels_run_and_nothing_is_written_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialled = []
    both = asyncio.Event()

    async def connect(
        profile: Profile, on_lost: OnLost, on_found: OnFound, dialogue: Dialogue, **_: object
    ) -> Connection:
        dialled.append(profile.name)
        if len(dialled) == 2:
            both.set()
        return await connect_for_ever(profile, on_lost, on_found, dialogue)

    monkeypatch.setattr(engine, "connect", connect)
    config = profile_file(REMOTE + OTHER)
    async with foreground(config, "work-db", "home"):
        await both.wait()
    assert sorted(dialled) == ["home", "work-db"]
    assert not paths.state_file().exists()
    assert not paths.socket_path().exists()


async def test_sighup_reloads_what_runs_and_starts_nothing_else(connector: FakeConnector) -> None:
    config = profile_file(REMOTE)
    async with foreground(config, "work-db"):
        assert (await connector.next_attempt()).profile.host == "bastion"
        profile_file(REMOTE + "hosst = 1\n")
        async with logged("not reloaded"):
            os.kill(os.getpid(), signal.SIGHUP)
        profile_file(REMOTE.replace("bastion", "gateway"))
        os.kill(os.getpid(), signal.SIGHUP)
        again = (await connector.next_attempt()).profile
        assert (again.name, again.host) == ("work-db", "gateway")
    assert len(connector.attempts) == 2


async def test_a_profile_that_was_missing_for_a_while_comes_back_with_the_next_reload(
    connector: FakeConnector,
) -> None:
    config = profile_file(REMOTE)
    async with foreground(config, "work-db"):
        await connector.next_attempt()
        profile_file(REMOTE.replace("profiles.work-db", "profiles.work-data"))
        async with logged("no tunnels"):
            os.kill(os.getpid(), signal.SIGHUP)
        profile_file(REMOTE)
        os.kill(os.getpid(), signal.SIGHUP)
        assert (await connector.next_attempt()).profile.name == "work-db"


# --- the ready file -------------------------------------------------------------------------------


async def test_the_ready_file_is_there_exactly_while_everything_is_up(connector: FakeConnector) -> None:
    async with foreground(profile_file(REMOTE), "work-db", "home") as run:
        (await connector.next_attempt()).succeed()
        second = await connector.next_attempt()
        assert not run.ready.exists(), "one of two is not everything"
        connection = second.succeed()
        await run.ready_is(True)
        connection.lose()
        await run.ready_is(False)
        (await connector.next_attempt()).succeed()
        await run.ready_is(True)


@pytest.mark.parametrize(
    ("tunnels", "ready"),
    [
        ((), False),
        ((tunnel(),), True),
        ((tunnel(state=TunnelState.IDLE),), True),
        ((tunnel(), tunnel("home", TunnelState.BACKOFF)), False),
        ((tunnel(forwards=(forward(), forward("localhost:1", state=ForwardState.FAILED))),), False),
        ((tunnel(forwards=(forward(state=ForwardState.PENDING),)),), False),
    ],
)
def test_ready_is_every_tunnel_with_every_forward(tunnels: tuple, ready: bool) -> None:  # type: ignore[type-arg]
    assert is_ready(tunnels) is ready


# --- nothing is left ------------------------------------------------------------------------------


FAILED, WAITS, TRIES = TunnelState.FAILED, TunnelState.NEEDS_INPUT, TunnelState.BACKOFF


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ((), None),
        ((FAILED,), 1),
        ((FAILED, FAILED), 1),
        ((FAILED, TRIES), None),
        ((FAILED, TunnelState.UP), None),
        ((WAITS,), 5),
        ((FAILED, WAITS), 5),
        ((WAITS, TRIES), None),
    ],
)
def test_it_goes_on_as_long_as_one_can_come_up_by_itself(
    states: tuple[TunnelState, ...], code: int | None
) -> None:
    assert hopeless([tunnel(str(n), state) for n, state in enumerate(states)]) == code


def test_where_a_person_can_be_asked_it_goes_on_until_they_say_no() -> None:
    waiting = [tunnel("work-db", WAITS)]
    assert hopeless(waiting, can_ask=lambda name: name == "work-db") is None
    assert hopeless(waiting, can_ask=lambda _: False) == 5
    assert hopeless(waiting, refused={"work-db"}) == 1


async def test_when_all_have_failed_it_ends_with_1_and_says_what_to_do(
    connector: FakeConnector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tunnels")
    async with foreground(profile_file(REMOTE), "work-db", "home", ends=1) as run:
        (await connector.next_attempt()).fail(REFUSED)
        second = await connector.next_attempt()
        assert not run.task.done()
        second.fail(REFUSED)
    assert "set identity_file" in caplog.text


async def test_a_question_without_a_terminal_ends_it_with_5(
    connector: FakeConnector, caplog: pytest.LogCaptureFixture
) -> None:
    async with foreground(profile_file(REMOTE), "home", ends=5):
        (await connector.next_attempt()).fail(question())
    assert "tunnels up home" in caplog.text


# --- questions ------------------------------------------------------------------------------------


class Person:
    """Says these, one after the other; then nothing for ever."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.gone = 0  #: questions that were taken back

    async def __call__(self, name: str, asked: Question) -> str | None:
        self.asked.append(f"{name}: {asked.prompt}")
        if not self.answers:
            try:
                await asyncio.Event().wait()
            finally:
                self.gone += 1
        return self.answers.pop(0)


async def test_on_a_terminal_the_person_is_asked_until_the_answer_makes_sense(
    connector: FakeConnector,
) -> None:
    taken = []

    def take(answer: str) -> None:
        taken.append(answer)
        if answer == "maybe":
            raise UsageError("please answer yes or no")

    person = Person("maybe", "yes")
    async with foreground(profile_file(REMOTE), "home", ask=person) as run:
        (await connector.next_attempt()).fail(question(take))
        (await connector.next_attempt()).succeed()
        await run.ready_is(True)
    assert taken == ["maybe", "yes"]
    assert len(person.asked) == 2


async def test_a_person_who_says_no_ends_it_with_1(connector: FakeConnector) -> None:
    def take(answer: str) -> None:
        raise HostKeyRejected("the host key of bastion was not trusted")

    async with foreground(profile_file(REMOTE), "home", ask=Person("no"), ends=1):
        (await connector.next_attempt()).fail(question(take))


async def test_a_person_who_ends_the_input_ends_it_with_5(connector: FakeConnector) -> None:
    async with foreground(profile_file(REMOTE), "home", ask=Person(None), ends=5):
        (await connector.next_attempt()).fail(question())


async def test_sigterm_ends_it_while_a_person_is_thinking(connector: FakeConnector) -> None:
    person = Person()
    async with foreground(profile_file(REMOTE), "home", ask=person):
        (await connector.next_attempt()).fail(question())
        while not person.asked:
            await asyncio.sleep(0)


PASSWORD = Question("p1", "password", "bastion asks for an answer", "Password:", secret=True, lasting=True)


class Server:
    """A server that asks each attempt for a password, and stops waiting when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []  #: the questions, by their ids
        self.told: list[str] = []
        self.patience = asyncio.Event()
        monkeypatch.setattr(engine, "connect", self.connect)

    async def connect(
        self, profile: Profile, on_lost: OnLost, on_found: OnFound, dialogue: Dialogue, **_: object
    ) -> Connection:
        self.asked.append(question_id := f"p{len(self.asked)}")
        asking = asyncio.ensure_future(dialogue.ask(PASSWORD._replace(id=question_id)))  # noqa: TID251 - a test
        over = asyncio.ensure_future(self.patience.wait())  # noqa: TID251
        try:
            await asyncio.wait([asking, over], return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                raise HostUnreachable("bastion hung up")
            self.told.append((await asking).text)
        finally:
            asking.cancel()
            over.cancel()
        return FakeConnection(on_lost)


async def test_an_answer_is_passed_on_to_the_server_that_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, person = Server(monkeypatch), Person("s3cret")
    async with foreground(profile_file(REMOTE), "home", ask=person) as run:
        await run.ready_is(True)
    assert server.told == ["s3cret"]
    assert person.asked == ["home: Password:"]


async def test_a_server_that_stops_waiting_is_asked_again_when_the_person_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(monkeypatch)
    back = asyncio.Event()

    class Away(Person):
        async def __call__(self, name: str, asked: Question) -> str | None:
            self.asked.append(asked.prompt)
            if len(self.asked) == 1:
                server.patience.set()
                await asyncio.Event().wait()
            await back.wait()
            return "s3cret"

    person = Away()
    async with foreground(profile_file(REMOTE), "home", ask=person) as run:
        while len(person.asked) < 2:
            await asyncio.sleep(0)
        assert "Press Return, and it asks again" in person.asked[1]
        assert server.asked == ["p0"], "it dials although nobody is there"
        server.patience.clear()
        back.set()
        await run.ready_is(True)
    assert server.told == ["s3cret"]


async def test_a_person_who_answers_a_moment_too_late_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(monkeypatch)

    class Late(Person):
        async def __call__(self, name: str, asked: Question) -> str | None:
            self.asked.append(asked.prompt)
            if len(self.asked) == 1:
                supervisor = runs[0]._supervisor
                server.patience.set()
                while not any(it.question is not None and it.question.stale for it in supervisor.statuses()):
                    await asyncio.sleep(0)
                server.patience.clear()
            return "s3cret"

    runs: list[Foreground] = []
    init = Foreground.__init__

    def remember(self: Foreground, *arguments: Any, **rest: Any) -> None:
        runs.append(self)
        init(self, *arguments, **rest)

    monkeypatch.setattr(Foreground, "__init__", remember)
    person = Late()
    async with foreground(profile_file(REMOTE), "home", ask=person) as run:
        await run.ready_is(True)
    assert person.asked[-1] == "Password:"
    assert server.told == ["s3cret"]


async def test_a_question_that_settles_itself_is_taken_back(connector: FakeConnector) -> None:
    """Two tunnels ask about one host key; or the person has mended it, and reloads."""
    person = Person()
    async with foreground(profile_file(REMOTE), "home", ask=person) as run:
        (await connector.next_attempt()).fail(question())
        while not person.asked:
            await asyncio.sleep(0)
        assert person.gone == 0
        os.kill(os.getpid(), signal.SIGHUP)
        (await connector.next_attempt()).succeed()
        await run.ready_is(True)
        while not person.gone:
            await asyncio.sleep(0)


# --- under systemd --------------------------------------------------------------------------------


async def test_systemd_is_told_from_the_start_to_the_end(
    connector: FakeConnector, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = Systemd(str(home / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
    with systemd.socket:
        async with foreground(profile_file(REMOTE), "home"):
            assert "NOTIFY_SOCKET" not in os.environ
            assert await systemd.hears() == "READY=1\nSTATUS=0 of 1 tunnels up"
            (await connector.next_attempt()).succeed()
            while await systemd.hears() != "STATUS=1 of 1 tunnels up":
                pass
            profile_file(REMOTE)
            os.kill(os.getpid(), signal.SIGHUP)
            assert (await systemd.hears()).startswith("RELOADING=1\nMONOTONIC_USEC=")
            assert await systemd.hears() == "READY=1"
        assert systemd.heard()[0] == "STOPPING=1\nSTATUS=stopping"


# --- the process ----------------------------------------------------------------------------------


def test_a_ready_file_that_cannot_be_ours_stops_it_before_anything_starts(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "run_loop", None)
    with pytest.raises(UsageError):
        verb.run_foreground(profile_file(), [], home)
