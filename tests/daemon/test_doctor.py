"""The doctor's run around the attempt: questions, answers, and whom it tells; with real servers, in tests/e2e."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunnels.core.checkup import Checkup, Step
from tunnels.core.forward import ForwardKind, parse_forward
from tunnels.core.profile import Profile
from tunnels.core.question import Dialogue, PersonNeeded, Question
from tunnels.core.status import Snapshot
from tunnels.daemon import doctor
from tunnels.daemon.doctor import Doctor
from tunnels.errors import (
    CaptivePortal,
    HostKeyRejected,
    HostKeyUnknown,
    HostUnreachable,
    LoginRefused,
    NeedsPerson,
    Problem,
    TunnelsError,
    UsageError,
)
from tunnels.ssh.destination import Destination, Route
from tunnels.ssh.keys import Keys
from tunnels.ssh.watch import Watch
from tunnels.supervisor import portal_probe

FORWARD = parse_forward(ForwardKind.LOCAL, "/nonexistent/s:db:5432").spread()
PROFILE = Profile("work-db", "bastion", forwards=FORWARD, remote_unlink=True)
BASTION = Destination("bastion", "bastion.example.com", 22, "me")
PASSWORD = Question(
    "q", "password", "me@bastion asks", "Password:", secret=True, subject="password", lasting=True
)


class Reader:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.checkups: list[Checkup] = []
        self.questions = 0
        self.breaks: Exception | None = None

    def examining(self, profile: Profile) -> None:
        """Nothing to keep."""

    def began(self, what: str) -> None:
        """Nothing to keep."""

    def found(self, step: Step) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.steps.append(step)

    def done(self, checkup: Checkup) -> None:
        self.checkups.append(checkup)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        self.questions += 1
        yield


class Attempts:
    """Attempts that fail one after the other, as the test says, after the way was found."""

    def __init__(self, *ends: Callable[[Dialogue], Any]) -> None:
        self._ends = list(ends)
        self.profiles: list[Profile] = []

    async def __call__(
        self, profile: Profile, _on_lost: object, _on_found: object, dialogue: Dialogue, watch: Watch
    ) -> Any:
        self.profiles.append(profile)
        watch.way(Route((), BASTION))
        watch.begins(BASTION, through=False)
        watch.offers(Keys())
        end = self._ends.pop(0)(dialogue)
        raise await end if hasattr(end, "__await__") else end


def host_key(take: Callable[[str], None] = lambda _: None) -> PersonNeeded:
    asked = Question("q", "host-key", "the host key of bastion is not known", "Trust it?")
    return PersonNeeded(HostKeyUnknown("the host key of bastion is not known"), asked, take)


async def examine(
    monkeypatch: pytest.MonkeyPatch, attempts: Attempts, *answers: str | None, reader: Reader | None = None
) -> tuple[Reader, Checkup]:
    """Examine a profile, with a person who answers this; without answers there is nobody."""
    given = list(answers)

    async def ask(_name: str, _question: Question) -> str | None:
        return given.pop(0)

    monkeypatch.setattr(doctor, "connect", attempts)
    reader = reader or Reader()
    doc = Doctor(Path("profiles.toml"), reader, running=Snapshot(None), ask=ask if answers else None)
    checkup = await doc.examine(PROFILE)
    assert given == []
    return reader, checkup


def failed(reader: Reader) -> list[str]:
    return [step.error.code for step in reader.steps if step.ok is False and step.error and step.host]


async def test_what_the_attempt_ends_with_is_a_step_and_the_forwards_are_looked_at_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, checkup = await examine(monkeypatch, Attempts(lambda _: HostUnreachable("refused")))
    assert failed(reader) == ["host-unreachable"]
    assert reader.checkups == [checkup]
    assert [(step.step, step.ok) for step in reader.steps if step.forward] == [
        ("listen", False),  # the folder is not there
        ("connect", None),
    ]


@pytest.mark.parametrize(("wanted", "code"), [(True, "captive-portal"), (False, "host-unreachable")])
async def test_behind_a_login_page_that_is_the_reason(
    wanted: bool, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explain(_error: TunnelsError, _addresses: tuple[str, ...]) -> TunnelsError:
        return CaptivePortal("Wi-Fi login page at http://login.hotel/")

    monkeypatch.setattr(portal_probe, "explain", explain)
    monkeypatch.setattr(f"{__name__}.PROFILE", replace(PROFILE, captive_portal=wanted))
    reader, _ = await examine(monkeypatch, Attempts(lambda _: HostUnreachable("refused")))
    assert failed(reader) == [code]


async def test_a_bug_is_a_step_that_failed_and_not_the_end_of_the_doctor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, _ = await examine(monkeypatch, Attempts(lambda _: ZeroDivisionError("oops")))
    assert failed(reader) == ["internal"]


async def test_nothing_on_the_server_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(lambda _: HostUnreachable("refused"))
    await examine(monkeypatch, attempts)
    assert PROFILE.remote_unlink
    assert not attempts.profiles[0].remote_unlink


# --- questions ------------------------------------------------------------------------------------


async def test_without_a_person_a_question_is_a_step_that_says_where_to_answer_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for attempts in (Attempts(lambda _: host_key()), Attempts(lambda _: NeedsPerson("a passphrase"))):
        reader, _ = await examine(monkeypatch, attempts)
        assert failed(reader) == ["needs-input"]
        [step] = [step for step in reader.steps if step.ok is False and step.host]
        assert step.error is not None
        assert step.error.hint == "`tunnels up work-db` on a terminal asks it"
        assert reader.questions == 0


async def test_a_host_key_that_is_answered_for_leads_to_one_more_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[str] = []
    attempts = Attempts(lambda _: host_key(taken.append), lambda _: LoginRefused("no"))
    reader, _ = await examine(monkeypatch, attempts, "yes")
    assert taken == ["yes"]
    assert failed(reader) == ["login-refused"]
    assert (len(attempts.profiles), reader.questions) == (2, 1)


async def test_an_answer_that_makes_no_sense_is_asked_for_again_and_a_no_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors: list[TunnelsError] = [UsageError("please answer yes or no"), HostKeyRejected("not trusted")]

    def take(_answer: str) -> None:
        raise errors.pop(0)

    attempts = Attempts(lambda _: host_key(take))
    reader, _ = await examine(monkeypatch, attempts, "perhaps", "no")
    assert failed(reader) == ["host-key-rejected"]
    assert len(attempts.profiles) == 1


async def test_a_person_who_has_gone_leaves_the_question_open(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, _ = await examine(monkeypatch, Attempts(lambda _: host_key()), None)
    assert failed(reader) == ["host-key-unknown"]


async def test_a_secret_is_asked_for_once_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    async def log_in(dialogue: Dialogue) -> TunnelsError:
        known = dialogue.recall(PASSWORD.subject)
        seen.append(known)
        if known is None:
            dialogue.remember(PASSWORD.subject, (await dialogue.ask(PASSWORD)).text)
        return HostUnreachable("gone")

    asked: list[Question] = []

    async def ask(name: str, question: Question) -> str:
        assert name == PROFILE.name
        asked.append(question)
        return "s3cret"

    monkeypatch.setattr(doctor, "connect", Attempts(log_in, log_in))
    doc = Doctor(Path("profiles.toml"), Reader(), running=Snapshot(None), ask=ask)
    for _ in range(2):
        await doc.examine(PROFILE)
    assert asked == [PASSWORD]
    assert seen == [None, "s3cret"]


# --- who is told ----------------------------------------------------------------------------------


async def test_a_reader_that_has_gone_is_heard_of_though_asyncssh_would_swallow_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = Reader()
    reader.breaks = BrokenPipeError()
    with pytest.raises(BrokenPipeError):
        await examine(monkeypatch, Attempts(lambda _: HostUnreachable("refused")), reader=reader)


async def test_what_the_file_warns_of_stands_at_the_profile_it_is_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "connect", Attempts(lambda _: HostUnreachable("refused")))
    reader = Reader()
    cautions = [
        Problem(3, "profiles.work-db.local[0]", "shared port"),
        Problem(9, "profiles.work-db2.local[0]", "another one"),
    ]
    await Doctor(Path("profiles.toml"), reader, running=Snapshot(None), cautions=cautions).examine(PROFILE)
    assert reader.steps[0].warning == "line 3: profiles.work-db.local[0]: shared port"
