"""Packets that are sealed and opened in buffers of ours are byte for byte those of asyncssh."""

from __future__ import annotations

from typing import Any

import pytest
from asyncssh.encryption import ChachaEncryption, GCMEncryption, get_encryption
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from tunnels.ssh import gcm
from tunnels.ssh.gcm import OVERHEAD, TAG, Opener, Sealer, can_borrow, padding

KEYS = st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32)
NONCES = st.binary(min_size=12, max_size=12) | st.just(b"\1\2\3\4" + b"\xff" * 8)  # whose count begins again
PAYLOADS = st.lists(st.binary(max_size=300) | st.integers(0, 70_000).map(bytes), min_size=1, max_size=6)
TURNS = st.lists(st.booleans(), min_size=6, max_size=6)


def encryption(key: bytes, nonce: bytes) -> Any:
    """asyncssh's cipher for one direction."""
    name = b"aes128-gcm@openssh.com" if len(key) == 16 else b"aes256-gcm@openssh.com"
    return get_encryption(name, key, nonce)


def packet(payload: bytes) -> bytes:
    """What is encrypted of a packet."""
    pad = padding(len(payload))
    return bytes([pad]) + payload + b"\xa5" * pad


def theirs(cipher: Any, plain: bytes) -> bytes:
    """A packet that asyncssh has sealed."""
    sealed, tag = cipher.encrypt_packet(0, len(plain).to_bytes(4, "big"), plain)
    return bytes(sealed + tag)


def ours(sealer: Sealer, plain: bytes) -> bytes:
    """A packet that we have sealed, somewhere in a buffer."""
    out = memoryview(bytearray(7 + len(plain) + OVERHEAD))
    end = sealer.seal(memoryview(plain), len(plain), out, 7)
    return bytes(out[7:end])


@given(KEYS, NONCES, PAYLOADS, TURNS)
def test_whoever_seals_the_next_packet_it_is_the_same(
    key: bytes, nonce: bytes, payloads: list[bytes], turns: list[bool]
) -> None:
    alone, shared = encryption(key, nonce), encryption(key, nonce)
    sealer = Sealer(shared)
    for payload, is_ours in zip(payloads, turns, strict=False):
        plain = packet(payload)
        assert (ours(sealer, plain) if is_ours else theirs(shared, plain)) == theirs(alone, plain)


@given(KEYS, NONCES, PAYLOADS, TURNS)
def test_whoever_opens_the_next_packet_it_is_the_same(
    key: bytes, nonce: bytes, payloads: list[bytes], turns: list[bool]
) -> None:
    sending, receiving = encryption(key, nonce), encryption(key, nonce)
    opener = Opener(receiving)
    opened = memoryview(bytearray(80_000))
    for payload, is_ours in zip(payloads, turns, strict=False):
        plain = packet(payload)
        sealed = b"beside" + theirs(sending, plain)
        opener.open(memoryview(sealed), 6, len(sealed), opened)  # which does not count yet
        assert opened[: len(plain)] == plain
        if is_ours:
            opener.count()
        else:
            asked = receiving.decrypt_packet(0, sealed[6:22], sealed[22:-TAG], 4, sealed[-TAG:])
            assert asked == plain


@given(KEYS, NONCES, st.integers(1, 300))
def test_no_nonce_is_used_twice(key: bytes, nonce: bytes, packets: int) -> None:
    cipher = encryption(key, nonce)
    sealer = Sealer(cipher)
    used = set()
    for number in range(packets):
        used.add(cipher._cipher._iv)
        if number % 3:
            ours(sealer, packet(b""))
        else:
            theirs(cipher, packet(b""))
    assert len(used) == packets


@pytest.mark.parametrize("broken", [0, 3, 4, 20, -TAG, -1])
def test_a_packet_in_which_one_bit_is_different_is_not_opened_and_not_counted(broken: int) -> None:
    sending, receiving = encryption(b"k" * 16, b"n" * 12), encryption(b"k" * 16, b"n" * 12)
    sealed = bytearray(theirs(sending, packet(b"hello")))
    sealed[broken] ^= 1
    with pytest.raises(InvalidTag):
        Opener(receiving).open(memoryview(sealed), 0, len(sealed), memoryview(bytearray(100)))
    assert receiving._cipher._iv == b"n" * 12


@given(st.integers(0, 300_000))
def test_padding_is_4_bytes_or_more_and_makes_whole_blocks(size: int) -> None:
    pad = padding(size)
    assert 4 <= pad < 20
    assert (1 + size + pad) % 16 == 0
    assert 4 + 1 + size + pad + TAG <= size + OVERHEAD


def test_a_buffer_without_room_is_an_error_and_spends_no_nonce() -> None:
    cipher = encryption(b"k" * 32, b"n" * 12)
    with pytest.raises(ValueError, match="buffer"):
        Sealer(cipher).seal(memoryview(bytes(32)), 32, memoryview(bytearray(20)), 0)
    assert cipher._cipher._iv == b"n" * 12


def test_only_a_cipher_that_is_known_is_borrowed_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_borrow(encryption(b"k" * 16, b"n" * 12))
    assert can_borrow(encryption(b"k" * 32, b"n" * 12))
    assert not can_borrow(None)
    assert not can_borrow(ChachaEncryption.new("chacha20-poly1305", b"k" * 64, b""))

    class Other(GCMEncryption):
        """Of the same shape, and nobody knows what it does."""

    assert not can_borrow(Other.new("aes128-gcm", b"k" * 16, b"n" * 12))
    for name, value in (("_key", bytearray(16)), ("_key", b"k" * 24), ("_iv", b"n" * 8), ("_iv", 12)):
        strange = encryption(b"k" * 16, b"n" * 12)
        setattr(strange._cipher, name, value)
        assert not can_borrow(strange)


def test_an_old_cryptography_that_seals_into_no_buffer_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        """Without ``encrypt_into``."""

    monkeypatch.setattr(gcm, "AESGCM", Old)
    assert not can_borrow(encryption(b"k" * 16, b"n" * 12))
