"""Stand-ins for SSH connections, for time and for programs; what the tests of several rooms share.

Nothing in here waits for time to pass. What a test waits for is an event, and `LIMIT` is only how long a
test that fails may take to say so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from tunnels.core.address import Address, TcpAddress
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.path import Path
from tunnels.core.profile import Profile
from tunnels.core.question import Dialogue
from tunnels.errors import ConnectionLost, DialError, TunnelsError
from tunnels.forwarding.channel import Acceptor, ChannelEnd, LinkLost, Origin, Outcome
from tunnels.supervisor.connector import OnFound, OnLost

LIMIT = 5.0
"""Seconds until waiting is given up."""

LOOPBACK = "127.0.0.1"

# --- time -----------------------------------------------------------------------------------------


async def turns(count: int = 10) -> None:
    """Let everything run that is ready to: for showing that something does *not* happen."""
    for _ in range(count):
        await asyncio.sleep(0)


def pass_time(seconds: float) -> None:
    """Have the event loop believe that so much time has passed. All of it together: less than a test's ten."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + seconds  # type: ignore[method-assign]


class Alarm:
    """One timer of a `Clock`."""

    def __init__(self, when: float, ring: Callable[[], object]) -> None:
        self.when = when
        self.ring = ring
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """In the place of an event loop where only its time is wanted. It stands still until the test moves it."""

    def __init__(self, now: float = 1000.0) -> None:
        self._now = now
        self._alarms: list[Alarm] = []

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[..., object], *args: Any) -> Alarm:
        alarm = Alarm(when, lambda: callback(*args))
        self._alarms.append(alarm)
        return alarm

    @property
    def alarms(self) -> list[float]:
        """In how many seconds each timer that is set will ring."""
        return sorted(alarm.when - self._now for alarm in self._alarms if not alarm.cancelled)

    def advance(self, seconds: float) -> None:
        """Let time pass; every timer rings at its own time."""
        until = self._now + seconds
        while due := [a for a in self._alarms if not a.cancelled and a.when <= until]:
            alarm = min(due, key=lambda a: a.when)
            self._alarms.remove(alarm)
            self._now = max(self._now, alarm.when)
            alarm.ring()
        self._now = until


class Signal:
    """A callback that a test can wait for."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def __call__(self) -> None:
        self.count += 1
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is true; it is looked at after every call."""
        async with asyncio.timeout(LIMIT):
            while not condition():
                future = asyncio.get_running_loop().create_future()
                self._waiting.add(future)
                try:
                    await future
                finally:
                    self._waiting.discard(future)


# --- SSH ------------------------------------------------------------------------------------------


class FakeChannel:
    """The far end of one client: what it hears, and what it says."""

    def __init__(self, end: ChannelEnd, connect: Address | None, origin: Origin, signal: Signal) -> None:
        self.end = end
        self.connect = connect
        self.origin = origin
        self.received = bytearray()
        self.eof = False  #: the client has sent its last byte
        self.paused = False
        self.aborted = False
        self._gone = False
        self._signal = signal

    def open(self) -> None:
        self.end.connection_made(self)

    # what our side calls

    def write(self, data: bytes | memoryview, /) -> None:
        self.received += data
        self._signal()

    def write_eof(self) -> None:
        self.eof = True
        self._signal()

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        asyncio.get_running_loop().call_soon(self.lose)

    def abort(self) -> None:
        self.aborted = True
        asyncio.get_running_loop().call_soon(self.lose)

    # what a test calls

    async def heard(self, data: bytes) -> None:
        """Wait until all of this, and nothing else, has come."""
        await self._signal.until(lambda: len(self.received) >= len(data))
        assert bytes(self.received) == data

    def say(self, data: bytes) -> None:
        self.end.data_received(data, None)

    def lose(self) -> None:
        """The channel is gone, with the connection or without it; asyncssh often gives no error for it."""
        if not self._gone:
            self._gone = True
            self.end.connection_lost(None)
            self._signal()


class FakeRemoteListener:
    """A listening address on a server that is none."""

    def __init__(self, address: Address, acceptor: Acceptor, port: int) -> None:
        self.address = address
        self.acceptor = acceptor
        self.port = port

    async def aclose(self) -> None:
        pass


class FakeConnection:
    """A connection that the test cuts, and whose server does as the test says."""

    def __init__(self, on_lost: OnLost) -> None:
        self.cipher: str | None = "fake-cipher"
        self.rtt_ms: float | None = 1.5
        self.local_address: str | None = "192.0.2.10"
        self.peer_address: str | None = "198.51.100.1"
        self.probes: list[float] = []  #: the limit of each
        self.answers = asyncio.Event()  #: set: a probe is answered; otherwise its time is over at once
        self.answers.set()
        self.outages: list[bool] = []  #: what it was told to expect
        self.channels: list[FakeChannel] = []
        self.listeners: list[FakeRemoteListener] = []
        self.asked: list[Address] = []  #: what it was asked to listen on, every time
        self.listen_error: Exception | None = None
        self.listening_allowed = asyncio.Event()
        self.listening_allowed.set()
        self.dial_error: DialError | None = None
        self.closes = 0
        self.close_error: Exception | None = None
        self.close_allowed = asyncio.Event()
        self.close_allowed.set()
        self.signal = Signal()
        self._on_lost = on_lost
        self._gone = False
        self._seen = 0

    # what our side calls

    def open_channel(self, end: ChannelEnd, connect: Address, origin: Origin, then: Outcome, /) -> None:
        asyncio.get_running_loop().call_soon(self._open_channel, end, connect, origin, then)

    def _open_channel(self, end: ChannelEnd, connect: Address, origin: Origin, then: Outcome) -> None:
        if self._gone:
            then(LinkLost("the connection is gone"))
            return
        if self.dial_error is not None:
            then(self.dial_error)
            return
        channel = FakeChannel(end, connect, origin, self.signal)
        self.channels.append(channel)
        channel.open()
        then(None)
        self.signal()

    async def listen(self, address: Address, acceptor: Acceptor) -> FakeRemoteListener:
        self.asked.append(address)
        self.signal()
        await self.listening_allowed.wait()
        if self._gone:
            raise LinkLost("the connection is gone")
        if self.listen_error is not None:
            raise self.listen_error
        port = address.port if isinstance(address, TcpAddress) else 0
        listener = FakeRemoteListener(address, acceptor, port or 40_001)
        self.listeners.append(listener)
        return listener

    async def probe(self, limit: float) -> bool:
        self.probes.append(limit)
        self.signal()
        return self.answers.is_set()

    def expect_outage(self, expected: bool, /) -> None:
        self.outages.append(expected)

    async def aclose(self) -> None:
        self.closes += 1
        self._gone = True
        self.signal()
        await self.close_allowed.wait()
        for channel in self.channels:
            channel.lose()
        if self.close_error is not None:
            raise self.close_error

    # what a test calls

    def lose(self, error: TunnelsError | None = None) -> None:
        """Cut it, in the order in which asyncssh tells of it."""
        self._gone = True
        open_channels = [channel for channel in self.channels if not channel._gone]
        for channel in open_channels:
            channel.end.link_lost()
        for channel in open_channels:
            channel.lose()
        self._on_lost(error or ConnectionLost("the connection was reset"))

    async def next_channel(self) -> FakeChannel:
        """Wait for the next client."""
        await self.signal.until(lambda: len(self.channels) > self._seen)
        self._seen += 1
        return self.channels[self._seen - 1]


class FakeRoutes:
    """A routing table in the hands of the test."""

    def __init__(self) -> None:
        self.path: Path | None = Path("192.0.2.10", 2, "192.0.2.1")
        self.addresses = {"192.0.2.10"}
        self.dead_links: set[int] = set()
        self.asked: list[tuple[str, ...]] = []
        self.closes = 0

    def paths(self, addresses: tuple[str, ...], /) -> tuple[Path, ...]:
        self.asked.append(addresses)
        return () if self.path is None else (self.path,)

    def has_address(self, address: str, /) -> bool:
        return address in self.addresses

    def link_works(self, interface: int, /) -> bool:
        return interface not in self.dead_links

    def close(self) -> None:
        self.closes += 1


class Attempt:
    """One attempt to connect, which ends as and when the test says."""

    def __init__(self, profile: Profile, on_lost: OnLost, dialogue: Dialogue, *, deaf: bool) -> None:
        self.dialogue = dialogue
        self.profile = profile
        self.on_lost = on_lost
        self.cancelled = False
        self._deaf = deaf
        self._outcome: asyncio.Future[FakeConnection] = asyncio.get_running_loop().create_future()

    async def wait(self) -> FakeConnection:
        while True:
            try:
                return await asyncio.shield(self._outcome)
            except asyncio.CancelledError:
                self.cancelled = True
                if not self._deaf or self._outcome.cancelled():
                    raise

    def succeed(self) -> FakeConnection:
        connection = FakeConnection(self.on_lost)
        self._outcome.set_result(connection)
        return connection

    def fail(self, error: Exception) -> None:
        self._outcome.set_exception(error)

    def break_off(self) -> None:
        """End as cancelled, although nobody has cancelled it."""
        self._outcome.cancel()


class FakeConnector:
    """Makes connections as the test says; with ``willing`` every one, and at once.

    With ``deaf`` an attempt does not end when it is cancelled.
    """

    def __init__(self, *, willing: bool = False, deaf: bool = False) -> None:
        self.attempts: list[Attempt] = []
        self.connections: list[FakeConnection] = []  #: of a willing one
        self.willing = willing
        self.addresses: tuple[str, ...] = ("198.51.100.1",)  #: that the name of the host stands for
        self._deaf = deaf
        self._seen = 0
        self._signal = Signal()

    async def __call__(
        self, profile: Profile, on_lost: OnLost, on_found: OnFound, dialogue: Dialogue, **_: object
    ) -> FakeConnection:
        attempt = Attempt(profile, on_lost, dialogue, deaf=self._deaf)
        on_found(self.addresses)
        self.attempts.append(attempt)
        if self.willing:
            self.connections.append(attempt.succeed())
        self._signal()
        return await attempt.wait()

    async def next_attempt(self) -> Attempt:
        """Wait for the next attempt that no test has seen yet."""
        await self._signal.until(lambda: len(self.attempts) > self._seen)
        self._seen += 1
        return self.attempts[self._seen - 1]


# --- programs -------------------------------------------------------------------------------------


class Client:
    """A program that uses a forward."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, port: int) -> AsyncIterator[Client]:
        """Connect to a port of this machine."""
        async with asyncio.timeout(LIMIT):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(LIMIT):
            return await self._reader.readexactly(count)

    async def end(self) -> str:
        """Wait for the end: ``reset``, or ``eof`` after whatever came before it."""
        try:
            async with asyncio.timeout(LIMIT):
                await self._reader.read()
        except ConnectionResetError:
            return "reset"
        return "eof"


# --- what the user wrote --------------------------------------------------------------------------


def local(port: int, *, name: str | None = None) -> Forward:
    return Forward(ForwardKind.LOCAL, TcpAddress(LOOPBACK, port), TcpAddress("db.internal", 5432), name)


def remote(port: int, *, connect_port: int = 22) -> Forward:
    return Forward(ForwardKind.REMOTE, TcpAddress(None, port), TcpAddress(LOOPBACK, connect_port))


def dynamic(port: int) -> Forward:
    return Forward(ForwardKind.DYNAMIC, TcpAddress(LOOPBACK, port))
