"""Public keys that no server has, as bytes on the wire."""

from __future__ import annotations

import base64


def string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def ed25519(number: int) -> bytes:
    return string(b"ssh-ed25519") + string(bytes([number]) * 32)


def rsa(number: int) -> bytes:
    return string(b"ssh-rsa") + string(b"\1\0\1") + string(bytes([0, 0x80 + number]) * 128)


def ecdsa(number: int) -> bytes:
    point = b"\4" + bytes([number]) * 64
    return string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(point)


def text(blob: bytes) -> str:
    length = int.from_bytes(blob[:4], "big")
    return f"{blob[4 : 4 + length].decode()} {base64.b64encode(blob).decode()}"
