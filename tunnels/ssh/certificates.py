"""User certificates (openssh-portable, PROTOCOL.certkeys): where they are found, and what is wrong with one.

Whether a certificate is good is for the server to say, whose clock counts. What can be seen from here is said
when it has refused one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import asyncssh

_USER = 1  # SSH_CERT_TYPE_USER
_FOR_EVER = 0xFFFFFFFF_FFFFFFFF

#: Bytes of a certificate file that are looked at.
_MAX_FILE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and where it is from."""

    name: str
    certificate: asyncssh.SSHCertificate

    @property
    def key(self) -> bytes:
        """The public half of the key that it certifies."""
        return self.certificate.key.public_data

    def doubts(self, user: str, now: float) -> str:
        """Why a server may refuse it, in a clause; empty where nothing can be seen from here."""
        certificate = self.certificate
        if getattr(certificate, "_cert_type", _USER) != _USER:
            return "it is a host certificate, which nobody can log in with"
        before = getattr(certificate, "_valid_before", _FOR_EVER)
        if before <= now:
            return f"it expired on {_day(before)}"
        after = getattr(certificate, "_valid_after", 0)
        if after > now:
            return f"it is not valid before {_day(after)}"
        principals = list(getattr(certificate, "principals", ()))
        if principals and user not in principals:
            return f"it names {', '.join(principals[:5])} and not {user}"
        return ""


def beside(path: Path) -> list[Certificate]:
    """The certificate that ssh finds for an identity file: the one with ``-cert.pub`` at the end of its name."""
    names = [f"{path}-cert.pub"]
    if path.suffix == ".pub":
        names.append(f"{str(path).removesuffix('.pub')}-cert.pub")
    return [certificate for name in names for certificate in read(Path(name))]


def read_all(files: Iterable[str]) -> list[Certificate]:
    """Read every certificate of these files, in their order; what cannot be read is left out, as by ssh."""
    return [certificate for file in files for certificate in read(Path(file))]


def read(path: Path) -> list[Certificate]:
    """Read the certificates of one file."""
    try:
        with path.open("rb") as file:
            found = asyncssh.load_certificates(file.read(_MAX_FILE))
    except (OSError, ValueError):  # asyncssh's own errors of keys are ValueErrors
        return []
    return [Certificate(str(path), each) for each in found if not each.is_x509]


def _day(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return f"second {seconds}"
