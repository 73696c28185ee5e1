"""A key with a passphrase: who is asked, how often, and what is remembered."""

from __future__ import annotations

import base64
import warnings
from pathlib import Path

import asyncssh
import pytest

from tests.ssh.person import Person
from tunnels.errors import NeedsPerson
from tunnels.ssh.encrypted_key import TRIES, EncryptedKey
from tunnels.ssh.offer import Unusable

PATH = Path("/home/me/.ssh/id_ed25519")
SUBJECT = f"passphrase {PATH}"
KEY = asyncssh.generate_private_key("ssh-ed25519")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # one round of bcrypt is enough for a test, and a second shorter
    DATA = KEY.export_private_key(passphrase="secret", rounds=1)


def encrypted(person: Person, *, data: bytes = DATA, batch_mode: bool = False) -> EncryptedKey:
    return EncryptedKey(PATH, data, person, where="me@work", batch_mode=batch_mode)


async def test_a_person_is_asked_and_the_passphrase_is_remembered_once_it_has_proved_good() -> None:
    person = Person("wrong", "secret")
    assert await encrypted(person).open() == KEY
    assert person.known == {SUBJECT: "secret"}
    first, second = person.asked
    assert (first.kind, first.secret, first.lasting, first.subject) == ("passphrase", True, True, SUBJECT)
    assert first.headline == f"the passphrase of {PATH} is needed"
    assert second.headline == f"that was not the passphrase of {PATH}"
    assert first.id != second.id, "an answer must not meet the other question"


async def test_what_is_remembered_is_used_without_asking() -> None:
    person = Person()
    person.known[SUBJECT] = "secret"
    assert await encrypted(person).open() == KEY
    assert person.asked == []


async def test_what_is_remembered_and_not_good_any_more_is_forgotten() -> None:
    person = Person()
    person.known[SUBJECT] = "of the file that was there before"
    with pytest.raises(NeedsPerson):
        await encrypted(person).open()
    assert person.known == {}


async def test_it_is_asked_for_three_times_and_no_more() -> None:
    person = Person(*["wrong"] * 4)
    with pytest.raises(Unusable, match="3 times not its passphrase"):
        await encrypted(person).open()
    assert len(person.asked) == TRIES
    assert person.known == {}


async def test_no_answer_leaves_the_key_out() -> None:
    person = Person("")
    with pytest.raises(Unusable, match="no passphrase was given"):
        await encrypted(person).open()
    assert len(person.asked) == 1


async def test_batch_mode_asks_nobody_but_uses_what_is_known() -> None:
    person = Person("secret")
    with pytest.raises(Unusable, match="BatchMode"):
        await encrypted(person, batch_mode=True).open()
    assert person.asked == []
    person.known[SUBJECT] = "secret"
    assert await encrypted(person, batch_mode=True).open() == KEY


async def test_an_encryption_that_no_passphrase_opens_is_named_and_asked_about_once() -> None:
    lines = DATA.splitlines()
    body = b"".join(lines[1:-1])
    odd = base64.b64encode(base64.b64decode(body).replace(b"aes256-cbc", b"rot13-abcd"))
    person = Person("secret")
    with pytest.raises(Unusable, match="cannot be decrypted: Unknown cipher: rot13-abcd"):
        await encrypted(person, data=b"\n".join((lines[0], odd, lines[-1], b""))).open()
    assert len(person.asked) == 1
