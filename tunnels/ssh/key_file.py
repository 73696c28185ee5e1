"""A file that IdentityFile or ``identity_file`` names: what of its key can be seen without a passphrase."""

from __future__ import annotations

import base64
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import asyncssh
from asyncssh.public_key import decode_ssh_public_key

#: Bytes of a key file that are looked at; a key of 16,384 bits with its certificate has less.
_MAX_KEY_FILE = 64 * 1024


class Skipped(Exception):
    """The file cannot be used; the text says why. Empty for one that nobody has asked for and that is not there."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a file has of a key."""

    path: Path
    public: asyncssh.SSHKey | None  #: None: only decrypting it would tell
    private: asyncssh.SSHKey | None  #: None: it is encrypted
    data: bytes  #: as it stands in the file


def public_half(path: Path) -> asyncssh.SSHKey | None:
    """The public half of a key, from the file itself, or from the ``.pub`` beside it, as ssh finds it.

    ``path`` may also name a ``.pub`` alone, for a private half that only the agent has (ssh(1), ``-i``).
    """
    clear = _clear_part(_read(path))
    if clear is not None:
        return clear
    for candidate in (path, Path(f"{path}.pub")):
        try:
            return asyncssh.import_public_key(_read(candidate))
        except ValueError:
            continue
    return None


def read(path: Path, public: asyncssh.SSHKey | None) -> KeyFile:
    """Read the private half, as far as it can be without a passphrase. Raises Skipped."""
    try:
        found = path.stat()
        data = _read(path, strict=True)
    except OSError as exc:
        raise Skipped(exc.strerror or str(exc)) from exc
    if b"PRIVATE KEY" not in data and public is not None:
        raise Skipped("a public key, and the agent does not have its private half")
    if stat.S_IMODE(found.st_mode) & 0o077 and found.st_uid == os.getuid():
        raise Skipped(f"others may read it: chmod 600 {path}")
    try:
        private = asyncssh.import_private_key(data)
    except asyncssh.KeyImportError as exc:
        if not str(exc).startswith("Passphrase"):
            raise Skipped(str(exc)) from exc
        return KeyFile(path, public, None, data)
    except ValueError as exc:
        raise Skipped(str(exc)) from exc
    return KeyFile(path, private.convert_to_public(), private, data)


def _read(path: Path, *, strict: bool = False) -> bytes:
    try:
        if not path.is_file() and not path.is_dir():  # never wait for a pipe
            path.stat()
            return b""
        with path.open("rb") as file:
            return file.read(_MAX_KEY_FILE)
    except OSError:
        if strict:
            raise
        return b""


def _clear_part(data: bytes) -> asyncssh.SSHKey | None:
    """The public half that an OpenSSH private key file has in the clear, also where it is encrypted.

    Source: openssh-portable, PROTOCOL.key: a magic, three strings, a number, the public key.
    """
    try:
        body = base64.b64decode(b"".join(line for line in data.splitlines() if not line.startswith(b"-----")))
        rest = body.removeprefix(b"openssh-key-v1\0")
        if rest == body:
            return None
        for _ in range(3):  # cipher, key derivation function and its options
            rest = rest[4 + int.from_bytes(rest[:4], "big") :]
        rest = rest[4:]  # how many keys; ssh knows only 1
        return decode_ssh_public_key(rest[4 : 4 + int.from_bytes(rest[:4], "big")])
    except ValueError:
        return None
