"""A live SSH connection, in the shape that forwarding and supervision need. `ssh.connect` makes it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Callable
from typing import Any

import asyncssh

from tunnels.core.address import Address, TcpAddress, UnixAddress
from tunnels.errors import DialError, TunnelsError
from tunnels.forwarding.channel import Acceptor, ChannelEnd, LinkLost, Origin, Outcome, RemoteListener
from tunnels.ssh import fast_path, remote_listen
from tunnels.ssh.channel import Answer, ForwardChannel
from tunnels.ssh.channel_open import direct
from tunnels.ssh.client import Client
from tunnels.ssh.dial import (
    address_of,
    heard,
    let_say_goodbye,
    limit_retransmission_timeout,
    shortest_round_trip,
)
from tunnels.ssh.doubt import Doubt
from tunnels.ssh.faults import channel_error, lost_error
from tunnels.ssh.hops import Lease
from tunnels.ssh.late_packets import tolerate_late_packets
from tunnels.ssh.proxy_command import ProxyCommand
from tunnels.ssh.remote_socket import Inspector
from tunnels.ssh.round_trip import RoundTrip
from tunnels.ssh.stock import StockSession
from tunnels.ssh.window import Budget
from tunnels.tasks import TaskScope

_log = logging.getLogger("tunnels")

#: Seconds for a connection to end in good order; then it is cut.
CLOSE_TIMEOUT = 3.0

#: Bytes queued for a socket before every client of the connection is told to wait: what a 1 Gbit/s link
#: sends in 4 ms. asyncio's own 64 KiB would stop and start the clients several times for each window.
LINK_HIGH_WATER = 512 * 1024

#: What says that a connection has ended. asyncssh asserts that it is still connected.
_LOST = (asyncssh.Error, OSError, AssertionError)

OnLost = Callable[[TunnelsError], None]


class SshConnection:
    """A live connection, with the jump hosts it goes through."""

    def __init__(
        self,
        conn: asyncssh.SSHClientConnection,
        client: Client,
        on_lost: OnLost,
        *,
        through: Lease | None = None,
        command: ProxyCommand | None = None,
        remote_unlink: bool = False,
    ) -> None:
        """``through`` is its hold on the last jump host, ``command`` what carries it; both end with it."""
        self._conn = conn
        self._through = through
        self._command = command
        self._on_lost: OnLost | None = on_lost
        self._ends: set[ChannelEnd] = set()
        self._scope = TaskScope("connection")
        self._inspector = Inspector(conn, self._scope, unlink=remote_unlink)
        self._paused = False
        self._closing = False
        self._doubt = Doubt(self.expect_outage)
        self._wire = fast_path.install(conn)
        self._guard_link()
        tolerate_late_packets(conn)
        self._round_trip = RoundTrip(conn)
        self._budget = Budget()
        client.on_lost = self._lost
        if client.lost:  # between the login and now
            asyncio.get_running_loop().call_soon(self._lost, client.lost[0])
        else:
            self._scope.spawn(self._round_trip.measure_first(), name="round trip")

    def __repr__(self) -> str:
        return f"<SshConnection: {len(self._ends)} channels>"

    @property
    def cipher(self) -> str | None:
        """What encrypts what we send."""
        cipher = self._conn.get_extra_info("send_cipher")
        return cipher if isinstance(cipher, str) else None

    @property
    def rtt_ms(self) -> float | None:
        """The last measured round trip, in milliseconds."""
        return self._round_trip.milliseconds

    @property
    def local_address(self) -> str | None:
        """The address of this machine that it uses; None where it goes through another program."""
        return self._address("sockname")

    @property
    def peer_address(self) -> str | None:
        """The address that its packets go to: of the server, or of the first jump host."""
        return self._address("peername")

    def _address(self, which: str) -> str | None:
        found = self._first.get_extra_info(which)
        return address_of(found) if isinstance(found, tuple) else None

    async def probe(self, limit: float) -> bool:
        """Ask the server for an answer; whether it came within ``limit`` seconds."""
        return await self._round_trip.answers(limit, self._signs)

    def _signs(self) -> tuple[object, ...]:
        """Something that changes with every packet of the server, and with every acknowledgement."""
        sock = self._socket
        return getattr(self._conn, "_recv_seq", 0), None if sock is None else heard(sock)

    @property
    def _first(self) -> asyncssh.SSHClientConnection:
        """The connection that begins on this machine."""
        return self._conn if self._through is None else self._through.kept.first

    @property
    def _socket(self) -> socket.socket | None:
        found: socket.socket | None = self._first.get_extra_info("socket")
        return found

    def expect_outage(self, expected: bool, /) -> None:
        """While an outage is expected, TCP repeats what got no answer every second, where the system can."""
        if self._through is not None:
            self._through.expect_outage(expected)
        elif (sock := self._socket) is not None:
            limit_retransmission_timeout(sock, expected)

    def open_channel(self, end: ChannelEnd, connect: Address, origin: Origin, then: Outcome, /) -> None:
        """Have the server connect to ``connect`` and couple the channel to ``end``. See `channel.Link`."""
        if self._gone:
            then(LinkLost("the connection is gone"))
            return

        def answered(exc: BaseException | None) -> None:
            error = None if exc is None else self._why_not(exc, connect)
            self._doubt.end(end, answered=not isinstance(error, LinkLost))
            if error is not None:
                self._disown(end)
            try:
                then(error)
            except Exception:  # noqa: BLE001 - nothing that goes wrong with one client ends the connection
                _log.exception("connecting a client ended with a bug")

        self._own(end)
        self._doubt.begin(end)
        if self._wire is None:
            opening = self._open_stock(end, connect, origin, answered)
            task = self._scope.spawn(opening, name=f"channel to {connect}")
            # It may be cancelled before it has begun.
            task.add_done_callback(lambda it: answered(asyncio.CancelledError()) if it.cancelled() else None)
            return
        try:
            channel = ForwardChannel(self._conn, self._wire, self._round_trip_seconds, self._budget)
            channel.open(end, answered, *direct(connect, origin))
        except Exception as exc:  # noqa: BLE001 - whatever it is, the client is told
            answered(exc)

    def _why_not(self, exc: BaseException, connect: Address) -> DialError | LinkLost:
        """Why there is no channel."""
        if isinstance(exc, asyncssh.ChannelOpenError) and not self._gone:
            return channel_error(exc, connect)
        if isinstance(exc, (*_LOST, asyncio.CancelledError)):
            return LinkLost("the connection ended while a client was being connected")
        _log.error("opening a channel to %s ended with a bug", connect, exc_info=exc)
        return DialError(
            f"internal error: {type(exc).__name__}: {exc}", hint="`tunnels logs` has the details"
        )

    async def _open_stock(self, end: ChannelEnd, connect: Address, origin: Origin, answered: Answer) -> None:
        """The same with a channel of asyncssh's own.

        Only the end of the connection may cancel it: the channel would stay open on the server's side.
        """

        def session() -> Any:
            if self._gone:  # it has ended between the server's answer and now: the next one will do
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "SSH connection closed")
            return StockSession(end)

        try:
            if isinstance(connect, TcpAddress):
                host = connect.host or "localhost"
                await self._conn.create_connection(session, host, connect.port, *origin)
            else:
                await self._conn.create_unix_connection(session, connect.path)
        except Exception as exc:  # noqa: BLE001 - a version that is not known may raise anything
            answered(exc)
        else:
            answered(None)

    def _round_trip_seconds(self) -> float | None:
        """The path's own: the first keepalives of a fresh connection may have waited for an acknowledgement."""
        milliseconds = self._round_trip.shortest
        if milliseconds is None:
            return None
        sock = self._socket if self._through is None else None
        tcp = None if sock is None else shortest_round_trip(sock)
        return min(milliseconds / 1000, milliseconds / 1000 if tcp is None else tcp)

    async def listen(self, address: Address, acceptor: Acceptor) -> RemoteListener:
        """Have the server listen. See `channel.Link`."""

        async def accept(origin: Origin) -> Any:
            try:
                end = await acceptor(origin)
            except TunnelsError as exc:
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, exc.message) from exc
            except Exception as exc:
                _log.exception("connecting for a remote client ended with a bug")
                raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "internal error") from exc
            self._own(end)
            return end if self._wire is not None else StockSession(end)

        listener = await self._ask_to_listen(address, accept)
        if listener is None and isinstance(address, UnixAddress):
            finding = await self._inspector.look(address.path)
            if finding.removed and not self._gone:
                _log.info("a dead socket was removed from the server: %s", address)
                listener = await self._ask_to_listen(address, accept)
            if listener is None:
                self._check_alive()
                raise finding.error
        if listener is None:
            assert isinstance(address, TcpAddress)
            raise remote_listen.port_refused(address)
        return listener

    async def _ask_to_listen(self, address: Address, accept: remote_listen.Accept) -> RemoteListener | None:
        """Ask once; None where the server refuses."""
        try:
            return await remote_listen.listen(self._conn, address, accept, self._accepting)
        except asyncssh.ChannelListenError:
            self._check_alive()
            return None
        except (asyncssh.Error, OSError) as exc:
            raise LinkLost("the connection ended while the server was asked to listen") from exc

    @property
    def _accepting(self) -> remote_listen.Accepting | None:
        wire = self._wire
        if wire is None:
            return None

        def accepting() -> remote_listen.Accepted:
            channel = ForwardChannel(self._conn, wire, self._round_trip_seconds, self._budget)
            return remote_listen.Accepted(channel, self._scope)

        return accepting

    def _check_alive(self) -> None:
        if self._gone:  # then asyncssh calls it a refusal too
            raise LinkLost("the connection ended while the server was asked to listen")

    async def aclose(self) -> None:
        """End the connection and everything on it, within `CLOSE_TIMEOUT` seconds."""
        self._on_lost = None
        self._closing = True
        for end in list(self._ends):  # a client must not take what it has got so far for everything
            end.link_lost()
        self._say_goodbye()
        await self._scope.aclose()
        try:
            self._conn.close()
            with contextlib.suppress(TimeoutError, OSError, asyncssh.Error):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._conn.wait_closed()
        finally:
            self._conn.abort()
            self._let_go()
        if self._through is not None:
            await self._through.aclose()

    def _let_go(self) -> None:
        """Need what carries it no longer."""
        if self._command is not None:
            self._command.close()
        if self._through is not None:
            self._through.release()

    def _say_goodbye(self) -> None:
        if self._through is None and (sock := self._socket) is not None:
            let_say_goodbye(sock)

    def _lost(self, exc: Exception | None) -> None:
        self._scope.cancel()
        cause = None if self._through is None else self._through.cause
        self._let_go()
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost(cause or lost_error(exc))

    # --- what concerns every channel at once ------------------------------------------------------

    def _guard_link(self) -> None:
        """Put our own methods in the way of four that asyncssh looks up on the instance.

        ``connection_lost`` is how it gives up on a server that does not answer its keepalives.
        ``pause_writing`` and ``resume_writing`` do nothing in asyncssh; the buffer of its transport then
        grows by up to a window for each channel. ``_cleanup`` closes every channel when the connection
        ends, and may give them no error: a server that says goodbye in the middle of a download must
        not look to the client like the end of the file.
        """
        conn: Any = self._conn
        lose = conn.connection_lost

        def say_goodbye_and_lose(exc: Exception | None) -> None:
            self._say_goodbye()  # later its socket is closed
            lose(exc)

        conn.connection_lost = say_goodbye_and_lose
        cleanup = getattr(conn, "_cleanup", None)
        if cleanup is not None:

            def tell_and_clean_up(exc: Exception | None) -> None:
                for end in list(self._ends):
                    end.link_lost()
                cleanup(exc)

            conn._cleanup = tell_and_clean_up  # noqa: SLF001
        if self._wire is not None:  # which looks after the rest itself
            return
        conn.pause_writing = self._pause
        conn.resume_writing = self._resume
        transport = getattr(conn, "_transport", None)
        if transport is not None and hasattr(transport, "set_write_buffer_limits"):
            transport.set_write_buffer_limits(high=LINK_HIGH_WATER)

    @property
    def _gone(self) -> bool:
        """Whether the connection has ended. asyncssh says so a moment after it has let its transport go."""
        transport = getattr(self._conn, "_transport", self)
        return self._closing or transport is None or (transport is self and self._conn.is_closed())

    def _disown(self, end: ChannelEnd) -> None:
        """The end got no channel here; what this connection has told it holds no longer."""
        self._ends.discard(end)
        end.on_closed = None
        if self._paused:
            end.link_resumed()

    def _own(self, end: ChannelEnd) -> None:
        self._ends.add(end)
        end.on_closed = functools.partial(self._ends.discard, end)
        if self._paused:
            end.link_paused()

    def _pause(self) -> None:
        self._paused = True
        for end in self._ends:
            end.link_paused()

    def _resume(self) -> None:
        self._paused = False
        for end in self._ends:
            end.link_resumed()
