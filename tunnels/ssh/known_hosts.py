"""Known hosts files: what their lines say, and new lines for them. Pure: text and bytes in and out.

The format is that of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; lines that OpenSSH skips are skipped here.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hmac
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tunnels.ssh import public_key
from tunnels.ssh.public_key import decoded_key, fingerprint, key_type_of

DEFAULT_PORT = 22

_HASHED = "|1|"  # HMAC-SHA1, the only kind there is
_SALT_BYTES = 20  # as long as the hash


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
    def shown(self) -> str:
        """The key as in a message: its type and its fingerprint."""
        return public_key.shown(self.blob)

    @property
    def complex(self) -> bool:
        """Whether it speaks of more than ssh itself would write: patterns, or more than two names.

        Such a line is somebody's own, and is not touched (``hostspec_is_complex`` in OpenSSH's clientloop.c).
        """
        return any(sign in self.hosts for sign in "*?!") or self.hosts.count(",") > 1

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it."""
        return fingerprint(self.blob)


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


# --- names ------------------------------------------------------------------------------------


def host_names(host: str, port: int, alias: str | None = None) -> tuple[str, ...]:
    """Name a server as known_hosts does: first the name that counts, then the one that may stand for it.

    ``host`` on port 22 and ``[host]:port`` on any other, where ``host`` alone is believed too if it has the
    very same key. HostKeyAlias stands for all of it, without a port (ssh_config(5)).
    """
    if alias is not None:
        return (alias.lower(),)
    host = host.lower()
    return (host,) if port == DEFAULT_PORT else (f"[{host}]:{port}", host)


# --- reading --------------------------------------------------------------------------------------


def parse(
    text: str, file: str = "", *, names: Collection[str] | None = None, key: bytes | None = None
) -> Iterator[Entry]:
    """Read a known hosts file; what is no valid line is skipped, as OpenSSH does.

    Args:
        text: the content of the file.
        file: its name, for `Entry.file`.
        names: from `host_names`; only the lines about one of them. Decoding every key of a long file
            takes longer than looking for a name.
        key: only the lines that have this public key.

    """
    encoded_key = "" if key is None else base64.b64encode(key).decode()
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: that ends lines at U+2028 too
        if encoded_key not in line or (names is not None and not _may_match(line, names)):
            continue
        fields = [field for field in line.strip(" \t\r").replace("\t", " ").split(" ") if field]
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
        blob = decoded_key(key_type, encoded)
        if blob is not None and key in {None, blob}:
            yield Entry(file, number, marker, hosts, key_type_of(blob), blob)


def _may_match(line: str, names: Collection[str]) -> bool:
    """Whether a line is worth taking apart: nearly none of a long file is, and this is several times as fast."""
    if line.startswith(_HASHED) and line[31:32] == "|" and line[60:61] == " ":  # as ssh writes them
        try:
            salt, digest = binascii.a2b_base64(line[3:31]), binascii.a2b_base64(line[32:60])
        except (ValueError, binascii.Error):
            return True
        return any(
            hmac.digest(salt, name.encode(errors="surrogateescape"), "sha1") == digest for name in names
        )
    if "|" in line or "*" in line or "?" in line:
        return True
    line = line.lower()
    return any(name in line for name in names)


def parse_keys(text: str) -> Iterator[bytes]:
    """Read a list of public keys, one on a line (RevokedHostKeys); junk is skipped."""
    for line in text.split("\n"):
        fields = line.split()
        if len(fields) >= 2 and not fields[0].startswith("#"):
            blob = decoded_key(fields[0], fields[1])
            if blob is not None:
                yield blob


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
    return f"{hosts} {public_key.text(blob)}\n"
