"""A key as it is offered: nothing is signed before a server wants it, and what goes wrong is noted."""

from __future__ import annotations

import asyncssh
import pytest

from tunnels.ssh.offer import Offer, Unusable, usable

KEY = asyncssh.generate_private_key("ssh-rsa", key_size=2048)


async def test_it_signs_with_the_algorithm_that_was_agreed_on() -> None:
    asked = []

    async def sign(data: bytes, algorithm: bytes) -> bytes:
        asked.append((data, algorithm))
        return b"signature"

    offer = Offer("id", KEY, sign)
    assert (offer.signed, str(offer)) == (False, "id")
    offer.set_sig_algorithm(b"rsa-sha2-512")
    assert await offer.sign_async(b"data") == b"signature"
    assert asked == [(b"data", b"rsa-sha2-512")]
    assert offer.signed


@pytest.mark.parametrize(
    ("error", "said"),
    [(Unusable("declined"), "id (declined)"), (ValueError("odd"), "id (it cannot sign: odd)")],
)
async def test_why_it_cannot_sign_is_kept_for_the_refusal(error: ValueError, said: str) -> None:
    async def sign(_data: bytes, _algorithm: bytes) -> bytes:
        raise error

    offer = Offer("id", KEY, sign)
    with pytest.raises(ValueError):  # with any other asyncssh would not go on with the next key
        await offer.sign_async(b"data")
    assert (str(offer), offer.signed) == (said, False)


def test_a_kind_of_key_that_asyncssh_does_not_know_is_not_usable() -> None:
    async def sign(_data: bytes, _algorithm: bytes) -> bytes:
        return b""

    offer = Offer("id", KEY, sign)
    assert usable(offer)
    offer.sig_algorithms = (b"ssh-quantum",)
    assert not usable(offer)
