from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.daemon.served import tunnel
from tests.fakes import pass_time, turns
from tunnels.core.state import TunnelState
from tunnels.daemon.notify import Notifier, status_line
from tunnels.supervisor.bus import Bus
from tunnels.tasks import TaskScope


class Systemd:
    """The far end: a datagram socket, as systemd has it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """Everything that has been said by now, one text for each message."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(65536).decode())
        return found

    async def hears(self) -> str:
        """Wait for the next message."""
        loop = asyncio.get_running_loop()
        return (await loop.sock_recv(self.socket, 65536)).decode()


@pytest.fixture
def systemd(home: Path) -> Iterator[Systemd]:
    far = Systemd(str(home / "notify"))
    with far.socket:
        yield far


# --- what is said ---------------------------------------------------------------------------------


def test_the_status_counts_what_works() -> None:
    assert status_line(()) == "no tunnels"
    states = (TunnelState.UP, TunnelState.IDLE, TunnelState.BACKOFF, TunnelState.UP)
    assert status_line([tunnel(str(n), state) for n, state in enumerate(states)]) == "3 of 4 tunnels up"


def test_ready_a_reload_and_the_end_are_said_as_systemd_expects_it(systemd: Systemd) -> None:
    notifier = Notifier(systemd.address)
    notifier.ready("no tunnels")
    with notifier.reloading():
        (ready, reloading) = systemd.heard()
        assert ready == "READY=1\nSTATUS=no tunnels"
        first, second = reloading.split("\n")
        assert first == "RELOADING=1"
        assert second.startswith("MONOTONIC_USEC=")
        assert second.partition("=")[2].isdecimal()
    assert systemd.heard() == ["READY=1"]
    notifier.stopping()
    notifier.close()
    assert systemd.heard() == ["STOPPING=1\nSTATUS=stopping"]


def test_a_reload_that_fails_is_over_too(systemd: Systemd) -> None:
    notifier = Notifier(systemd.address)
    with pytest.raises(ZeroDivisionError), notifier.reloading():
        raise ZeroDivisionError
    assert systemd.heard()[-1] == "READY=1"
    notifier.close()


def test_no_status_can_say_anything_else(systemd: Systemd) -> None:
    notifier = Notifier(systemd.address)
    notifier.status("up\nSTOPPING=1")
    notifier.close()
    assert systemd.heard() == ["STATUS=up STOPPING=1"]


@pytest.mark.skipif(sys.platform != "linux", reason="names without a file are Linux's")
def test_a_socket_without_a_file_is_found() -> None:
    far = Systemd(f"@tunnels-test-{os.getpid()}")
    with far.socket:
        notifier = Notifier(far.address)
        notifier.status("up")
        notifier.close()
        assert far.heard() == ["STATUS=up"]


# --- who is told ----------------------------------------------------------------------------------


def test_what_systemd_has_set_is_used_once_and_not_inherited(systemd: Systemd) -> None:
    environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "60000000", "HOME": "/home/me"}
    environment["WATCHDOG_PID"] = str(os.getpid())
    notifier = Notifier.from_environment(environment)
    assert environment == {"HOME": "/home/me"}
    assert notifier.is_heard
    assert notifier._every == 30.0
    notifier.close()
    again = Notifier.from_environment(environment)
    assert not again.is_heard


@pytest.mark.parametrize(
    "set_for_us", [{}, {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}]
)
def test_a_watchdog_that_is_not_for_us_hears_nothing(set_for_us: dict[str, str], systemd: Systemd) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": systemd.address, **set_for_us})
    assert notifier._every is None
    notifier.close()


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "vsock:2:1234", "relative"])
async def test_where_nobody_listens_nothing_happens(address: str | None) -> None:
    notifier = Notifier(address, watchdog=60.0)
    notifier.ready("no tunnels")
    with notifier.reloading():
        pass
    notifier.stopping()
    notifier.close()
    notifier.status("after the end")


async def test_a_systemd_that_does_not_read_stops_nobody_and_hears_the_truth_when_it_does(
    systemd: Systemd,
) -> None:
    notifier = Notifier(systemd.address)
    for number in range(2000):  # more than a socket takes
        notifier.status(f"{number} of 2000 tunnels up")
    notifier.ready("1999 of 2000 tunnels up")
    assert 0 < len(systemd.heard()) < 2000
    notifier.status("2000 of 2000 tunnels up")
    assert systemd.heard() == ["STATUS=2000 of 2000 tunnels up\nREADY=1"]
    notifier.close()


# --- in the event loop ----------------------------------------------------------------------------


class Followed:
    """A bus, what the status is, and what follows it."""

    def __init__(self, notifier: Notifier) -> None:
        self.bus = Bus()
        self.line = "0 of 1 tunnels up"
        self.scope = TaskScope("test")
        self.scope.spawn(notifier.follow(self.bus, lambda: self.line), name="notify")

    def become(self, line: str) -> None:
        self.line = line
        self.bus.changed()


@contextlib.asynccontextmanager
async def following(systemd: Systemd, watchdog: float | None = None) -> AsyncIterator[Followed]:
    notifier = Notifier(systemd.address, watchdog)
    followed = Followed(notifier)
    try:
        yield followed
    finally:
        await followed.scope.aclose()
        notifier.close()


async def test_every_change_of_the_status_is_told_and_nothing_else(systemd: Systemd) -> None:
    async with following(systemd) as followed:
        assert await systemd.hears() == "STATUS=0 of 1 tunnels up"
        followed.become("1 of 1 tunnels up")
        assert await systemd.hears() == "STATUS=1 of 1 tunnels up"
        followed.bus.changed()
        await turns()
        followed.become("0 of 1 tunnels up")
        assert await systemd.hears() == "STATUS=0 of 1 tunnels up"


async def test_the_watchdog_hears_from_the_event_loop_twice_as_often_as_it_must(systemd: Systemd) -> None:
    async with following(systemd, watchdog=8.0) as followed:
        assert await systemd.hears() == "STATUS=0 of 1 tunnels up\nWATCHDOG=1"
        await turns()
        followed.become("1 of 1 tunnels up")
        assert await systemd.hears() == "STATUS=1 of 1 tunnels up", "it is not due yet"
        await turns()
        pass_time(4.0)
        assert await systemd.hears() == "WATCHDOG=1"
    assert systemd.heard() == []
