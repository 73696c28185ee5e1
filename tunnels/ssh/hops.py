"""The connections to jump hosts: made once for everybody who goes the same way, and closed with their last user.

Two tunnels may share one only where everything about the way is the same: each server up to there, all that
ssh_config and the profile say about it, and the policy for its host key.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import NamedTuple

import asyncssh

from tunnels.core.backoff import probe_limit
from tunnels.core.profile import HostKeyPolicy, Profile
from tunnels.core.question import Dialogue
from tunnels.errors import ConnectionLost
from tunnels.ssh import fast_path
from tunnels.ssh.client import Client
from tunnels.ssh.destination import Destination
from tunnels.ssh.dial import has_lost_its_address, heard, let_say_goodbye, limit_retransmission_timeout
from tunnels.ssh.faults import lost_error
from tunnels.ssh.hop import Hop
from tunnels.ssh.late_packets import tolerate_late_packets
from tunnels.ssh.onward import Onward
from tunnels.ssh.proxy_command import ProxyCommand
from tunnels.ssh.round_trip import RoundTrip
from tunnels.ssh.shared_dialogue import Member, SharedDialogue
from tunnels.ssh.steps import QUIET, Steps
from tunnels.tasks import TaskScope

OnFound = Callable[[tuple[str, ...]], None]

#: Seconds for a connection to end in good order; then it is cut.
CLOSE_TIMEOUT = 3.0


class Key(NamedTuple):
    """What makes a way to a jump host what it is."""

    chain: tuple[Destination, ...]
    policy: HostKeyPolicy | None
    owner: object  #: None for what is shared


class Hops:
    """Every connection to a jump host."""

    def __init__(self, steps: Steps = QUIET) -> None:
        """``steps`` is told how far the attempts get, by who has them for itself."""
        self.scope = TaskScope("jump hosts")
        self.steps = steps
        self._kept: dict[Key, Kept] = {}
        self._making: dict[Key, _Making] = {}
        self.closed = False

    def __repr__(self) -> str:
        return f"<Hops: {len(self._kept)} kept, {len(self._making)} being made>"

    async def lease(self, profile: Profile, key: Key, dialogue: Dialogue, on_found: OnFound) -> Lease:
        """Use the connection to the last server of a chain, which is made if there is none that works.

        Raises ConnectError, or PersonNeeded. Cancelling ends the attempt only if nobody else waits for it.
        """
        while (kept := self._kept.get(key)) is not None:
            lease = Lease(kept)  # held meanwhile, so that nobody closes it
            try:
                if await kept.answers():
                    on_found(kept.addresses)
                    return lease
            except BaseException:
                lease.release()
                raise
            self.retire(kept)
            lease.release()
        making = self._making.get(key)
        if making is None:
            self._making[key] = making = _Making(self, profile, key)
        return await making.wait(dialogue, on_found)

    def keep(self, kept: Kept) -> None:
        """Hand it out from now on."""
        self._kept[kept.key] = kept

    def retire(self, kept: Kept) -> None:
        """Do not hand it out any more. Those who have it keep it until they find out themselves."""
        if self._kept.get(kept.key) is kept:
            del self._kept[kept.key]

    def forget(self, making: _Making) -> None:
        """Let nobody wait for this attempt any more."""
        if self._making.get(making.key) is making:
            del self._making[making.key]

    async def aclose(self) -> None:
        """End every attempt and all that is left; bounded in time."""
        for making in list(self._making.values()):
            making.cancel()
        for kept in list(self._kept.values()):
            kept.close()
        await self.scope.settle(CLOSE_TIMEOUT)
        self.closed = True
        await self.scope.aclose()


class _Making:
    """One attempt to reach a jump host, for everybody who waits for it."""

    def __init__(self, hops: Hops, profile: Profile, key: Key) -> None:
        self.key = key
        self._hops = hops
        self._profile = profile
        self._dialogue = SharedDialogue(hops.scope)
        self._waiting: dict[asyncio.Future[Lease], OnFound] = {}
        self._addresses: tuple[str, ...] | None = None
        self._task = hops.scope.spawn(self._make(), name=key.chain[-1].jump_name)

    async def wait(self, dialogue: Dialogue, on_found: OnFound) -> Lease:
        """Wait with the others."""
        future: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()

        def failed(exc: Exception) -> None:
            if not future.done():
                future.set_exception(exc)
            self._leave(future, member)

        self._waiting[future] = on_found
        if self._addresses is not None:
            on_found(self._addresses)
        member: Member = self._dialogue.join(dialogue, failed)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().release()
            self._leave(future, member)
            if not self._waiting:
                await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT)
            raise
        finally:
            self._leave(future, member)

    def cancel(self) -> None:
        """End it for everybody."""
        self._task.cancel()

    def _leave(self, future: asyncio.Future[Lease], member: Member) -> None:
        self._waiting.pop(future, None)
        self._dialogue.leave(member)
        if not self._waiting and not self._task.done():
            self._hops.forget(self)
            self._task.cancel()

    def _found(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses
        for on_found in list(self._waiting.values()):
            on_found(addresses)

    async def _make(self) -> None:
        try:
            kept = await self._connect()
        except asyncio.CancelledError:
            for future in self._waiting:
                future.cancel()
            raise
        except Exception as exc:  # noqa: BLE001 - whoever waits gets it
            for future in self._waiting:
                if not future.done():
                    future.set_exception(exc)
        else:
            self._hops.keep(kept)
            for future in self._waiting:
                if not future.done():
                    future.set_result(Lease(kept))
            if not kept.users:
                kept.close()
        finally:
            self._hops.forget(self)

    async def _connect(self) -> Kept:
        *before, destination = self.key.chain
        through = None
        try:
            if before:
                key = self.key._replace(chain=tuple(before))
                through = await self._hops.lease(self._profile, key, self._dialogue, self._found)
            onward = None if through is None else through.onward
            hop = Hop(
                self._profile,
                destination,
                self._dialogue,
                onward,
                self._hops.steps,
                scope=self._hops.scope,
                is_jump=True,
                before=tuple(before),
            )
            conn = await hop.connect(self._found)
        except BaseException:
            if through is not None:
                through.release()
            raise
        return Kept(self._hops, self.key, conn, hop.client, hop.command, through, self._addresses or ())


class Kept:
    """A live connection to a jump host, and who uses it."""

    def __init__(
        self,
        hops: Hops,
        key: Key,
        conn: asyncssh.SSHClientConnection,
        client: Client,
        command: ProxyCommand | None,
        through: Lease | None,
        addresses: tuple[str, ...],
    ) -> None:
        self.key = key
        self.conn = conn
        self.through = through
        self.addresses = addresses
        self.users: set[Lease] = set()
        self.name = key.chain[-1].jump_name
        self.onward = Onward(conn, self.name, hops.scope, fast_path.install(conn))
        self.lost: ConnectionLost | None = None
        self._hops = hops
        self._command = command
        self._closing: asyncio.Task[None] | None = None
        self._outages: set[Lease] = set()
        tolerate_late_packets(conn)
        self._round_trip = RoundTrip(conn)
        client.on_lost = self._lost
        self._notice_first()
        if client.lost:  # between the login and now
            self._lost(client.lost[0])

    def __repr__(self) -> str:
        return f"<Kept {self.name}: {len(self.users)} users>"

    @property
    def first(self) -> asyncssh.SSHClientConnection:
        """The connection that begins on this machine."""
        return self.conn if self.through is None else self.through.kept.first

    async def answers(self) -> bool:
        """Whether it works still: what may be dead is not handed out."""
        if self.lost is not None or self._closing is not None or self.conn.is_closed():
            return False
        sock = self.first.get_extra_info("socket")
        if sock is not None and has_lost_its_address(sock):
            return False

        def signs() -> tuple[object, ...]:
            return getattr(self.conn, "_recv_seq", 0), None if sock is None else heard(sock)

        return await self._round_trip.answers(probe_limit(self._round_trip.milliseconds), signs)

    def expect_outage(self, user: Lease, expected: bool) -> None:
        """As long as one user expects an outage, TCP repeats itself every second."""
        (self._outages.add if expected else self._outages.discard)(user)
        if (sock := self.first.get_extra_info("socket")) is not None:
            limit_retransmission_timeout(sock, bool(self._outages))

    def close(self) -> asyncio.Task[None] | None:
        """End it in good order, or cut it, in the background; at once where everything has been closed."""
        self._hops.retire(self)
        if self._closing is None:
            if self._hops.closed:
                self.conn.abort()
                return None
            self._closing = self._hops.scope.spawn(self._close(), name=f"close {self.name}")
        return self._closing

    async def _close(self) -> None:
        try:
            self._say_goodbye()
            self.conn.close()
            with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self.conn.wait_closed()
        finally:
            self.conn.abort()
            if self._command is not None:
                self._command.close()
            if self.through is not None:
                self.through.release()
        if self.through is not None:
            await self.through.aclose()

    def _say_goodbye(self) -> None:
        if self.through is None and (sock := self.conn.get_extra_info("socket")) is not None:
            let_say_goodbye(sock)

    def _lost(self, exc: Exception | None) -> None:
        """Its users hear of it from asyncssh, each from its own channel; here they find why."""
        if self.lost is None:
            before = None if self.through is None else self.through.cause
            self.lost = before or lost_error(exc, self.name)
        self._hops.retire(self)

    def _notice_first(self) -> None:
        """Know why it ends before the connections through it are told that they have ended.

        ``connection_lost`` is how asyncssh gives up on a server, ``_cleanup`` how it tells the channels.
        """
        conn = self.conn
        lose, clean_up = conn.connection_lost, getattr(conn, "_cleanup", None)

        def say_goodbye_and_lose(exc: Exception | None = None) -> None:
            self._say_goodbye()
            lose(exc)

        def notice_and_clean_up(exc: Exception | None) -> None:
            self._lost(exc)
            if clean_up is not None:
                clean_up(exc)

        conn.connection_lost = say_goodbye_and_lose  # type: ignore[method-assign]
        if clean_up is not None:
            conn._cleanup = notice_and_clean_up  # type: ignore[method-assign]  # noqa: SLF001


class Lease:
    """The hold that one user has on the connection to a jump host."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        kept.users.add(self)

    @property
    def onward(self) -> Onward:
        """The way to the next server."""
        return self.kept.onward

    @property
    def cause(self) -> ConnectionLost | None:
        """Why it has ended, or the one before it; None: it has not."""
        return self.kept.lost

    def expect_outage(self, expected: bool) -> None:
        """See `Kept.expect_outage`."""
        self.kept.expect_outage(self, expected)

    def release(self) -> None:
        """Need it no longer; with its last user it is closed, in the background."""
        if self in self.kept.users:
            self.expect_outage(False)
            self.kept.users.discard(self)
            if not self.kept.users:
                self.kept.close()

    async def aclose(self) -> None:
        """Need it no longer, and wait for its end if there is nobody else."""
        self.release()
        if not self.kept.users and (closing := self.kept.close()) is not None:
            await asyncio.wait([closing])
