"""Where passwords come from before a person is asked: memory, password_command, the keyring."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ssh.test_login import BASTION, SUBJECT, Person
from tunnels import system_keyring
from tunnels.core.question import Answer, Question
from tunnels.ssh.login import PASSWORD, Login
from tunnels.ssh.secret_sources import Given, Source, Sources, subject_of


@pytest.fixture(autouse=True)
def keyring(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A keyring in memory."""
    kept: dict[str, str] = {}

    async def recall(subject: str) -> str | None:
        return kept.get(subject)

    async def save(subject: str, secret: str) -> bool:
        kept[subject] = secret
        return True

    async def remove(subject: str) -> None:
        kept.pop(subject, None)

    monkeypatch.setattr(system_keyring, "installed", lambda: True)
    monkeypatch.setattr(system_keyring, "recall", recall)
    monkeypatch.setattr(system_keyring, "save", save)
    monkeypatch.setattr(system_keyring, "remove", remove)
    return kept


@pytest.fixture(autouse=True)
def refusals(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the keyring is told not to give out again."""
    told: dict[str, str] = {}
    monkeypatch.setattr(system_keyring, "refuse", told.__setitem__)
    monkeypatch.setattr(system_keyring, "trust", lambda subject: told.pop(subject, None))
    return told


class Saving(Person):
    """A person who wants everything saved."""

    async def ask(self, question: Question) -> Answer:
        return (await super().ask(question))._replace(save=True)


def refused(login: Login) -> None:
    login.heard(PASSWORD, (PASSWORD,), partial=False)


async def test_memory_comes_first_then_the_command_then_the_keyring(keyring: dict[str, str]) -> None:
    keyring[SUBJECT] = "kept"
    sources = Sources(SUBJECT, Person(known="old"), command="echo printed")
    found = [await sources.next() for _ in range(4)]
    assert [given and (given.source, given.secret) for given in found] == [
        (Source.MEMORY, "old"),
        (Source.COMMAND, "printed"),
        (Source.KEYRING, "kept"),
        None,
    ]


async def test_the_keyring_serves_where_nothing_else_does_and_is_then_remembered(
    keyring: dict[str, str],
) -> None:
    keyring[SUBJECT] = "kept"
    person = Person()
    login = Login(BASTION, person)
    assert await login.password() == "kept"
    await login.succeeded()
    assert person.known == {SUBJECT: "kept"}
    assert keyring == {SUBJECT: "kept"}


async def test_what_the_command_prints_and_the_server_refuses_is_a_refused_login(
    keyring: dict[str, str], tmp_path: Path
) -> None:
    keyring[SUBJECT] = "kept"
    person = Person("typed")
    login = Login(BASTION, person, password_command=f"echo ran >> {tmp_path}/runs; echo wrong")
    assert await login.password() == "wrong"
    refused(login)
    assert await login.password() is None
    assert person.asked == []
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert (
        login.describe() == "password (the password of password_command) refused; the server takes password"
    )


async def test_a_password_that_has_changed_comes_from_the_command_again() -> None:
    login = Login(BASTION, Person(known="old"), password_command="echo new")
    assert await login.password() == "old"
    refused(login)
    assert await login.password() == "new"


async def test_what_was_refused_is_not_tried_again_because_it_comes_from_elsewhere(
    keyring: dict[str, str],
) -> None:
    keyring[SUBJECT] = "old"
    person = Person("typed", known="old")
    login = Login(BASTION, person)
    assert await login.password() == "old"
    refused(login)
    assert await login.password() == "typed"
    command = Login(BASTION, Person("typed", known="old"), password_command="echo old")
    assert await command.password() == "old"
    refused(command)
    assert await command.password() is None


async def test_why_the_command_had_nothing_is_said_to_the_person_who_is_asked_instead(
    caplog: pytest.LogCaptureFixture,
) -> None:
    person = Person("typed")
    login = Login(BASTION, person, password_command="echo hunter2 >&2; exit 3")
    with caplog.at_level(logging.DEBUG):
        assert await login.password() == "typed"
    assert "password_command ended with status 3" in person.asked[0].text
    assert "password_command ended with status 3" in caplog.text
    assert "hunter2" not in caplog.text + person.asked[0].text


async def test_a_mistyped_code_does_not_rule_out_the_person(tmp_path: Path) -> None:
    person = Person("000000", "typed", "123456")
    login = Login(BASTION, person, password_command="echo printed")
    both = [("Password: ", False), ("Verification code: ", False)]
    assert login.challenged()
    assert await login.challenge("", "", both) == ["printed", "000000"]
    refused(login)
    assert login.challenged()
    assert await login.challenge("", "", both) == ["typed", "123456"]


async def test_an_answer_is_saved_once_the_login_has_succeeded(keyring: dict[str, str]) -> None:
    login = Login(BASTION, Saving("wrong", "right"))
    assert await login.password() == "wrong"
    refused(login)
    assert await login.password() == "right"
    assert keyring == {}
    await login.succeeded()
    assert keyring == {SUBJECT: "right"}


async def test_what_the_keyring_had_wrong_is_removed_when_the_right_one_is_known(
    keyring: dict[str, str], refusals: dict[str, str]
) -> None:
    keyring[SUBJECT] = "outdated"
    login = Login(BASTION, Person("right"))
    assert await login.password() == "outdated"
    refused(login)
    assert keyring == {SUBJECT: "outdated"}  # the server may be wrong
    assert refusals == {SUBJECT: "outdated"}
    assert await login.password() == "right"
    await login.succeeded()
    assert keyring == refusals == {}


def test_a_secret_belongs_to_the_server_and_the_way_to_it() -> None:
    inner = replace(BASTION, hostname="10.0.0.5")
    gate, door = replace(BASTION, hostname="gate"), replace(BASTION, hostname="door", port=2222)
    assert subject_of("password", BASTION) == SUBJECT
    assert subject_of("password", inner, [gate, door]) == "password me@10.0.0.5 via me@gate via me@door:2222"
    assert subject_of("password", inner, [gate]) != subject_of("password", inner, [door])
    office = replace(inner, host_key_alias="office")  # in another network, where 10.0.0.5 is another machine
    assert subject_of("password", office) == "password me@10.0.0.5 as office"
    assert subject_of("password", BASTION, [office]) != subject_of("password", BASTION, [inner])
    assert subject_of("password", replace(inner, proxy_command="nc a b")) == "password me@10.0.0.5 via nc a b"


def test_a_given_secret_does_not_show_itself() -> None:
    assert "s3cret" not in repr(Given(SUBJECT, "s3cret", Source.PERSON))
