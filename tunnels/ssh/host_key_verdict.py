"""How a host key stands to what is on file, and which keys to ask a server for. Pure.

The rules are OpenSSH's (``check_host_key`` and ``order_hostkeyalgs`` in its sshconnect.c and sshconnect2.c),
with one exception on the safe side: a revoked key is refused under either name of a server with another port
than 22, ``[host]:port`` and ``host``.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tunnels.ssh.known_hosts import Entry, Marker, matches
from tunnels.ssh.public_key import CERTIFICATE, SIGNATURES, key_type_of, with_certificate, without_certificate

_PLAIN_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)

#: What a server may sign with when neither the user nor a known key says so; OpenSSH's order.
DEFAULT_ALGORITHMS = (*map(with_certificate, _PLAIN_ALGORITHMS), *_PLAIN_ALGORITHMS)

#: Everything that may be asked for: what asyncssh 2.22 and later can check, without DSA and X.509.
_SUPPORTED = frozenset(
    algorithm
    for signatures in SIGNATURES.values()
    for name in signatures
    for algorithm in (name, with_certificate(name))
)


class Standing(enum.Enum):
    """How a host key stands to what is on file."""

    KNOWN = "known"
    UNKNOWN = "unknown"  #: nothing is on file for the host
    CHANGED = "changed"  #: keys are on file for the host, and this is none of them
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a host key stands, and the lines that say so."""

    standing: Standing
    entries: tuple[Entry, ...] = ()
    #: For CHANGED: no line has a key of this type. For OpenSSH, and for us, that is a change as well: the
    #: types on file are asked for first, so a server that still had its old key would have shown that.
    changed_type: bool = False


def lookup(entries: Sequence[Entry], names: Sequence[str], blob: bytes) -> Verdict:
    """Decide how a host key stands.

    Args:
        entries: the lines of all files.
        names: from `host_names`.
        blob: the key that the server has shown.

    """
    if revoked := _with_key(blob, _about(names, entries, Marker.REVOKED)):
        return Verdict(Standing.REVOKED, revoked)
    own = _about(names[:1], entries, Marker.HOST)
    same = _with_key(blob, own or _about(names[1:], entries, Marker.HOST))
    if same:
        return Verdict(Standing.KNOWN, same)
    if not own:
        return Verdict(Standing.UNKNOWN)
    key_type = key_type_of(blob)
    old = sorted(own, key=lambda entry: entry.key_type != key_type)  # the one that was replaced comes first
    return Verdict(Standing.CHANGED, tuple(old), changed_type=old[0].key_type != key_type)


def lookup_ca(entries: Sequence[Entry], names: Sequence[str], blob: bytes) -> Verdict:
    """Decide whether a key may sign the certificates of a host: KNOWN, UNKNOWN or REVOKED."""
    if revoked := _with_key(blob, _about(names, entries, Marker.REVOKED)):
        return Verdict(Standing.REVOKED, revoked)
    found = _with_key(blob, certificate_authorities(entries, names))
    return Verdict(Standing.KNOWN if found else Standing.UNKNOWN, found)


def certificate_authorities(entries: Iterable[Entry], names: Sequence[str]) -> tuple[Entry, ...]:
    """Find the keys that may sign the certificates of a host."""
    return _about(names, entries, Marker.CA)


def _about(names: Sequence[str], entries: Iterable[Entry], marker: Marker) -> tuple[Entry, ...]:
    return tuple(
        entry
        for entry in entries
        if entry.marker is marker and any(matches(entry.hosts, name) for name in names)
    )


def _with_key(blob: bytes, entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if entry.blob == blob)


def host_key_algorithms(
    entries: Sequence[Entry], names: Sequence[str], configured: Sequence[str] = ()
) -> list[str]:
    """Say what a server may sign with, best first.

    Certificates come first where an authority is on file, and the types on file: else a server with several
    keys shows one that is not on file, and looks changed. The others follow: else a server that has lost the
    known type hangs up, and looks unreachable.

    Args:
        entries: the lines of all files.
        names: from `host_names`.
        configured: HostKeyAlgorithms, if the user has set it; what is not in it is not asked for.

    Returns:
        The algorithms; none if HostKeyAlgorithms leaves nothing that is supported.

    """
    known = {
        signature for entry in _about(names, entries, Marker.HOST) for signature in SIGNATURES[entry.key_type]
    }
    has_authority = bool(certificate_authorities(entries, names))

    def comes_late(algorithm: str) -> tuple[bool, bool]:
        certified = algorithm.endswith(CERTIFICATE)
        return not (certified and has_authority), without_certificate(algorithm) not in known

    return sorted((name for name in configured or DEFAULT_ALGORITHMS if name in _SUPPORTED), key=comes_late)
