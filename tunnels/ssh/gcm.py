"""AES-GCM packets, sealed and opened in buffers of ours: no copy, and one cipher object for each key.

The format is that of OpenSSH's PROTOCOL, section 1.6, after RFC 5647: the length, which is authenticated
and not encrypted; then encrypted one byte that counts the padding, the payload and the padding, together a
multiple of 16 bytes; then the tag. The nonce counts packets.

asyncssh has the keys, makes new ones at each key exchange, and keeps the count. A `Sealer` and an `Opener`
borrow one key, and keep no count of their own: the nonce for the next packet is always the one in asyncssh's
cipher object, whoever handles that packet. A nonce that is used twice would give the key away.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

#: Bytes of a tag.
TAG = 16

#: What a packet is longer than its payload, at most: length, padding length, 19 bytes of padding, tag.
OVERHEAD = 4 + 1 + 19 + TAG

_BLOCK = 16
_COUNT = 0xFFFFFFFFFFFFFFFF


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
    """The key of one direction until the next key exchange. The nonce in asyncssh's cipher is the next one."""

    __slots__ = ("_cipher", "_count", "_fixed", "_nonce")

    def __init__(self, encryption: Any) -> None:
        self._cipher: Any = encryption._cipher  # noqa: SLF001
        self._nonce = b""  # what `count` has put into the cipher
        self._fixed = b""
        self._count = 0

    def count(self) -> None:
        """A packet has been handled with the nonce in the cipher: put the next one there."""
        cipher = self._cipher
        nonce = cipher._iv  # noqa: SLF001
        if nonce is not self._nonce:  # asyncssh has counted meanwhile
            self._fixed, self._count = nonce[:4], int.from_bytes(nonce[4:], "big")
        self._count = count = (self._count + 1) & _COUNT
        self._nonce = cipher._iv = self._fixed + count.to_bytes(8, "big")  # noqa: SLF001


class Sealer(_Borrowed):
    """Seals packets."""

    __slots__ = ("_encrypt", "_encrypt_into")

    def __init__(self, encryption: Any) -> None:
        super().__init__(encryption)
        gcm = AESGCM(self._cipher._key)  # noqa: SLF001
        self._encrypt, self._encrypt_into = gcm.encrypt, gcm.encrypt_into

    def small(self, plain: bytes) -> bytes:
        """Seal a packet that is not worth a buffer; return it as it goes out."""
        length = len(plain).to_bytes(4, "big")
        sealed: bytes = length + self._encrypt(self._cipher._iv, plain, length)  # noqa: SLF001
        self.count()
        return sealed

    def seal(self, plain: memoryview, size: int, out: memoryview, at: int) -> int:
        """Seal ``plain[:size]``: padding length, payload and padding. It goes to ``out[at:]``; return where it ends."""
        begin = at + 4
        end = begin + size + TAG
        length = size.to_bytes(4, "big")
        out[at:begin] = length
        self._encrypt_into(self._cipher._iv, plain[:size], length, out[begin:end])  # noqa: SLF001
        self.count()
        return end


class Opener(_Borrowed):
    """Opens packets."""

    __slots__ = ("_decrypt", "_decrypt_into")

    def __init__(self, encryption: Any) -> None:
        super().__init__(encryption)
        gcm = AESGCM(self._cipher._key)  # noqa: SLF001
        self._decrypt, self._decrypt_into = gcm.decrypt, gcm.decrypt_into

    def small(self, data: memoryview, at: int, end: int) -> bytes:
        """Open a packet that is not worth a buffer; see `open`."""
        begin = at + 4
        return self._decrypt(self._cipher._iv, data[begin:end], data[at:begin])  # noqa: SLF001

    def open(self, data: memoryview, at: int, end: int, plain: memoryview) -> None:
        """Open the packet in ``data[at:end]`` into ``plain``. It counts only when `count` is called.

        So whoever finds that the packet is for asyncssh leaves it to asyncssh, which opens it once more.

        Raises:
            InvalidTag: it is not what the other side has sent.

        """
        begin = at + 4
        nonce = self._cipher._iv  # noqa: SLF001
        self._decrypt_into(nonce, data[begin:end], data[at:begin], plain[: end - begin - TAG])
