"""Public keys as bytes: what type one is, its fingerprint, and how it may sign. Pure.

A key is a blob as it is on the wire (RFC 4253 section 6.6), so that it can be named and compared without
being understood.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

#: The signature algorithms a key may use (RFC 8332 section 3 for the RSA ones), the best first. ``ssh-rsa``,
#: which signs with SHA-1, is used only where HostKeyAlgorithms names it.
SIGNATURES = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ssh-ed448": ("ssh-ed448",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "sk-ssh-ed25519@openssh.com": ("sk-ssh-ed25519@openssh.com",),
    "sk-ecdsa-sha2-nistp256@openssh.com": ("sk-ecdsa-sha2-nistp256@openssh.com",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"),
    "ssh-dss": (),  # known, so that it counts as another type; not spoken any more
}

CERTIFICATE = "-cert-v01@openssh.com"  #: how the name of a certificate's algorithm ends


def fingerprint(blob: bytes) -> str:
    """Compute the SHA-256 fingerprint of a public key, as ``ssh-keygen -l`` prints it."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


def key_type_of(blob: bytes) -> str:
    """Read the type of a public key or a certificate; empty if the blob makes no sense."""
    end = 4 + int.from_bytes(blob[:4], "big")
    return blob[4:end].decode("ascii", errors="replace") if end <= len(blob) else ""


def short_type(key_type: str) -> str:
    """Name a key type as people and ``ssh-keygen -l`` do: ``ED25519``, ``ED25519-SK``."""
    name = key_type.removesuffix("@openssh.com")
    kind = name.removeprefix("sk-").removeprefix("ssh-").partition("-")[0]
    return {"dss": "DSA"}.get(kind, kind.upper()) + ("-SK" if name.startswith("sk-") else "")


def shown(blob: bytes) -> str:
    """A key in a message: its type and its fingerprint. A server may call its type anything."""
    key_type = key_type_of(blob)
    return f"{short_type(key_type) if key_type in SIGNATURES else 'unknown'} {fingerprint(blob)}"


def text(blob: bytes) -> str:
    """A key as files have it: its type and its bytes in Base64."""
    return f"{key_type_of(blob)} {base64.b64encode(blob).decode()}"


def with_certificate(algorithm: str) -> str:
    """The algorithm that asks for a certificate where ``algorithm`` asks for a plain key."""
    return algorithm.removesuffix("@openssh.com") + CERTIFICATE


def without_certificate(algorithm: str) -> str:
    """The algorithm of the key in a certificate; a plain one stays what it is."""
    if not algorithm.endswith(CERTIFICATE):
        return algorithm
    name = algorithm.removesuffix(CERTIFICATE)
    return f"{name}@openssh.com" if name.startswith("sk-") else name


def string(value: bytes) -> bytes:
    """Write a string as on the wire (RFC 4251 section 5)."""
    return len(value).to_bytes(4, "big") + value


def strings(blob: bytes) -> list[bytes]:
    """Split a blob into the strings it is made of (RFC 4251 section 5); none if they do not fit."""
    found = []
    at = 0
    while at < len(blob):
        start = at + 4
        at = start + int.from_bytes(blob[at:start], "big")
        if start > len(blob) or at > len(blob):
            return []
        found.append(blob[start:at])
    return found


def decoded_key(key_type: str, encoded: str) -> bytes | None:
    """Decode a key, unless it is cut short, of a type nobody speaks, or not of the type it is said to be."""
    try:
        blob = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    found = strings(blob)
    # Python bears with too much padding and with bits left over; OpenSSH does not.
    if len(found) < 2 or base64.b64encode(blob).decode() != encoded:
        return None
    real = found[0].decode("ascii", errors="replace")
    if real not in SIGNATURES or (key_type != real and key_type not in SIGNATURES[real]):
        return None
    if real == "ssh-ed25519" and len(found[1]) != 32:
        return None
    return blob
