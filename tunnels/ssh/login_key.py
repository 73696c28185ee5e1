"""The public half of a login's key, for ``tunnels harden``; and a key of its own for a profile."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

import asyncssh

from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination

#: Bytes of a .pub file that are looked at: an RSA key of 16384 bits has 2,800 of them.
_MOST = 16_384


class PublicKey(NamedTuple):
    """A public key, and the file that its private half is in."""

    line: str  #: as in authorized_keys: kind, key and comment
    identity: str  #: path of the private half


def public_key_of(destination: Destination) -> PublicKey | None:
    """Return the first key that a login there offers and whose public half lies beside it."""
    for identity in destination.identity_files:
        name = identity.removesuffix(".pub")
        line = _read(Path(f"{name}.pub"))
        if line is not None:
            return PublicKey(line, name)
    return None


def _read(path: Path) -> str | None:
    """Return the key in a file; None where there is none, or something else."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            line = file.read(_MOST).decode().strip()
        asyncssh.import_public_key(line)
    except (OSError, UnicodeDecodeError, asyncssh.KeyImportError):
        return None
    return line if "\n" not in line and line.isprintable() else None


def new_key(path: Path, comment: str) -> PublicKey:
    """Make an ed25519 key without a passphrase: the private half 0600, the public one beside it.

    Nothing is ever overwritten. Raises BadSetting.
    """
    public = Path(f"{path}.pub")
    for file in (path, public):
        if os.path.lexists(file):
            raise BadSetting(
                f"{file} exists already, and is not overwritten",
                hint=f'identity_file = "{path}" in the profile uses it; --key-file makes the new one elsewhere',
            )
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, key.export_private_key(), 0o600)
        try:
            _write(public, key.export_public_key(), 0o644)
        except OSError:
            path.unlink(missing_ok=True)  # half a key is in the way of the next attempt
            raise
    except OSError as exc:
        raise BadSetting(f"no key could be written to {path}: {exc.strerror or exc}") from exc
    return PublicKey(key.export_public_key().decode().strip(), str(path))


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise
