"""Which keys are offered to a server, and in which order.

The configured ones come first, so that a server's MaxAuthTries (sshd_config(5), 6 by default) is not
used up by whatever else the agent holds.
"""

from __future__ import annotations

import asyncio
import base64
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination

#: Keys offered to one server at most: each costs a try of MaxAuthTries, and a stranger's agent may hold many.
MAX_KEYS = 20

#: Seconds for the agent to list its keys; a forwarded agent whose other end has gone never answers.
AGENT_TIMEOUT = 5.0

#: Bytes of a key file that are looked at; a key of 16,384 bits with its certificate has less.
_MAX_KEY_FILE = 64 * 1024


@dataclass(slots=True)
class Keys:
    """What can be offered, and what could not; `close` when the login is over, however it ended."""

    pairs: list[asyncssh.SSHKeyPair] = field(default_factory=list)
    offered: list[str] = field(default_factory=list)  #: for messages, in order
    skipped: list[str] = field(default_factory=list)  #: for messages: which file, and why not
    agent: asyncssh.SSHAgentClient | None = None

    def close(self) -> None:
        """Hang up on the agent."""
        if self.agent is not None:
            self.agent.close()
            self.agent = None

    def describe(self) -> str:
        """What was tried, in one clause."""
        tried = f"tried {', '.join(self.offered)}" if self.offered else "there was no key to try"
        return "; ".join((tried, *(f"skipped {reason}" for reason in self.skipped)))


async def gather(destination: Destination) -> Keys:
    """Collect the keys for one server: from files as they are configured, and from the agent.

    A file that is missing, unreadable, or open to others is skipped and named, as ssh does. The caller
    closes the result.
    """
    keys = Keys()
    if not destination.pubkey_authentication:
        return keys
    in_agent = await _agent_pairs(destination, keys)
    for path in destination.identity_files:
        _add_identity(Path(path), destination, in_agent, keys)
    if not destination.identities_only:
        for pair in list(in_agent.values()):
            _offer(keys, pair, f"agent {_name(pair)}")
    del keys.pairs[MAX_KEYS:], keys.offered[MAX_KEYS:]
    return keys


async def _agent_pairs(destination: Destination, keys: Keys) -> dict[bytes, asyncssh.SSHKeyPair]:
    """The agent's keys by their public part. No agent is as good as an empty one."""
    if destination.identity_agent is None:
        return {}
    try:
        async with asyncio.timeout(AGENT_TIMEOUT):
            keys.agent = await asyncssh.connect_agent(destination.identity_agent)
            return {pair.public_data: pair for pair in await keys.agent.get_keys()}
    except TimeoutError:
        keys.skipped.append(f"the agent (it did not answer within {AGENT_TIMEOUT:g} s)")
    except (OSError, ValueError, asyncssh.Error):
        pass
    keys.close()
    return {}


def _add_identity(
    path: Path, destination: Destination, in_agent: dict[bytes, asyncssh.SSHKeyPair], keys: Keys
) -> None:
    """Offer one key file; through the agent if it is there, because then no passphrase is needed."""
    public = _public_part(path)
    held = in_agent.pop(public, None) if public is not None else None
    if held is not None:
        _offer(keys, held, f"{path} (agent)")
        return
    if _is_public(path):
        keys.skipped.append(f"{path} (a public key, and the agent does not have its private half)")
        return
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as exc:
        if destination.identity_files_configured:
            keys.skipped.append(f"{path} ({exc.strerror})")
        return
    if mode & 0o077 and path.stat().st_uid == os.getuid():
        keys.skipped.append(f"{path} (others may read it: chmod 600 {path})")
        return
    certificates = [name for name in destination.certificate_files if Path(name).is_file()]
    try:
        pairs = asyncssh.load_keypairs([str(path)], certlist=certificates)
    except asyncssh.KeyEncryptionError:
        keys.skipped.append(f"{path} (it needs a passphrase: ssh-add {path})")
    except asyncssh.KeyImportError as exc:
        reason = "it needs a passphrase: ssh-add" if "passphrase" in str(exc).lower() else str(exc)
        keys.skipped.append(f"{path} ({reason})")
    except (OSError, ValueError) as exc:
        keys.skipped.append(f"{path} ({exc})")
    else:
        for pair in pairs:
            _offer(keys, pair, str(path))


def _offer(keys: Keys, pair: asyncssh.SSHKeyPair, name: str) -> None:
    keys.pairs.append(pair)
    if name not in keys.offered:
        keys.offered.append(name)


def _is_public(path: Path) -> bool:
    try:
        asyncssh.read_public_key(str(path))  # which also takes the public half out of a private key
        return b"PRIVATE KEY" not in path.read_bytes()[:_MAX_KEY_FILE]
    except (OSError, ValueError, asyncssh.KeyImportError):
        return False


def _public_part(path: Path) -> bytes | None:
    """The public half of a key file: from the ``.pub`` beside it, or the file itself, whichever has it.

    ``path`` may also name a ``.pub`` alone, for a private half that only the agent has (ssh(1), ``-i``).
    """
    for candidate in (f"{path}.pub", str(path)):
        try:
            return asyncssh.read_public_key(candidate).public_data
        except (OSError, ValueError, asyncssh.KeyImportError):
            continue
    return _public_part_of_private(path)


def _public_part_of_private(path: Path) -> bytes | None:
    """The public half that an OpenSSH private key file has in the clear, also where it is encrypted.

    Source: openssh-portable, PROTOCOL.key: a magic, three strings, a number, the public key.
    """
    try:
        lines = path.read_bytes()[:_MAX_KEY_FILE].splitlines()
        body = base64.b64decode(b"".join(line for line in lines if not line.startswith(b"-----")))
        rest = body.removeprefix(b"openssh-key-v1\0")
        if rest == body:
            return None
        for _ in range(3):  # cipher, key derivation function and its options
            rest = rest[4 + int.from_bytes(rest[:4], "big") :]
        rest = rest[4:]  # how many keys; ssh knows only 1
        public = rest[4 : 4 + int.from_bytes(rest[:4], "big")]
    except (OSError, ValueError):
        return None
    return public or None


def _name(pair: asyncssh.SSHKeyPair) -> str:
    comment = pair.get_comment()
    return comment or pair.get_algorithm()


def check_explicit(files: tuple[str, ...]) -> None:
    """A key that the profile names must be there. Raises BadSetting."""
    for name in files:
        path = Path(name).expanduser()
        if not path.is_file():
            raise BadSetting(
                f"identity_file {name} does not exist", hint="`ssh-keygen -t ed25519` makes a key"
            )
