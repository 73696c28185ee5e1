"""What a person is asked, and what each answer does."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.ssh.blobs import ed25519, text
from tunnels.core.profile import HostKeyPolicy
from tunnels.core.question import PersonNeeded
from tunnels.errors import HostKeyRejected, HostKeyUnknown, TunnelsError, UsageError
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_keys import HostKeyChecker, UnconfirmedHostKey
from tunnels.ssh.known_hosts import hashed_name
from tunnels.ssh.prompts import question_for
from tunnels.ssh.public_key import fingerprint

KEY = b"\0\0\0\x0bssh-ed25519" + b"\0\0\0\x20" + b"\1" * 32


@pytest.fixture
def file(home: Path) -> Path:
    return home / ".ssh" / "known_hosts"


def checker(file: Path) -> HostKeyChecker:
    return HostKeyChecker(
        Destination("work", "h", 22, "me", user_known_hosts_files=(str(file),)), HostKeyPolicy.ASK
    )


def unknown(asking: HostKeyChecker) -> UnconfirmedHostKey:
    with pytest.raises(UnconfirmedHostKey) as caught:
        asking.check(KEY)
    return caught.value


def ask(asking: HostKeyChecker) -> PersonNeeded:
    person = question_for(unknown(asking), asking)
    assert isinstance(person, PersonNeeded)
    return person


def test_a_new_host_key_becomes_a_question_that_shows_its_fingerprint(file: Path) -> None:
    asking = checker(file)
    person = ask(asking)
    error = unknown(asking)
    assert error.new_key is not None
    assert person.question.kind == "host-key"
    assert not person.question.secret
    assert error.new_key.fingerprint in person.question.text
    assert person.question.text.startswith(error.message)
    assert "yes/no/fingerprint" in person.question.prompt
    assert person.error.message == error.message
    assert (person.message, person.hint) == (error.message, error.hint)


def test_two_questions_have_different_ids(file: Path) -> None:
    asking = checker(file)
    assert ask(asking).question.id != ask(asking).question.id


def test_the_question_says_where_else_the_key_or_the_host_is_on_file(file: Path) -> None:
    file.parent.mkdir()
    key, other = text(KEY), text(ed25519(2))
    file.write_text(
        f"h {other}\nwork.example.com,192.0.2.1 {key}\n{hashed_name('x', b'as long as the hash.')} {key}\n"
    )
    where = Destination("work", "h", 2222, "me", user_known_hosts_files=(str(file),))
    question = ask(HostKeyChecker(where, HostKeyPolicy.ASK)).question
    assert question.text.splitlines()[1:4] == [
        f"The name h without the port has another key on file: ED25519 {fingerprint(ed25519(2))} ({file}:1).",
        f"This key is already known as work.example.com,192.0.2.1 ({file}:2).",
        f"This key is already known as a hashed name ({file}:3).",
    ]


def test_many_other_names_are_counted(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("".join(f"host{number} {text(KEY)}\n" for number in range(20)))
    said = ask(checker(file)).question.text
    assert said.count("already known as") == 8
    assert "And by 12 more names." in said


@pytest.mark.parametrize("answer", ["yes", "YES", " yes\n", "FINGERPRINT", " FINGERPRINT "])
def test_a_yes_or_the_right_fingerprint_trusts_the_key_and_writes_it_down(answer: str, file: Path) -> None:
    asking = checker(file)
    error = unknown(asking)
    assert error.new_key is not None
    ask(asking).take(answer.replace("FINGERPRINT", error.new_key.fingerprint))
    asking.check(KEY)
    assert f"h ssh-ed25519 {base64.b64encode(KEY).decode()}" in file.read_text()
    checker(file).check(KEY)


@pytest.mark.parametrize("answer", ["no", "NO", "", "  \n"])
def test_a_no_or_nothing_at_all_rejects_the_key(answer: str, file: Path) -> None:
    with pytest.raises(HostKeyRejected, match="the host key of .* was not trusted"):
        ask(checker(file)).take(answer)
    assert not file.exists()
    unknown(checker(file))


@pytest.mark.parametrize("answer", ["maybe", "yes please", "ye s", "y", "n"])
def test_any_other_answer_is_asked_for_again_and_trusts_nothing(answer: str, file: Path) -> None:
    person = ask(checker(file))
    with pytest.raises(UsageError, match="yes, no, or the fingerprint"):
        person.take(answer)
    assert not file.exists()
    person.take("yes")
    assert file.exists()


def test_another_fingerprint_than_the_one_shown_is_said_to_be_one_and_trusts_nothing(file: Path) -> None:
    person = ask(checker(file))
    with pytest.raises(UsageError, match="not the fingerprint of the key that the server shows"):
        person.take("SHA256:" + "A" * 43)
    assert not file.exists()


@pytest.mark.parametrize(
    "error",
    [
        HostKeyUnknown("strict"),
        HostKeyRejected("changed"),
        UnconfirmedHostKey("rebuilt from its code"),
        TunnelsError("something else"),
    ],
)
def test_an_error_that_nobody_can_answer_stays_an_error(error: TunnelsError, file: Path) -> None:
    assert question_for(error, checker(file)) is error
