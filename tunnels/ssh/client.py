"""What asyncssh calls back about one connection: its host key, and its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import asyncssh

from tunnels.ssh.host_key_guard import HostKeyGuard
from tunnels.ssh.host_keys import HostKeyChecker
from tunnels.ssh.login import Login
from tunnels.ssh.update_host_keys import HostKeyUpdate


class Client(asyncssh.SSHClient):
    """Nothing in here raises: that would end the connection."""

    def __init__(self, checker: HostKeyChecker, login: Login) -> None:
        self.guard = HostKeyGuard(checker)
        self._update = HostKeyUpdate(checker)
        self.login = login
        self.lost: list[Exception | None] = []
        self.on_lost: Callable[[Exception | None], None] | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Nothing has been sent yet; from here on our own check decides about every key of the server."""
        self.guard.install(conn)
        self._update.install(conn)

    async def password_auth_requested(self) -> str | None:
        """The server takes passwords; asked again after one that it did not take."""
        return await self.login.password()

    def kbdint_auth_requested(self) -> str:
        """The server takes keyboard-interactive; no submethod is preferred."""
        return ""

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str]:
        """The server asks something."""
        return await self.login.challenge(f"{name}\n{instructions}".strip(), prompts)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, for whatever reason."""
        self.lost.append(exc)
        if self.on_lost is not None:
            self.on_lost(exc)
