"""A smart card of software (SoftHSM), as it really behaves."""

from __future__ import annotations

import asyncssh
import pytest

from tests.e2e.bed.agents import SmartCard, softhsm
from tunnels.ssh import pkcs11_token
from tunnels.ssh.offer import Unusable
from tunnels.ssh.pkcs11_token import CardKey, WrongPin, keys_of, sign, state_of

with_card = pytest.mark.skipif(softhsm() is None, reason="no smart card of software: softhsm2 and opensc")


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> SmartCard:
    return SmartCard(tmp_path_factory.mktemp("card") / "card", "rsa:2048")


@with_card
def test_its_keys_are_seen_without_a_pin_and_sign_with_it(
    card: SmartCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test: the library reads its configuration once in the life of a process."""
    monkeypatch.setenv(*next(iter(card.env.items())))
    (key,) = keys_of(card.library)
    assert (key.token, key.label) == ("badge", "mine")
    assert key.key.public_data == asyncssh.import_public_key(card.public).public_data
    state = state_of(card.library, key)
    assert (state.wants_pin, state.pin_pad, state.locked, state.warning) == (True, False, False, "")
    for algorithm in (b"rsa-sha2-256", b"rsa-sha2-512"):
        signature = sign(card.library, key, card.PIN, b"data", algorithm)
        assert key.key.verify(b"data", signature)
    with pytest.raises(WrongPin):
        sign(card.library, key, "000000", b"data", b"rsa-sha2-256")
    assert "wrong PIN" in state_of(card.library, key).warning
    assert sign(card.library, key, card.PIN, b"data", b"rsa-sha2-256"), "a wrong PIN leaves nobody logged in"
    with pytest.raises(Unusable, match="cannot sign with ssh-rsa"):
        sign(card.library, key, card.PIN, b"data", b"ssh-rsa")
    with pytest.raises(Unusable, match="not there any more"):
        sign(card.library, key._replace(token="another"), card.PIN, b"data", b"rsa-sha2-256")


def test_a_library_that_is_none_is_named() -> None:
    with pytest.raises(Unusable, match="it does not work"):
        keys_of("/nonexistent/card.so")


def test_a_reader_that_hangs_in_another_thread_is_waited_for_no_longer_than_makes_sense(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pkcs11_token, "_BUSY_TIMEOUT", 0.02)
    key = CardKey("badge", b"1", b"\1", "", asyncssh.generate_private_key("ssh-ed25519"))
    with pkcs11_token._lock, pytest.raises(Unusable, match="does not answer"):
        state_of("/nonexistent/card.so", key)
