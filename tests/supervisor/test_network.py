"""The network and the clocks are watched: one call for each burst of changes, and one after sleep."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import FakeRoutes
from tunnels.core.path import NetworkChange, Path
from tunnels.supervisor.network import (
    DEBOUNCE,
    SLEEP,
    TICK,
    NetworkMonitor,
    RoutingSocket,
    system_events,
    system_routes,
)
from tunnels.supervisor.routes import ANYWHERE, SocketRoutes

NINE = 1_795_165_200.0


class FakeEvents:
    """News from the test."""

    def __init__(self) -> None:
        self.news: list[NetworkChange | None] = []
        self.closed = False

    def fileno(self) -> int:
        return 999

    def read(self) -> NetworkChange | None:
        return self.news.pop(0)

    def close(self) -> None:
        self.closed = True


class FakeLoop:
    """As much of an event loop as a monitor needs; its time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.readers: dict[int, Any] = {}

    def call_later(self, seconds: float, callback: Any) -> Timer:
        timer = Timer(self.now + seconds, callback)
        self.timers.append(timer)
        return timer

    def add_reader(self, number: int, callback: Any) -> None:
        self.readers[number] = callback

    def remove_reader(self, number: int) -> None:
        del self.readers[number]

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while due := [timer for timer in self.timers if timer.when <= until and not timer.cancelled]:
            timer = min(due, key=lambda timer: timer.when)
            self.timers.remove(timer)
            self.now = max(self.now, timer.when)
            timer.callback()
        self.now = until


class Timer:
    def __init__(self, when: float, callback: Any) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Watch:
    """A monitor that has begun, and everything around it."""

    def __init__(self, events: FakeEvents | None, *, linux: bool = False) -> None:
        self.events = events
        self.asleep = 0.0  #: how long the machine slept, by the clock that goes on meanwhile
        self.loop = FakeLoop()
        self.routes = FakeRoutes()
        self.heard: list[NetworkChange] = []
        self.ahead = 0.0  #: the wall clock, of where it would be
        self.stopped = 0.0  #: how long this process did not run, by the monotonic clock
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio, "get_running_loop", lambda: self.loop)
            self.monitor = NetworkMonitor(
                self.heard.append,
                events=events,
                routes=self.routes,
                wall_clock=lambda: NINE + self.loop.now + self.ahead + self.stopped,
                monotonic=lambda: 77.0 + self.loop.now + self.stopped,
                boottime=(lambda: 99.0 + self.loop.now + self.stopped + self.asleep) if linux else None,
            )
            self.monitor.start()

    def tell(self, *news: NetworkChange | None) -> None:
        """Let these be read, one after the other."""
        assert self.events is not None
        for each in news:
            self.events.news.append(each)
            self.loop.readers[self.events.fileno()]()

    def tick(self, count: int = 1) -> None:
        self.loop.advance(count * TICK)

    def settle(self) -> None:
        """Let a burst be over."""
        self.loop.advance(DEBOUNCE)

    def close(self) -> None:
        self.monitor.close()


@pytest.fixture
def watch() -> Iterator[Watch]:
    with contextlib.closing(Watch(FakeEvents())) as watch:
        yield watch


@pytest.fixture
def looking() -> Iterator[Watch]:
    """Where nobody tells of changes."""
    with contextlib.closing(Watch(None)) as watch:
        yield watch


# --- changes that are told ------------------------------------------------------------------------


def test_a_change_is_told_within_a_tenth_of_a_second(watch: Watch) -> None:
    watch.tell(NetworkChange(interfaces=frozenset({2})))
    assert watch.heard == []
    watch.settle()
    assert watch.heard == [NetworkChange(interfaces=frozenset({2}))]


def test_a_burst_is_one_change_with_everything_in_it(watch: Watch) -> None:
    """A new Wi-Fi is a link, some addresses and some routes."""
    for index in range(50):
        watch.tell(NetworkChange(interfaces=frozenset({index % 3})), NetworkChange())
        watch.loop.advance(DEBOUNCE / 100)
    watch.settle()
    assert watch.heard == [NetworkChange(interfaces=frozenset({0, 1, 2}))]


def test_a_network_that_never_comes_to_rest_is_told_all_the_same(watch: Watch) -> None:
    for _ in range(100):
        watch.tell(NetworkChange())
        watch.loop.advance(DEBOUNCE / 10)
    assert 9 <= len(watch.heard) <= 10


def test_the_next_burst_begins_with_nothing_of_the_last(watch: Watch) -> None:
    watch.tell(NetworkChange(interfaces=frozenset({2}), missed=True))
    watch.settle()
    watch.tell(NetworkChange(interfaces=frozenset({3})))
    watch.settle()
    assert watch.heard[1:] == [NetworkChange(interfaces=frozenset({3}))]


def test_news_that_mean_nothing_are_not_told(watch: Watch) -> None:
    watch.tell(None, None)
    watch.tick(3)
    assert watch.heard == []


def test_what_is_told_anyway_is_not_looked_for_too(watch: Watch) -> None:
    watch.routes.asked.clear()
    watch.routes.path = None
    watch.tick(3)
    assert (watch.heard, watch.routes.asked) == ([], [])


# --- sleep ----------------------------------------------------------------------------------------


def test_time_that_passes_as_it_should_is_no_sleep(watch: Watch) -> None:
    watch.tick(100)
    assert watch.heard == []


def test_a_wall_clock_that_has_gone_on_alone_is_a_machine_that_slept(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """The other clock stands still meanwhile."""
    caplog.set_level(logging.INFO)
    watch.tick()
    watch.ahead = 3600.0
    watch.tick()
    watch.settle()
    assert watch.heard == [NetworkChange(slept=3600.0 + TICK)]
    assert "the machine, or this process, slept for 3602 s" in caplog.messages


def test_a_tick_that_comes_much_too_late_is_a_process_that_was_stopped(watch: Watch) -> None:
    watch.tick()
    watch.stopped = 60.0
    watch.tick()
    watch.settle()
    assert watch.heard == [NetworkChange(slept=60.0 + TICK)]


def test_sleep_is_told_once(watch: Watch) -> None:
    watch.ahead, watch.stopped = 3600.0, 60.0
    watch.tick(20)
    assert len(watch.heard) == 1
    watch.ahead = 7200.0
    watch.tick(20)
    assert len(watch.heard) == 2


def test_a_clock_that_is_set_back_is_nothing(watch: Watch) -> None:
    watch.ahead = -3600.0
    watch.tick(3)
    assert watch.heard == []


def test_a_clock_that_is_set_back_does_not_hide_that_the_process_was_stopped(watch: Watch) -> None:
    watch.ahead, watch.stopped = -3600.0, 60.0
    watch.tick()
    watch.settle()
    assert watch.heard == [NetworkChange(slept=60.0 + TICK)]
    assert watch.heard[0].concerns(())


@pytest.mark.parametrize("seconds", [0.3, SLEEP - 0.1])
def test_a_clock_that_is_put_right_and_a_busy_machine_are_no_sleep(watch: Watch, seconds: float) -> None:
    watch.ahead = seconds
    watch.tick(2)
    watch.stopped = seconds
    watch.tick(2)
    assert watch.heard == []


def test_sleep_and_what_changed_meanwhile_are_one_change(watch: Watch) -> None:
    watch.ahead = 3600.0
    watch.tick()
    watch.tell(NetworkChange(interfaces=frozenset({2})))
    watch.settle()
    assert watch.heard == [NetworkChange(slept=3600.0 + TICK, interfaces=frozenset({2}))]


# --- changes that are looked for ------------------------------------------------------------------


def test_where_nobody_tells_of_changes_another_way_out_is_found(looking: Watch) -> None:
    looking.tick(3)
    assert looking.heard == []
    looking.routes.path = Path("198.51.100.10")
    looking.tick()
    looking.settle()
    assert looking.heard == [NetworkChange()]
    assert set(looking.routes.asked) == {ANYWHERE}


def test_a_way_out_that_goes_and_comes_back_are_two_changes_and_no_more(looking: Watch) -> None:
    looking.routes.path = None
    looking.tick(5)
    looking.routes.path = Path("192.0.2.10", 2, "192.0.2.1")
    looking.tick(5)
    assert looking.heard == [NetworkChange(), NetworkChange()]


def test_sleep_is_noticed_there_too(looking: Watch) -> None:
    looking.ahead = 100.0
    looking.tick(2)
    assert looking.heard == [NetworkChange(slept=100.0 + TICK)]


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False])
def test_after_the_end_nothing_is_told_and_nothing_is_left(told: bool) -> None:
    watch = Watch(FakeEvents() if told else None)
    if told:
        watch.tell(NetworkChange())
    else:
        watch.routes.path = None
        watch.tick()
    watch.monitor.close()
    watch.ahead = 3600.0
    watch.tick(5)
    assert watch.heard == []
    assert watch.loop.readers == {}
    assert all(timer.cancelled for timer in watch.loop.timers)
    assert watch.routes.closes == 1
    if watch.events is not None:
        assert watch.events.closed


def test_closing_twice_is_closing_once(watch: Watch) -> None:
    watch.monitor.close()
    watch.monitor.close()
    assert watch.loop.readers == {}


def test_with_a_clock_that_goes_on_in_sleep_a_clock_that_is_set_is_no_sleep() -> None:
    watch = Watch(FakeEvents(), linux=True)
    watch.ahead = 3600.0
    watch.loop.advance(TICK + DEBOUNCE)
    assert watch.heard == [NetworkChange(clock_set=3600.0)]


def test_with_such_a_clock_sleep_is_told_from_a_busy_machine_too() -> None:
    watch = Watch(FakeEvents(), linux=True)
    watch.ahead = watch.asleep = 3600.0
    watch.loop.advance(TICK + DEBOUNCE)
    assert watch.heard == [NetworkChange(slept=3600.0 + TICK)]
    watch.stopped = 60.0
    watch.loop.advance(TICK + DEBOUNCE)
    assert watch.heard[1:] == [NetworkChange(slept=60.0 + TICK)]


def test_a_machine_that_slept_and_whose_clock_is_set_afterwards_is_told_both() -> None:
    watch = Watch(FakeEvents(), linux=True)
    watch.asleep = 3600.0
    watch.ahead = 3700.0
    watch.loop.advance(TICK + DEBOUNCE)
    assert watch.heard == [NetworkChange(slept=3600.0 + TICK, clock_set=100.0)]


async def test_on_a_real_loop_a_message_becomes_a_call() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    class Pair(FakeEvents):
        def fileno(self) -> int:
            return ours.fileno()

        def read(self) -> NetworkChange | None:
            return NetworkChange(missed=ours.recv(100) == b"news")

    heard: asyncio.Queue[NetworkChange] = asyncio.Queue()
    with ours, theirs:
        monitor = NetworkMonitor(heard.put_nowait, events=Pair(), routes=FakeRoutes())
        with contextlib.closing(monitor):
            monitor.start()
            theirs.send(b"news")
            assert await heard.get() == NetworkChange(missed=True)


# --- what the system offers -----------------------------------------------------------------------


class FakeRoutingSocket:
    def __init__(self, *reads: OSError | bytes) -> None:
        self.reads = list(reads)
        self.closed = False

    def __call__(self, *_: int) -> FakeRoutingSocket:
        return self

    def setblocking(self, blocking: bool) -> None:
        assert not blocking

    def recv(self, size: int) -> bytes:
        found = self.reads.pop(0) if self.reads else BlockingIOError()
        if isinstance(found, OSError):
            raise found
        return found

    def fileno(self) -> int:
        return 9

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("reads", "change"),
    [
        ((), None),
        ((b"message", b"message"), NetworkChange()),
        ((b"message", OSError(errno.ENOBUFS, "full")), NetworkChange(missed=True)),
    ],
)
def test_on_macos_every_message_of_the_routing_socket_is_a_reason_to_look(
    monkeypatch: pytest.MonkeyPatch, reads: tuple[OSError | bytes, ...], change: NetworkChange | None
) -> None:
    fake = FakeRoutingSocket(*reads)
    monkeypatch.setattr(socket, "socket", fake)
    events = RoutingSocket()
    assert events.fileno() == 9
    assert events.read() == change
    assert fake.reads == []
    events.close()
    assert fake.closed


def test_a_system_without_netlink_is_listened_to_by_its_routing_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    monkeypatch.setattr(socket, "socket", FakeRoutingSocket())
    assert isinstance(system_events(), RoutingSocket)
    assert type(system_routes()) is SocketRoutes


def test_where_nobody_may_listen_it_is_said_and_changes_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: int, **__: int) -> socket.socket:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", refused)
    assert system_events() is None
    assert type(system_routes()) is SocketRoutes
    assert "changes of the network cannot be heard (Operation not permitted); they are looked for" in (
        caplog.messages
    )


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="netlink is Linux's")
def test_on_linux_the_kernel_tells_and_is_asked() -> None:
    events, routes = system_events(), system_routes()
    assert events is not None
    assert (type(events).__name__, type(routes).__name__) == ("NetlinkEvents", "NetlinkRoutes")
    events.close()
    routes.close()
