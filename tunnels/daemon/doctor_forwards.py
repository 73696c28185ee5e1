"""The part of ``tunnels doctor`` that looks at forwards: both ends of each, several at a time."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from tunnels.core.address import Address, TcpAddress, describe_listen
from tunnels.core.audience import Reach, audience
from tunnels.core.checkup import Step
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.profile import Profile
from tunnels.core.state import ForwardState
from tunnels.core.status import ForwardStatus, Snapshot
from tunnels.errors import ErrorInfo, ListenError, TunnelsError
from tunnels.forwarding import checks, glance, interfaces
from tunnels.forwarding.dynamic import credentials_of
from tunnels.forwarding.glance import Found
from tunnels.ssh.connection import SshConnection
from tunnels.ssh.destination import Destination
from tunnels.tasks import TaskScope

#: Forwards that are looked at at the same time: the next ones need not wait for one that does not answer.
AT_ONCE = 8

#: ssh's flags.
FLAGS = {ForwardKind.LOCAL: "-L", ForwardKind.REMOTE: "-R", ForwardKind.DYNAMIC: "-D"}


class ForwardChecks:
    """The forwards of one profile. Without a connection, what this machine alone can say is looked at."""

    def __init__(
        self, profile: Profile, conn: SshConnection | None, running: Snapshot, *, target: Destination | None
    ) -> None:
        self._profile = profile
        self._conn = conn
        self._running = running
        self._target = target
        self._scope = TaskScope(f"doctor {profile.name}")
        self._few = asyncio.Semaphore(AT_ONCE)

    async def run(self, began: Callable[[str], None]) -> AsyncIterator[Step]:
        """Look at all of them; the steps come in the order of the file."""
        tasks = [
            self._scope.spawn(self._look(forward), name=str(forward)) for forward in self._profile.forwards
        ]
        for forward, task in zip(self._profile.forwards, tasks, strict=True):
            began(f"{FLAGS[forward.kind]} {forward}")
            for step in await task:
                yield step

    async def aclose(self) -> None:
        """End what is still waiting for an answer. The connection is closed after this, and not before."""
        await self._scope.aclose()

    async def _look(self, forward: Forward) -> list[Step]:
        async with self._few:
            look = {
                ForwardKind.LOCAL: self._local,
                ForwardKind.REMOTE: self._remote,
                ForwardKind.DYNAMIC: self._dynamic,
            }
            return await look[forward.kind](forward)

    async def _local(self, forward: Forward) -> list[Step]:
        return [await self._listen_here(forward), await self._reach_there(forward)]

    async def _dynamic(self, forward: Forward) -> list[Step]:
        return [await self._listen_here(forward), await self._reach_there(forward)]

    async def _listen_here(self, forward: Forward) -> Step:
        async def listen() -> Found:
            if forward.auth is not None:
                await credentials_of(forward.auth)
            if (mine := self._ours(forward)) is not None:
                return self._held(mine)
            try:
                return self._with_audience(await checks.listen_here(forward.listen), forward)
            except ListenError as error:
                raise self._named(error, forward.listen) from error

        return await _step("listen", forward, listen())

    async def _reach_there(self, forward: Forward) -> Step:
        conn = self._conn
        if conn is None:
            return _not_tried("connect", forward)
        if forward.connect is None:
            port = self._target.port if self._target is not None else 22
            return await _step("connect", forward, checks.forwards_at_all(conn, port))
        return await _step("connect", forward, glance.reach_from_server(conn, forward.connect))

    async def _remote(self, forward: Forward) -> list[Step]:
        steps = [await self._listen_there(forward)]
        if forward.connect is not None:
            steps.append(await _step("connect", forward, glance.reach_from_here(forward.connect)))
        return steps

    async def _listen_there(self, forward: Forward) -> Step:
        async def listen() -> Found:
            if forward.auth is not None:
                await credentials_of(forward.auth)
            if (mine := self._ours(forward)) is not None:
                return self._held(mine)
            assert self._conn is not None
            if isinstance(forward.listen, TcpAddress):
                found = await checks.listen_there(self._conn, forward.listen, self._seen_at())
                # What was tried says more than what can be guessed.
                return found if found.warning else self._with_audience(found, forward)
            return await checks.socket_there(self._conn, forward.listen)

        if self._conn is None and self._ours(forward) is None:
            return _not_tried("listen", forward)
        return await _step("listen", forward, listen())

    def _with_audience(self, found: Found, forward: Forward) -> Found:
        """Say who can connect, too."""
        addresses, firewall = interfaces.facts()
        who = audience(forward, host=self._profile.host, interfaces=addresses, firewall=firewall)
        to = "for" if who.reach is Reach.MACHINE else "open to"
        return Found(f"{found.detail}, {to} {who.text}", found.warning)

    def _seen_at(self) -> str | None:
        """The server's address as other machines have it; None where that is not known."""
        if self._conn is None or self._target is None or self._target.proxy_jump:
            return None
        address = self._conn.peer_address
        if address is None or "%" in address or ipaddress.ip_address(address).is_loopback:
            return None
        return address

    # --- what the daemon has already ------------------------------------------------------------

    def _ours(self, forward: Forward) -> ForwardStatus | None:
        """The same forward of the same tunnel, if it runs and listens."""
        for tunnel in self._running.tunnels:
            if tunnel.name == self._profile.name:
                for each in tunnel.forwards:
                    if _same(each, forward) and each.state is ForwardState.LISTENING:
                        return each
        return None

    def _held(self, mine: ForwardStatus) -> Found:
        daemon = self._running.daemon
        pid = f", pid {daemon.pid}" if daemon is not None else ""
        return Found(f"{mine.listen} is held by this very tunnel, which is running{pid}")

    def _named(self, error: ListenError, listen: Address) -> ListenError:
        """Name the tunnel, where it is one of ours that is in the way."""
        for tunnel in self._running.tunnels:
            for each in tunnel.forwards:
                there = each.kind != "remote" and each.listen == describe_listen(listen)
                if there and each.state is ForwardState.LISTENING:
                    return ListenError(
                        f"{each.listen} is held by the tunnel {tunnel.name}",
                        hint=f"`tunnels down {tunnel.name}`, or listen on another port",
                    )
        return error


def _same(status: ForwardStatus, forward: Forward) -> bool:
    if status.kind != forward.kind.value:
        return False
    listen = forward.listen
    if isinstance(listen, TcpAddress) and listen.port == 0:  # the server has chosen another
        return status.connect == (None if forward.connect is None else describe_listen(forward.connect))
    return status.listen == describe_listen(listen)


async def _step(name: str, forward: Forward, work: Awaitable[Found]) -> Step:
    started = time.monotonic()
    ok, detail, warning = True, "", None
    error: ErrorInfo | None = None
    try:
        detail, warning = await work
    except TunnelsError as exc:
        ok, error = False, exc.info
    return Step(
        name,
        ok,
        detail,
        (time.monotonic() - started) * 1000,
        forward=_text(forward),
        warning=warning,
        error=error,
    )


def _not_tried(name: str, forward: Forward) -> Step:
    return Step(name, None, forward=_text(forward))


def _text(forward: Forward) -> str:
    return f"{FLAGS[forward.kind]} {forward}"
