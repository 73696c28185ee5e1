"""What asyncssh calls back about one connection: its host key, the login, and its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import asyncssh

from tunnels.errors import LoginRefused
from tunnels.ssh import login_replies
from tunnels.ssh.host_key_guard import HostKeyGuard
from tunnels.ssh.host_keys import HostKeyChecker
from tunnels.ssh.keys import Keys
from tunnels.ssh.login import Login
from tunnels.ssh.update_host_keys import HostKeyUpdate

_NO_KEYS = Keys()


class Client(asyncssh.SSHClient):
    """What raises in here ends the connection: nothing does, unless that is what it is for."""

    def __init__(
        self,
        checker: HostKeyChecker,
        login: Login,
        *,
        on_made: Callable[[asyncssh.SSHClientConnection], None] | None = None,
    ) -> None:
        self.guard = HostKeyGuard(checker)
        self._update = HostKeyUpdate(checker)
        self._login: Login | None = login  #: for as long as it goes on
        self.keys = _NO_KEYS
        self.lost: list[Exception | None] = []
        self.on_lost: Callable[[Exception | None], None] | None = None
        self._on_made = on_made

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Nothing has been sent yet; from here on our own check decides about every key of the server."""
        self.guard.install(conn)
        self._update.install(conn)
        if self._login is not None:
            login_replies.listen(conn, self._login.heard)
        if self._on_made is not None:  # who only watches
            self._on_made(conn)

    def entered(self) -> None:
        """The server has let us in: what the login needed can go."""
        self._login = None
        self.keys = _NO_KEYS
        self._on_made = None

    async def public_key_auth_requested(self) -> asyncssh.SSHKeyPair | None:
        """The server takes public keys; asked again after each that it did not take."""
        return await self.keys.next()

    def auth_banner_received(self, msg: str, lang: str) -> None:
        """The server says something before the login (RFC 4252 section 5.4)."""
        if self._login is not None:
            self._login.banner(msg)

    async def password_auth_requested(self) -> Any:
        """The server takes passwords; asked again after one that it did not take."""
        password = None if self._login is None else await self._login.password()
        return None if password is None else _as_sent(password)

    def password_change_requested(self, prompt: str, lang: str) -> tuple[str, str]:
        """The password was good, but is too old."""
        raise (
            LoginRefused("a new password was asked for") if self._login is None else self._login.must_change()
        )

    def kbdint_auth_requested(self) -> str | None:
        """The server takes keyboard-interactive; no submethod is preferred."""
        return "" if self._login is not None and self._login.challenged() else None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> Any:
        """The server asks something."""
        answers = None if self._login is None else await self._login.challenge(name, instructions, prompts)
        return None if answers is None else [_as_sent(answer) for answer in answers]

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, for whatever reason."""
        self.lost.append(exc)
        if self.on_lost is not None:
            self.on_lost(exc)


def _as_sent(secret: str) -> bytes:
    """A secret as it goes to the server: also one that is no text, which asyncssh would not take as such."""
    try:
        return secret.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return secret.encode("utf-8", "replace")
