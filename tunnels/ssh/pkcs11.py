"""PKCS11Provider of ssh_config(5): the keys of a smart card, without the agent. Takes the extra ``tunnels[pkcs11]``.

A card counts wrong PINs and locks itself after three or so. So what a person types is tried once, and a PIN that
was wrong is never again taken from memory, by no tunnel of this daemon.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import secrets
from functools import partial
from typing import TypeVar

from tunnels.core.question import Question
from tunnels.ssh import pkcs11_token
from tunnels.ssh.destination import Destination
from tunnels.ssh.in_thread import in_thread
from tunnels.ssh.offer import Attempt, Offer, Unusable
from tunnels.ssh.pkcs11_token import CardKey, CardState, WrongPin

T = TypeVar("T")

#: Seconds until a card has told what is on it.
LIST_TIMEOUT = 10.0

#: Seconds for a signature; some cards want to be touched, or have the PIN typed on the reader.
SIGN_TIMEOUT = 60.0

#: How often a person is asked for the PIN: cards lock at three.
TRIES = 2

_salt = os.urandom(16)
_wrong: set[bytes] = set()  # PINs that were wrong, so that nobody can read them


def installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("pkcs11") is not None


async def offers(destination: Destination, attempt: Attempt) -> list[Offer]:
    """The keys on every card that the configured library sees. Raises Unusable."""
    provider = destination.pkcs11_provider
    assert provider is not None
    if not installed():
        raise Unusable(f"it takes tunnels[pkcs11], or the agent: ssh-add -s {provider}")
    work = in_thread(partial(pkcs11_token.keys_of, provider), name="smart card")
    try:
        async with asyncio.timeout(LIST_TIMEOUT):
            found = await work
    except TimeoutError:
        raise Unusable(f"it did not tell its keys within {LIST_TIMEOUT:g} s") from None
    if not found:
        raise Unusable("there is no card, or no key on it")
    return [
        Offer(_name(key), key.key, _Card(provider, key, destination, attempt).sign, asks=True)
        for key in found
    ]


class _Card:
    """One key of a card."""

    def __init__(self, provider: str, key: CardKey, destination: Destination, attempt: Attempt) -> None:
        self._provider = provider
        self._key = key
        self._destination = destination
        self._attempt = attempt
        self._subject = f"PIN {key.token} {key.serial.decode('ascii', 'replace')}".strip()

    async def sign(self, data: bytes, algorithm: bytes) -> bytes:
        """See `tunnels.ssh.offer.Sign`."""
        state = await self._bounded(partial(pkcs11_token.state_of, self._provider, self._key))
        if not state.wants_pin or state.pin_pad:
            return await self._try(None, data, algorithm)
        known = self._attempt.recall(self._subject)
        if known is not None:
            if self._mark(known) not in _wrong:
                try:
                    return await self._try(known, data, algorithm)
                except WrongPin:
                    pass
            self._attempt.forget(self._subject)
        if self._destination.batch_mode:
            raise Unusable("it needs a PIN, and BatchMode has nobody asked")
        for tried in range(TRIES):
            state = await self._bounded(partial(pkcs11_token.state_of, self._provider, self._key))
            if state.locked:
                raise Unusable("the card is locked; its administrator can unlock it")
            answer = await self._attempt.ask(self._question(state, again=tried > 0))
            if not answer.text:
                raise Unusable("no PIN was given")
            try:
                signature = await self._try(answer.text, data, algorithm)
            except WrongPin:
                continue
            self._attempt.remember(self._subject, answer.text)
            return signature
        raise Unusable("that was not its PIN")

    async def _try(self, pin: str | None, data: bytes, algorithm: bytes) -> bytes:
        """Sign. Raises Unusable, WrongPin."""
        work = partial(pkcs11_token.sign, self._provider, self._key, pin, data, algorithm)
        try:
            return await self._bounded(work)
        except WrongPin:
            if pin is not None:
                _wrong.add(self._mark(pin))
            raise

    async def _bounded(self, work: partial[T]) -> T:
        try:
            with self._attempt.patience(SIGN_TIMEOUT):
                async with asyncio.timeout(SIGN_TIMEOUT):
                    return await in_thread(work, name="smart card")
        except TimeoutError:
            raise Unusable(f"the card did not answer within {SIGN_TIMEOUT:g} s") from None

    def _mark(self, pin: str) -> bytes:
        known = f"{self._subject}\0{pin}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(known, key=_salt).digest()

    def _question(self, state: CardState, *, again: bool) -> Question:
        wrong = "that was not the PIN of" if again else "the PIN is needed of"
        said = "" if not state.warning else f"\nBeware: {state.warning}."
        return Question(
            id=secrets.token_hex(8),
            kind="passphrase",
            text=f"{wrong} the smart card {self._key.token}\n"
            f"It has the key to log in with to {self._destination}; no answer leaves it out.{said}",
            prompt=f"PIN of {self._key.token}:",
            secret=True,
            subject=self._subject,
            lasting=True,
        )


def _name(key: CardKey) -> str:
    return f"smart card {key.token} {key.label or key.id.hex()}".strip()
