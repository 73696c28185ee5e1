"""AES-GCM packets, sealed and opened in buffers of ours: no copy, and one cipher object for each key.

The format is that of OpenSSH's PROTOCOL, section 1.6, after RFC 5647: the length, which is authenticated
and not encrypted; then encrypted one byte that counts the padding, the payload and the padding, together a
multiple of 16 bytes; then the tag. The nonce counts packets.

asyncssh has the keys, makes new ones at each key exchange, and keeps the count. A `Sealer` and an `Opener`
borrow one key: they `take` the count, handle packets, and `give_back` the count, before anything else can
use the key. A nonce that is used twice would give the key away.
"""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: Bytes of a tag.
TAG = 16

#: What a packet is longer than its payload, at most: length, padding length, 19 bytes of padding, tag.
OVERHEAD = 4 + 1 + 19 + TAG

_BLOCK = 16
_COUNT = 0xFFFFFFFFFFFFFFFF


class BadTag(Exception):
    """A packet is not what the other side has sent."""


def padding(size: int) -> int:
    """Count the bytes of padding of a payload: 4 to 19 (RFC 4253 section 6)."""
    needed = -(1 + size) % _BLOCK
    return needed if needed >= 4 else needed + _BLOCK


def can_borrow(encryption: Any) -> bool:
    """Whether this is asyncssh's AES-GCM, with the names that are known."""
    cipher = getattr(encryption, "_cipher", None)
    key, nonce = getattr(cipher, "_key", None), getattr(cipher, "_iv", None)
    return (
        type(encryption).__name__ == "GCMEncryption"
        and type(key) is bytes
        and len(key) in (16, 32)
        and type(nonce) is bytes
        and len(nonce) == 12
        and hasattr(AESGCM, "encrypt_into")
        and hasattr(AESGCM, "decrypt_into")
    )


class _Borrowed:
    """The key of one direction until the next key exchange."""

    __slots__ = ("_aes", "_cipher", "_count", "_fixed")

    def __init__(self, encryption: Any) -> None:
        self._cipher: Any = encryption._cipher  # noqa: SLF001
        self._aes = AESGCM(self._cipher._key)  # noqa: SLF001
        self._fixed: bytes = self._cipher._iv[:4]  # noqa: SLF001
        self._count = 0

    def take(self) -> None:
        """Begin to handle packets, where asyncssh has stopped counting."""
        self._count = int.from_bytes(self._cipher._iv[4:], "big")  # noqa: SLF001

    def give_back(self) -> None:
        """Let asyncssh go on counting from here."""
        self._cipher._iv = self._fixed + self._count.to_bytes(8, "big")  # noqa: SLF001


class Sealer(_Borrowed):
    """Seals packets."""

    __slots__ = ()

    def seal(self, plain: memoryview, out: memoryview, at: int) -> int:
        """Seal ``plain`` (padding length, payload and padding) into ``out`` from ``at`` on; return where it ends."""
        size = len(plain)
        length = size.to_bytes(4, "big")
        begin = at + 4
        end = begin + size + TAG
        out[at:begin] = length
        count = self._count
        self._aes.encrypt_into(self._fixed + count.to_bytes(8, "big"), plain, length, out[begin:end])
        self._count = (count + 1) & _COUNT
        return end


class Opener(_Borrowed):
    """Opens packets."""

    __slots__ = ()

    def open(self, length: memoryview, sealed: memoryview, plain: memoryview) -> None:
        """Open what follows the ``length`` of a packet, with its tag, into ``plain``.

        Raises:
            BadTag: and nothing is counted, so that asyncssh can find the same.

        """
        count = self._count
        try:
            self._aes.decrypt_into(self._fixed + count.to_bytes(8, "big"), sealed, length, plain)
        except InvalidTag:
            raise BadTag from None
        self._count = (count + 1) & _COUNT

    def untake(self) -> None:
        """The packet that was opened last is asyncssh's, which opens it once more."""
        self._count = (self._count - 1) & _COUNT
