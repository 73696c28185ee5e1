"""Host certificates: what one says, and whether it is good. Pure: bytes and the time in, a reason out.

The format is that of PROTOCOL.certkeys of OpenSSH; the rules are those of ``sshkey_cert_check_host`` in its
sshkey.c. Whether the authority has really signed it is checked by whoever can (`tunnels.ssh.host_key_guard`).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

from tunnels.ssh.public_key import CERTIFICATE, string, strings, without_certificate

_HOST: Final = 2  # SSH_CERT_TYPE_HOST

#: How many fields of a certificate are the public key, by the type of the key.
_KEY_FIELDS: Final = {
    "ssh-ed25519": 1,
    "ssh-ed448": 1,
    "ecdsa-sha2-nistp256": 2,
    "ecdsa-sha2-nistp384": 2,
    "ecdsa-sha2-nistp521": 2,
    "ssh-rsa": 2,
    "sk-ssh-ed25519@openssh.com": 2,
    "sk-ecdsa-sha2-nistp256@openssh.com": 3,
}

#: Authorities sign with SHA-2 or better (ssh_config(5), CASignatureAlgorithms); these do not.
_WEAK_SIGNATURES: Final = frozenset({"ssh-rsa", "ssh-dss", ""})


class MalformedCertificate(ValueError):
    """It is called a certificate, and is none."""


@dataclass(frozen=True, slots=True)
class HostCertificate:
    """A certificate, taken apart."""

    key: bytes  #: the public key that it is about
    authority: bytes  #: the public key of who has signed it
    signed: bytes  #: what the signature is of
    signature: bytes
    kind: int
    principals: tuple[str, ...]
    valid_after: int  #: seconds since 1970
    valid_before: int
    critical_options: bytes

    def refusal(self, name: str, now: float) -> str | None:
        """Why it is not good for a host, in words; ``None`` if it is.

        Args:
            name: HostKeyAlias, else the host; in lower case.
            now: seconds since 1970.

        """
        if self.kind != _HOST:
            return "it is the certificate of a user, and not of a host"
        if now < self.valid_after:
            return f"it is valid from {_date(self.valid_after)}"
        if now >= self.valid_before:
            return f"it has expired at {_date(self.valid_before)}"
        if self.principals and name not in self.principals:
            return f"it is for {', '.join(self.principals)}, and not for {name}"
        if self.critical_options:
            return "it has conditions that are not known here"
        if self._signed_with in _WEAK_SIGNATURES:
            return "it is signed with SHA-1"
        return None

    @property
    def _signed_with(self) -> str:
        try:
            return _Reader(self.signature).string().decode("ascii", errors="replace")
        except MalformedCertificate:
            return ""


def is_certificate(blob: bytes) -> bool:
    """Whether what a server shows is called a certificate."""
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length].endswith(CERTIFICATE.encode())


def parse(blob: bytes) -> HostCertificate:
    """Take a certificate apart. Raises MalformedCertificate."""
    read = _Reader(blob)
    key_type = without_certificate(read.string().decode("ascii", errors="replace"))
    if key_type not in _KEY_FIELDS:
        raise MalformedCertificate("a certificate of an unknown type")
    read.string()  # a nonce
    key = string(key_type.encode()) + b"".join(string(read.string()) for _ in range(_KEY_FIELDS[key_type]))
    read.number(8)  # its serial number
    kind = read.number(4)
    read.string()  # its name
    principals = strings(names := read.string())
    if names and not principals:
        raise MalformedCertificate("names that are cut short")
    valid_after, valid_before = read.number(8), read.number(8)
    critical_options = read.string()
    read.string()  # extensions, of which hosts have none
    read.string()  # reserved
    authority = read.string()
    signed = blob[: read.at]
    signature = read.string()
    if read.at != len(blob):
        raise MalformedCertificate("something behind its end")
    return HostCertificate(
        key,
        authority,
        signed,
        signature,
        kind,
        tuple(each.decode(errors="replace") for each in principals),
        valid_after,
        valid_before,
        critical_options,
    )


class _Reader:
    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.at = 0

    def _take(self, count: int) -> bytes:
        found = self._blob[self.at : self.at + count]
        if len(found) < count:
            raise MalformedCertificate("cut short")
        self.at += count
        return found

    def number(self, count: int) -> int:
        return int.from_bytes(self._take(count), "big")

    def string(self) -> bytes:
        return self._take(self.number(4))


def _date(seconds: int) -> str:
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"the second {seconds}"
