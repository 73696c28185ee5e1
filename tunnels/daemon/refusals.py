"""The other half of ``tunnels harden --test``: what a login does not need is refused.

A server that allows less fails the steps of the doctor; one that allows more fails these.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from tunnels.core.address import TcpAddress, UnixAddress, describe_listen
from tunnels.core.checkup import Step
from tunnels.core.harden import Grant, as_compared, grant_of
from tunnels.core.profile import Profile
from tunnels.errors import DialError, DialReason, ErrorInfo, ListenError, NotAsAsked, TunnelsError
from tunnels.forwarding import checks, glance
from tunnels.forwarding.channel import ChannelEnd, LinkLost, Origin
from tunnels.forwarding.glance import Found
from tunnels.ssh import session_checks
from tunnels.ssh.connection import SshConnection
from tunnels.ssh.destination import Destination

#: Unix sockets that most servers have and every account may use; and those that make their users master of it.
USUAL_SOCKETS = (
    "/run/dbus/system_bus_socket",
    "/var/run/docker.sock",
    "/run/systemd/journal/stdout",
    "/run/systemd/userdb/io.systemd.DynamicUser",
)

_HARDEN = "the line that `tunnels harden {}` prints, for the key that this login uses"


class TooMuch(NotAsAsked):
    """The server allows something that the profile does not need."""

    code = "allows-too-much"


class Refusals:
    """What one server should refuse to one profile."""

    def __init__(self, profile: Profile, conn: SshConnection, target: Destination) -> None:
        self._profile = profile
        self._conn = conn
        self._target = target
        self._grant: Grant = grant_of(profile.forwards)

    async def run(self, began: Callable[[str], None]) -> AsyncIterator[Step]:
        """Try everything, one after the other."""
        look: tuple[tuple[str, str, Callable[[], Awaitable[Found]]], ...] = (
            ("command", "a command", self._command),
            ("shell", "a shell", self._shell),
            ("terminal", "a terminal", self._terminal),
            ("other-connect", "other destinations", self._other_destinations),
            ("other-listen", "other ports to listen on", self._other_listens),
            ("sockets", "unix sockets", self._sockets),
        )
        for name, what, check in look:
            began(f"{self._target.alias}: {what}")
            yield await self._step(name, check())

    async def _step(self, name: str, work: Awaitable[Found]) -> Step:
        started = time.monotonic()
        ok, detail, warning = True, "", None
        error: ErrorInfo | None = None
        try:
            detail, warning = await work
        except TunnelsError as exc:
            ok, error = False, exc.info
        except LinkLost as exc:
            ok, error = False, NotAsAsked(str(exc)).info
        took = (time.monotonic() - started) * 1000
        return Step(name, ok, detail, took, host=str(self._target), warning=warning, error=error)

    async def _command(self) -> Found:
        if await session_checks.runs_commands(self._conn):
            raise self._too_much("runs any command for this login", 'command="…" in')
        return Found("refused: a command is not run")

    async def _shell(self) -> Found:
        if await session_checks.gives_shell(self._conn):
            raise self._too_much("gives this login a shell", 'command="…" in')
        return Found("refused: there is no shell")

    async def _terminal(self) -> Found:
        if await session_checks.gives_terminal(self._conn):
            raise self._too_much("gives this login a terminal", "restrict in")
        return Found("refused: there is no terminal")

    async def _other_destinations(self) -> Found:
        if self._grant.opens is None:
            return Found(
                "any is allowed", "a dynamic forward needs that: its clients say where they want to go"
            )
        refused = []
        for address in self._neighbours(self._grant.opens):
            if await self._connects(address):
                raise self._too_much(
                    f"connects this login to {address} too, or tries to", "permitopen in", sshd="PermitOpen"
                )
            refused.append(describe_listen(address))
        return Found(f"refused: {', '.join(refused)}")

    def _neighbours(self, allowed: tuple[str, ...]) -> list[TcpAddress]:
        """Ports beside those that are allowed, and the server itself."""
        found: dict[str, TcpAddress] = {}
        beside = [
            TcpAddress(forward.connect.host, forward.connect.port % 65_535 + 1)
            for forward in self._profile.forwards
            if isinstance(forward.connect, TcpAddress) and as_compared(forward.connect) in allowed
        ]
        own = [TcpAddress(host, self._target.port) for host in ("127.0.0.1", "localhost")]
        for address in (*beside[:8], *own):
            if as_compared(address) not in allowed:
                found.setdefault(as_compared(address), address)
        return list(found.values())

    async def _connects(self, address: TcpAddress) -> bool:
        """Whether the server tries to: that nobody answers is no refusal of the server's."""
        try:
            await glance.reach_from_server(self._conn, address)
        except DialError as error:
            return error.reason is not DialReason.PROHIBITED
        return True

    async def _other_listens(self) -> Found:
        refused = []
        # Port 0 is always free: if it is refused, then because of what is allowed.
        for address in (TcpAddress(None, 0), TcpAddress("*", 0)):
            if as_compared(address) in self._grant.listens:
                continue
            if await self._listens(address):
                raise self._too_much(
                    "listens on other ports for this login too", "permitlisten in", sshd="PermitListen"
                )
            refused.append("other ports" if address.host is None else "ports on every interface")
        if not refused:
            return Found("any port is allowed", "a remote forward on port 0 needs that")
        return Found(f"refused: {', '.join(refused)}")

    async def _listens(self, address: TcpAddress) -> bool:
        try:
            async with asyncio.timeout(checks.ASK_TIMEOUT):
                listener = await self._conn.listen(address, _nobody)
        except (ListenError, TimeoutError):
            return False
        await listener.aclose()
        return True

    async def _sockets(self) -> Found:
        if self._grant.socket_opens or self._grant.socket_listens:
            return Found("any is allowed", "sshd cannot tell the sockets of this profile from others")
        for path in USUAL_SOCKETS:
            try:
                await glance.reach_from_server(self._conn, UnixAddress(path))
            except DialError:
                continue
            raise TooMuch(
                f"the server connects this login to unix sockets: {path}",
                hint="AllowStreamLocalForwarding no for this account in its sshd_config; authorized_keys cannot say it",
            )
        return Found(
            "none of the usual ones can be reached",
            "sshd does not say whether it refuses others: AllowStreamLocalForwarding no in its sshd_config does it",
        )

    def _too_much(self, what: str, where: str, *, sshd: str = "ForceCommand and PermitTTY") -> TooMuch:
        return TooMuch(
            f"the server {what}",
            hint=f"{where} {_HARDEN.format(self._profile.name)}, or {sshd} in its sshd_config",
        )


async def _nobody(_origin: Origin) -> ChannelEnd:
    raise DialError("nobody is at home: this was only a question")
