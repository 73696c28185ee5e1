"""Known hosts: which keys a server may show. Pure: text and bytes in, verdicts and lines out.

The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; lines that OpenSSH skips are skipped here. So
are the rules, with one exception on the safe side: a revoked key is refused under either name of a server
with another port than 22, ``[host]:port`` and ``host``.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

DEFAULT_PORT = 22

_HASHED = "|1|"  # HMAC-SHA1, the only kind there is
_SALT_BYTES = 20  # as long as the hash

#: The signature algorithms a key may use (RFC 8332 section 3 for the RSA ones), the best first. ``ssh-rsa``,
#: which signs with SHA-1, is used only where HostKeyAlgorithms names it.
_SIGNATURES = {
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

#: What a server may sign with when neither the user nor a known key says so; OpenSSH's order.
DEFAULT_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)

_CERTIFICATE = "-cert-v01@openssh.com"
_CERTIFICATE_ALGORITHMS = tuple(name + _CERTIFICATE for name in DEFAULT_ALGORITHMS)

#: Everything that may be asked for: what asyncssh 2.22 and later can check, without DSA and X.509.
_SUPPORTED = frozenset(
    algorithm
    for signatures in _SIGNATURES.values()
    for name in signatures
    for algorithm in (name, name.removesuffix("@openssh.com") + _CERTIFICATE)
)


class Marker(enum.Enum):
    """What a line says about its key."""

    HOST = ""  #: it is the key of the host
    CA = "@cert-authority"  #: it signs the certificates of the host
    REVOKED = "@revoked"  #: it must never be accepted


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a known hosts file that has a key."""

    file: str
    line: int  #: counted from 1
    marker: Marker
    hosts: str  #: patterns with commas between them, or one hashed name
    key_type: str  #: ``ssh-ed25519``
    blob: bytes  #: the public key as it is on the wire (RFC 4253 section 6.6)

    @property
    def where(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        return fingerprint(self.blob)


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


@dataclass(frozen=True, slots=True)
class NewHostKey:
    """The key of a host that is not on file: what to show to a person, and what to write after a yes."""

    host: str  #: as the user knows it
    name: str  #: as known_hosts calls it
    blob: bytes
    file: str | None  #: where it belongs; ``None``: there is no file, and a yes lasts as long as the process
    hashed: bool = False  #: whether the name is written as a hash (HashKnownHosts)

    @property
    def key_type(self) -> str:
        """``ssh-ed25519``."""
        return key_type_of(self.blob)

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        return fingerprint(self.blob)


# --- names and keys -------------------------------------------------------------------------------


def host_names(host: str, port: int, alias: str | None = None) -> tuple[str, ...]:
    """Name a server as known_hosts does: first the name that counts, then the one that may stand for it.

    ``host`` on port 22 and ``[host]:port`` on any other, where ``host`` alone is believed too if it has the
    very same key. HostKeyAlias stands for all of it, without a port (ssh_config(5)).
    """
    if alias is not None:
        return (alias.lower(),)
    host = host.lower()
    return (host,) if port == DEFAULT_PORT else (f"[{host}]:{port}", host)


def fingerprint(blob: bytes) -> str:
    """Compute the SHA-256 fingerprint of a public key, as ``ssh-keygen -l`` prints it."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


def key_type_of(blob: bytes) -> str:
    """Read the type of a public key; empty if the blob makes no sense."""
    strings = _strings(blob)
    return strings[0].decode("ascii", errors="replace") if strings else ""


def short_type(key_type: str) -> str:
    """Name a key type as people and ``ssh-keygen -l`` do: ``ED25519``."""
    name = key_type.removesuffix("@openssh.com").removeprefix("sk-").removeprefix("ssh-").partition("-")[0]
    return {"dss": "DSA"}.get(name, name.upper())


def _strings(blob: bytes) -> list[bytes]:
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


# --- reading --------------------------------------------------------------------------------------


def parse(text: str, file: str = "", *, names: Collection[str] | None = None) -> Iterator[Entry]:
    """Read a known hosts file; what is no valid line is skipped, as OpenSSH does.

    Args:
        text: the content of the file.
        file: its name, for `Entry.file`.
        names: from `host_names`; only the lines about one of them. Decoding every key of a long file
            takes longer than looking for a name.

    """
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: that ends lines at U+2028 too
        fields = line.strip(" \t\r").replace("\t", " ").split(" ")
        fields = [field for field in fields if field]
        marker = Marker.HOST
        if fields and fields[0].startswith("@"):
            try:
                marker = Marker(fields.pop(0))
            except ValueError:
                continue
        if len(fields) < 3 or fields[0].startswith(("#", "@")):
            continue
        hosts, key_type, encoded = fields[:3]
        if names is not None and not any(matches(hosts, name) for name in names):
            continue
        blob = _decoded_key(key_type, encoded)
        if blob is not None:
            yield Entry(file, number, marker, hosts, key_type_of(blob), blob)


def parse_keys(text: str) -> Iterator[bytes]:
    """Read a list of public keys, one on a line (RevokedHostKeys); junk is skipped."""
    for line in text.split("\n"):
        fields = line.split()
        if len(fields) >= 2 and not fields[0].startswith("#"):
            blob = _decoded_key(fields[0], fields[1])
            if blob is not None:
                yield blob


def _decoded_key(key_type: str, encoded: str) -> bytes | None:
    """Decode a key, unless it is cut short, of a type nobody speaks, or not of the type it is said to be."""
    try:
        blob = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    strings = _strings(blob)
    if len(strings) < 2:
        return None
    real = strings[0].decode("ascii", errors="replace")
    if real not in _SIGNATURES or (key_type != real and key_type not in _SIGNATURES[real]):
        return None
    if real == "ssh-ed25519" and len(strings[1]) != 32:
        return None
    return blob


def matches(hosts: str, name: str) -> bool:
    """Tell whether the host field of a line speaks of this name (lower case)."""
    if hosts.startswith("|"):
        return _matches_hash(hosts, name)
    found = False
    for pattern in hosts.lower().split(","):
        if pattern.startswith("!"):
            if _matches_pattern(pattern[1:], name):
                return False
        elif not found:
            found = _matches_pattern(pattern, name)
    return found


def _matches_hash(hashed: str, name: str) -> bool:
    try:
        _, _, salt_text, _ = hashed.split("|")
        salt = base64.b64decode(salt_text, validate=True)
    except (ValueError, binascii.Error):
        return False
    return len(salt) == _SALT_BYTES and hashed == hashed_name(name, salt)


def _matches_pattern(pattern: str, name: str) -> bool:
    """Match ``*`` and ``?``, the only wildcards; brackets mean themselves.

    Not a regular expression: those take for ever on ``*a*a*a*a*a*b``. Here, only the last star is ever
    tried again.
    """
    if "*" not in pattern and "?" not in pattern:
        return pattern == name
    at = place = 0
    star = mark = -1
    while place < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, place
            at += 1
        elif at < len(pattern) and pattern[at] in {"?", name[place]}:
            at += 1
            place += 1
        elif star >= 0:
            mark += 1
            at, place = star + 1, mark
        else:
            return False
    return all(rest == "*" for rest in pattern[at:])


# --- deciding -------------------------------------------------------------------------------------


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
    entries: Sequence[Entry],
    names: Sequence[str],
    configured: Sequence[str] = (),
    *,
    certificates: bool = True,
) -> list[str]:
    """Say what a server may sign with, best first.

    The types on file come first: else a server with several keys shows one that is not on file, and looks
    changed. The others follow: else a server that has lost the known type hangs up, and looks unreachable.
    Certificates are asked for only where an authority is on file.

    Args:
        entries: the lines of all files.
        names: from `host_names`.
        configured: HostKeyAlgorithms, if the user has set it; what is not in it is not asked for.
        certificates: ``False`` leaves certificates out.

    Returns:
        The algorithms; none if HostKeyAlgorithms leaves nothing that is supported.

    """
    base = [name for name in configured or DEFAULT_ALGORITHMS if name in _SUPPORTED]
    plain = [name for name in base if not name.endswith(_CERTIFICATE)]
    known = {
        signature
        for entry in _about(names, entries, Marker.HOST)
        for signature in _SIGNATURES[entry.key_type]
    }
    plain.sort(key=lambda name: name not in known)
    if not certificates or not certificate_authorities(entries, names):
        return plain
    if configured:
        return [name for name in base if name.endswith(_CERTIFICATE)] + plain
    return [*_CERTIFICATE_ALGORITHMS, *plain]


# --- writing --------------------------------------------------------------------------------------


def hashed_name(name: str, salt: bytes) -> str:
    """Hide a name behind a hash (ssh_config(5), HashKnownHosts). The salt has 20 random bytes."""
    digest = hmac.digest(salt, name.encode(errors="surrogateescape"), "sha1")
    return f"{_HASHED}{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def new_line(name: str, blob: bytes, *, salt: bytes | None = None) -> str:
    """Write the line for a new key, as ssh does; with a salt, under a hashed name. It ends with a newline.

    Args:
        name: the first of `host_names`.
        blob: the public key.
        salt: 20 random bytes.

    """
    hosts = name if salt is None else hashed_name(name, salt)
    return f"{hosts} {key_type_of(blob)} {base64.b64encode(blob).decode()}\n"
