"""What has come on a channel, and its reader does not take yet. Pure."""

from __future__ import annotations

from collections import deque

#: Bytes up to which pieces are put together: a packet is seldom longer.
_PIECE = 64 * 1024


class Kept:
    """Bytes in pieces, first in first out.

    A window says how many bytes there may be, and nobody says how small the pieces: as objects of their own,
    a window of single bytes would cost forty times as much. So what is small is put together.
    """

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: deque[bytearray] = deque()

    def __bool__(self) -> bool:
        return bool(self._pieces)

    def __len__(self) -> int:
        """Count the bytes."""
        return sum(map(len, self._pieces))

    def add(self, data: bytes | memoryview) -> None:
        """Keep a copy, behind what is there."""
        pieces = self._pieces
        if pieces and len(pieces[-1]) + len(data) <= _PIECE:
            pieces[-1] += data
        elif data:
            pieces.append(bytearray(data))

    def take(self) -> memoryview:
        """Give the first piece away. Raises IndexError where there is none."""
        return memoryview(self._pieces.popleft())

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
