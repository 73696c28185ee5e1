"""What asyncssh calls back about one connection: its host key, and its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import asyncssh

from tunnels.errors import TunnelsError
from tunnels.ssh.host_keys import HostKeyChecker
from tunnels.ssh.login import Login

_log = logging.getLogger("tunnels")


class Client(asyncssh.SSHClient):
    """Nothing in here raises: that would end the connection."""

    def __init__(
        self,
        checker: HostKeyChecker,
        login: Login,
        *,
        on_made: Callable[[asyncssh.SSHClientConnection], None] | None = None,
    ) -> None:
        self.checker = checker
        self.login = login
        self.verdict: TunnelsError | None = None  #: why the host key was not accepted
        self.lost: list[Exception | None] = []
        self.on_lost: Callable[[Exception | None], None] | None = None
        self._on_made = on_made

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """There is a way to the server, and nothing has been said on it."""
        if self._on_made is not None:
            self._on_made(conn)

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Our own check decides about every key."""
        return self._judge(lambda checker: checker.check(key.public_data, key.get_algorithm()))

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Our own check decides about every certificate authority; asyncssh checks the certificate."""

        def check(checker: HostKeyChecker) -> None:
            checker.check_ca(key.public_data)

        return self._judge(check)

    def _judge(self, check: Callable[[HostKeyChecker], None]) -> bool:
        try:
            check(self.checker)
        except TunnelsError as error:
            self.verdict = error
            return False
        except Exception as exc:  # noqa: BLE001 - whatever goes wrong in here, the key is not accepted
            _log.error("checking a host key ended with a bug", exc_info=exc)
            return False
        return True

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
