"""What a reader does not take yet is kept in order, and costs what it weighs."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.ssh.kept import Kept


@given(st.lists(st.binary(max_size=100) | st.integers(0, 70_000).map(bytes), max_size=30))
def test_everything_comes_back_once_and_in_order(pieces: list[bytes]) -> None:
    kept = Kept()
    for piece in pieces:
        kept.add(memoryview(piece))
    assert len(kept) == sum(map(len, pieces))
    taken = []
    while kept:
        taken.append(bytes(kept.take()))
    assert b"".join(taken) == b"".join(pieces)
    assert len(kept) == 0


def test_it_is_a_copy() -> None:
    """Where the bytes came from, the next packet will be."""
    kept, buffer = Kept(), bytearray(b"first")
    kept.add(memoryview(buffer))
    buffer[:] = b"other"
    assert bytes(kept.take()) == b"first"


def test_small_pieces_do_not_cost_more_than_large_ones() -> None:
    kept = Kept()
    for _ in range(100_000):
        kept.add(memoryview(b"x"))
    assert sum(map(sys.getsizeof, kept._pieces)) + sys.getsizeof(kept._pieces) < 1.3 * 100_000


def test_nothing_is_no_piece() -> None:
    kept = Kept()
    kept.add(memoryview(b""))
    assert not kept
    with pytest.raises(IndexError):
        kept.take()


def test_what_was_given_away_is_not_added_to() -> None:
    """Its reader may still hold it."""
    kept = Kept()
    kept.add(memoryview(b"first"))
    first = kept.take()
    kept.add(memoryview(b"second"))
    assert bytes(first) == b"first"
    assert bytes(kept.take()) == b"second"


def test_forgotten_is_forgotten() -> None:
    kept = Kept()
    kept.add(memoryview(b"first"))
    kept.clear()
    assert not kept
