"""Smart cards: how often a PIN is tried. What a card really does is tested in test_pkcs11_token and tests/e2e."""

from __future__ import annotations

from dataclasses import replace

import asyncssh
import pytest

from tests.ssh.person import Person
from tunnels.errors import NeedsPerson
from tunnels.ssh import pkcs11, pkcs11_token
from tunnels.ssh.destination import Destination
from tunnels.ssh.offer import Unusable
from tunnels.ssh.pkcs11_token import CardKey, CardState, WrongPin

WORK = Destination("work", "work.example.com", 22, "me", pkcs11_provider="/card.so")
KEY = CardKey("badge", b"0001", b"\1", "mine", asyncssh.generate_private_key("ecdsa-sha2-nistp256"))
SUBJECT = "PIN badge 0001"
USUAL = CardState(wants_pin=True, pin_pad=False, locked=False, warning="")


class Card:
    """A card of paper that counts what was tried."""

    def __init__(self) -> None:
        self.pin: str | None = "1234"
        self.state = USUAL
        self.keys = [KEY]
        self.tried: list[str | None] = []

    def sign(self, _provider: str, _key: CardKey, pin: str | None, _data: bytes, _algorithm: bytes) -> bytes:
        self.tried.append(pin)
        if pin != self.pin:
            raise WrongPin
        return b"signature"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    it = Card()
    monkeypatch.setattr(pkcs11, "installed", lambda: True)
    monkeypatch.setattr(pkcs11, "_wrong", set())
    monkeypatch.setattr(pkcs11_token, "keys_of", lambda _provider: it.keys)
    monkeypatch.setattr(pkcs11_token, "state_of", lambda _provider, _key: it.state)
    monkeypatch.setattr(pkcs11_token, "sign", it.sign)
    return it


async def sign(person: Person, destination: Destination = WORK) -> bytes:
    (offer,) = await pkcs11.offers(destination, person)
    assert (offer.name, offer.asks) == ("smart card badge mine", True)
    return await offer.sign_async(b"data")


async def test_the_pin_is_asked_for_and_remembered_once_it_has_proved_good(card: Card) -> None:
    person = Person("1234")
    assert await sign(person) == b"signature"
    assert person.known == {SUBJECT: "1234"}
    assert [(asked.secret, asked.subject) for asked in person.asked] == [(True, SUBJECT)]
    assert await sign(person) == b"signature"
    assert len(person.asked) == 1
    assert pkcs11.SIGN_TIMEOUT in person.patient


async def test_each_answer_is_tried_once_and_two_are_enough(card: Card) -> None:
    person = Person("0000", "1111", "1234")
    with pytest.raises(Unusable, match="not its PIN"):
        await sign(person)
    assert card.tried == ["0000", "1111"]
    assert person.known == {}


async def test_a_remembered_pin_that_was_wrong_is_never_tried_again_by_any_tunnel(card: Card) -> None:
    card.pin = "changed"
    for _tunnel in range(3):
        person = Person()
        person.known[SUBJECT] = "1234"
        with pytest.raises(NeedsPerson):
            await sign(person)
        assert person.known == {}
    assert card.tried == ["1234"]
    assert all(b"1234" not in each for each in pkcs11._wrong)


async def test_a_locked_card_asks_nobody(card: Card) -> None:
    card.state = USUAL._replace(locked=True)
    person = Person("1234")
    with pytest.raises(Unusable, match="the card is locked"):
        await sign(person)
    assert (person.asked, card.tried) == ([], [])


async def test_the_last_try_is_announced(card: Card) -> None:
    card.state = USUAL._replace(warning="one more wrong PIN locks the card")
    person = Person("")
    with pytest.raises(Unusable, match="no PIN was given"):
        await sign(person)
    assert "Beware: one more wrong PIN locks the card." in person.asked[0].text
    assert card.tried == []


@pytest.mark.parametrize("state", [USUAL._replace(wants_pin=False), USUAL._replace(pin_pad=True)])
async def test_nobody_is_asked_where_the_card_wants_no_pin_or_has_a_pad_for_it(
    card: Card, state: CardState
) -> None:
    card.state, card.pin = state, None
    person = Person()
    assert await sign(person) == b"signature"
    assert person.asked == []


async def test_batch_mode_asks_nobody(card: Card) -> None:
    with pytest.raises(Unusable, match="BatchMode"):
        await sign(Person("1234"), replace(WORK, batch_mode=True))
    assert card.tried == []


async def test_without_the_extra_or_without_a_card_it_is_said(
    card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    card.keys = []
    with pytest.raises(Unusable, match="no card"):
        await pkcs11.offers(WORK, Person())
    monkeypatch.setattr(pkcs11, "installed", lambda: False)
    with pytest.raises(Unusable, match=r"tunnels\[pkcs11\], or the agent: ssh-add -s /card.so"):
        await pkcs11.offers(WORK, Person())


async def test_a_card_that_does_not_answer_is_given_up(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    done = threading.Event()

    def hang(_provider: str) -> list[CardKey]:
        done.wait(5)
        return []

    monkeypatch.setattr(pkcs11_token, "keys_of", hang)
    monkeypatch.setattr(pkcs11, "LIST_TIMEOUT", 0.02)
    with pytest.raises(Unusable, match="did not tell its keys within 0.02 s"):
        await pkcs11.offers(WORK, Person())
    done.set()
