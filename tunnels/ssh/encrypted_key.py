"""A key file with a passphrase: opened when a server would take the key, and not before."""

from __future__ import annotations

import secrets
from pathlib import Path

import asyncssh

from tunnels.core.question import Dialogue, Question
from tunnels.ssh.in_thread import in_thread
from tunnels.ssh.offer import Unusable

#: How often a person is asked for the same passphrase (ssh_config(5), NumberOfPasswordPrompts).
TRIES = 3

#: What asyncssh says about an encryption that no passphrase opens.
_NEVER = ("Unknown", "OpenSSH private key encryption")


class EncryptedKey:
    """A private key that only its passphrase opens."""

    def __init__(self, path: Path, data: bytes, dialogue: Dialogue, *, where: str, batch_mode: bool) -> None:
        self._path = path
        self._data = data
        self._dialogue = dialogue
        self._where = where
        self._batch_mode = batch_mode
        self._subject = f"passphrase {path}"

    async def open(self) -> asyncssh.SSHKey:
        """Decrypt it with what is remembered, or ask. Raises Unusable."""
        known = self._dialogue.recall(self._subject)
        if known is not None:
            key = await self._decrypted(known)
            if key is not None:
                return key
            self._dialogue.forget(self._subject)  # the file is another one by now
        if self._batch_mode:
            raise Unusable("it needs a passphrase, and BatchMode has nobody asked")
        for tried in range(TRIES):
            answer = await self._dialogue.ask(self._question(again=tried > 0))
            if not answer.text:
                raise Unusable("no passphrase was given")
            key = await self._decrypted(answer.text)
            if key is not None:
                self._dialogue.remember(self._subject, answer.text)
                return key
        raise Unusable(f"{TRIES} times not its passphrase")

    async def _decrypted(self, passphrase: str) -> asyncssh.SSHKey | None:
        """The key, or None where that is not its passphrase. bcrypt takes up to a second."""
        try:
            return await in_thread(
                lambda: asyncssh.import_private_key(self._data, passphrase), name="decrypt a key"
            )
        except (asyncssh.KeyEncryptionError, asyncssh.KeyImportError) as exc:
            if str(exc).startswith(_NEVER):
                raise Unusable(f"it cannot be decrypted: {exc}") from None
            return None
        except ValueError:
            return None

    def _question(self, *, again: bool) -> Question:
        what = "that was not the passphrase of {}" if again else "the passphrase of {} is needed"
        return Question(
            id=secrets.token_hex(8),
            kind="passphrase",
            text=f"{what.format(self._path)}\nIt is the key to log in with to {self._where}; no answer leaves it out.",
            prompt=f"Passphrase of {self._path}:",
            secret=True,
            subject=self._subject,
            lasting=True,
        )
