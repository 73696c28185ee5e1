"""The TCP connection to a server: which address, how fast, and what its socket is told."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import aiohappyeyeballs
import psutil
import pytest
import uvloop

from tests.e2e.bed.ports import LOOPBACK, RefusingPort, has_ipv6
from tests.e2e.bed.wait import eventually
from tests.forwarding import fakes
from tests.forwarding.fakes import black_hole, turns
from tunnels.errors import HostUnreachable
from tunnels.ssh import dial as dialling
from tunnels.ssh.destination import Destination
from tunnels.ssh.dial import (
    dial,
    has_lost_its_address,
    heard,
    limit_retransmission_timeout,
    shortest_round_trip,
)
from tunnels.ssh.faults import connect_error

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """See that it does not take longer than it would on a busy machine."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 2


def to(port: int, host: str = LOOPBACK, **keys: Any) -> Destination:
    return replace(Destination("work", host, port, "me"), **keys)


@contextlib.contextmanager
def server(host: str = LOOPBACK, port: int = 0) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listening:
        yield listening


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What the name of the server stands for; filled by the test."""
    found: list[tuple[str, int]] = []

    async def getaddrinfo(
        _loop: object, _host: str, _port: int, *, family: int = 0, **_: object
    ) -> list[Any]:
        result: list[Any] = []
        for host, port in found:
            kind = socket.AF_INET6 if ":" in host else socket.AF_INET
            if family in {socket.AF_UNSPEC, kind}:
                sockaddr = (host, port, 0, 0) if ":" in host else (host, port)
                result.append((kind, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr))
        return result

    for kind in (asyncio.BaseEventLoop, uvloop.Loop):
        monkeypatch.setattr(kind, "getaddrinfo", getaddrinfo)
    return found


# --- which address --------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [LOOPBACK, pytest.param("::1", marks=needs_ipv6), "localhost"])
async def test_a_server_is_reached_by_address_and_by_name(host: str) -> None:
    with server("::1" if host == "::1" else LOOPBACK) as listening:
        port = listening.getsockname()[1]
        with await dial(to(port, host)) as sock:
            assert sock.getpeername()[1] == port
            assert sock.getblocking() is False


@needs_ipv6
@pytest.mark.parametrize("works", [LOOPBACK, "::1"])
async def test_where_one_address_refuses_the_other_is_taken(
    works: str, addresses: list[tuple[str, int]]
) -> None:
    with server(works) as listening:
        port = listening.getsockname()[1]
        addresses += [("::1", port), (LOOPBACK, port)]
        with await dial(to(port, "both.example.com")) as sock:
            assert sock.getpeername()[0] == works


@needs_ipv6
async def test_an_address_that_does_not_answer_does_not_hold_up_the_other(
    addresses: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialling, "ATTEMPT_DELAY", 0.01)
    with server() as listening, black_hole("::1") as hole:
        addresses += [("::1", hole), listening.getsockname()]
        async with asyncio.timeout(1):
            with await dial(to(22, "both.example.com")) as sock:
                assert sock.getpeername() == listening.getsockname()


@needs_ipv6
@pytest.mark.parametrize(("family", "works"), [("inet", LOOPBACK), ("inet6", "::1")])
async def test_an_address_family_that_was_asked_for_is_the_only_one(
    family: Any, works: str, addresses: list[tuple[str, int]]
) -> None:
    with server() as four, server("::1", four.getsockname()[1]):
        port = four.getsockname()[1]
        addresses += [("::1", port), (LOOPBACK, port)]
        with await dial(to(port, "both.example.com", address_family=family)) as sock:
            assert sock.getpeername()[0] == works


async def test_a_bind_address_is_where_the_connection_comes_from() -> None:
    own = "127.0.0.2" if sys.platform == "linux" else LOOPBACK  # other systems have only the one
    with server() as listening, await dial(to(listening.getsockname()[1], bind_address=own)) as sock:
        assert sock.getsockname()[0] == own


# --- which addresses there are --------------------------------------------------------------------


async def test_the_addresses_are_told_before_they_are_dialled(
    addresses: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, ...]] = []

    async def connect(*_: object, **__: object) -> socket.socket:
        assert told == [("2001:db8::7", "198.51.100.7")], "each once, in the order of the resolver"
        raise ConnectionRefusedError

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", connect)
    addresses += [("2001:db8::7", 22), ("198.51.100.7", 22), ("2001:db8::7", 22)]
    with pytest.raises(ConnectionRefusedError):
        await dial(to(22, "both.example.com"), told.append)


async def test_a_name_that_is_not_found_has_no_addresses_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror):
        await dial(to(22, "nowhere.example.com"), told.append)
    assert told == []


# --- nobody there ---------------------------------------------------------------------------------


async def test_a_refused_connection_is_raised_as_such() -> None:
    with RefusingPort() as refusing, pytest.raises(ConnectionRefusedError):
        await dial(to(refusing.port))


@needs_ipv6
async def test_a_connection_that_is_refused_at_both_addresses_is_a_refused_one(
    addresses: list[tuple[str, int]],
) -> None:
    with RefusingPort() as refusing:
        addresses += [("::1", refusing.port), (LOOPBACK, refusing.port)]
        with pytest.raises(OSError) as caught:
            await dial(to(refusing.port, "both.example.com"))
        error = connect_error(caught.value, "both.example.com")
    assert isinstance(error, HostUnreachable)
    assert error.message == "both.example.com refused the connection"


async def test_an_unknown_name_is_raised_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror):
        await dial(to(22, "nowhere.example.com"))


async def test_a_server_that_does_not_answer_is_given_up_in_time() -> None:
    with black_hole() as port, soon(), pytest.raises(TimeoutError):
        await dial(to(port, connect_timeout=0.02))


async def test_a_name_server_that_does_not_answer_is_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", never)
    with soon(), pytest.raises(TimeoutError):
        await dial(to(22, "slow.example.com", connect_timeout=0.01))


async def test_without_a_limit_of_the_users_ours_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("tunnels.ssh.options.CONNECT_TIMEOUT", 0.01)
    monkeypatch.setattr(aiohappyeyeballs, "start_connection", never)
    with soon(), pytest.raises(TimeoutError):
        await dial(to(22))


async def test_an_attempt_that_is_cancelled_leaves_no_socket() -> None:
    with black_hole() as port:
        left: list[int] = []
        for _ in range(2):  # a loop may open something of its own the first time
            attempt = asyncio.get_running_loop().create_task(dial(to(port)))
            await turns()
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await turns()
            left.append(psutil.Process().num_fds())
        assert left[0] == left[1]


# --- the socket -----------------------------------------------------------------------------------


async def test_small_packets_are_sent_at_once() -> None:
    with server() as listening, await dial(to(listening.getsockname()[1])) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(sys.platform != "linux", reason="TCP_USER_TIMEOUT is Linux's")
@pytest.mark.parametrize(
    ("interval", "count", "milliseconds"), [(None, 3, 60_000), (2.5, 1, 5_000), (0.0, 3, 0)]
)
async def test_the_kernel_gives_up_when_the_keepalives_would(
    interval: float | None, count: int, milliseconds: int
) -> None:
    with server() as listening:
        destination = to(
            listening.getsockname()[1], server_alive_interval=interval, server_alive_count_max=count
        )
        with await dial(destination) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == milliseconds


@pytest.mark.parametrize("seconds", [60.0, 2.4, 0.1])
def test_on_macos_the_silence_has_the_same_bound_in_whole_seconds(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    told: list[tuple[int, ...]] = []
    monkeypatch.setattr(sys, "platform", "darwin")
    dialling._bound_silence(Told(told), seconds)
    assert told == [(socket.IPPROTO_TCP, 0x80, {60.0: 60, 2.4: 2, 0.1: 1}[seconds])]


@pytest.mark.parametrize("platform", ["linux", "darwin", "freebsd14"])
def test_without_keepalives_and_on_other_systems_the_kernels_own_bound_stays(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    told: list[tuple[int, ...]] = []
    monkeypatch.setattr(sys, "platform", platform)
    dialling._bound_silence(Told(told), 0.0 if platform in {"linux", "darwin"} else 60.0)
    assert told == []


# --- outages --------------------------------------------------------------------------------------


class Told(socket.socket):
    """A socket that notes what it is told."""

    def __init__(self, told: list[tuple[int, ...]], error: OSError | None = None) -> None:
        self._told = told
        self._error = error

    def setsockopt(self, *option: int) -> None:  # type: ignore[override]
        self._told.append(option)
        if self._error is not None:
            raise self._error


def test_in_an_outage_what_got_no_answer_is_repeated_every_second_and_not_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, ...]] = []
    monkeypatch.setattr(sys, "platform", "linux")
    limit_retransmission_timeout(Told(told), True)
    limit_retransmission_timeout(Told(told), False)
    assert told == [(socket.IPPROTO_TCP, 44, 1_000), (socket.IPPROTO_TCP, 44, 120_000)]


def test_a_kernel_that_is_older_than_that_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, ...]] = []
    monkeypatch.setattr(sys, "platform", "linux")
    limit_retransmission_timeout(Told(told, OSError(errno.ENOPROTOOPT, "Protocol not available")), True)
    assert len(told) == 1


def test_other_systems_are_left_as_they_are_too(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, ...]] = []
    monkeypatch.setattr(sys, "platform", "darwin")
    limit_retransmission_timeout(Told(told), True)
    assert told == []


async def test_a_real_socket_takes_it_or_leaves_it() -> None:
    with server() as listening, await dial(to(listening.getsockname()[1])) as sock:
        for outage in (True, False):
            limit_retransmission_timeout(sock, outage)


@pytest.mark.skipif(sys.platform != "linux", reason="the number of the option is Linux's")
async def test_what_cannot_be_sent_yet_waits_with_us_and_not_in_the_kernel() -> None:
    with server() as listening, await dial(to(listening.getsockname()[1])) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, 25) == 128 * 1024  # TCP_NOTSENT_LOWAT


async def test_packets_of_the_other_side_are_counted_also_where_they_carry_nothing() -> None:
    with (
        socket.create_server((LOOPBACK, 0)) as server,
        socket.create_connection(server.getsockname()) as here,
    ):
        there, _ = server.accept()
        with there:
            before = heard(here)
            here.send(b"x")
            there.recv(1)
            if sys.platform == "linux":
                eventually(lambda: heard(here) > before, within=5, what="the acknowledgement")
            else:
                assert heard(here) == before == 0


async def test_a_kernel_that_does_not_count_them_is_no_reason_to_end() -> None:
    class Old:
        def getsockopt(self, _level: int, _name: int, _size: int) -> bytes:
            return bytes(104)

    assert heard(cast("socket.socket", Old())) == 0
    assert shortest_round_trip(cast("socket.socket", Old())) is None


def test_the_shortest_round_trip_of_tcp_is_that_of_the_path() -> None:
    with server() as listener, socket.create_connection(listener.getsockname()) as here:
        there, _ = listener.accept()
        with there:
            here.send(b"x")
            there.recv(1)
            found = shortest_round_trip(here)
    if sys.platform == "linux":
        assert found is not None
        assert 0 < found < 1
    else:
        assert found is None


@needs_ipv6
async def test_an_address_of_one_interface_is_dialled_on_that_interface() -> None:
    """``fe80::1%eth0``; loopback has no such address here, but its number must reach the kernel."""
    found: list[tuple[str, ...]] = []
    name, number = "lo" if sys.platform == "linux" else "lo0", socket.if_nametoindex
    dialled: list[object] = []

    async def start_connection(addresses: list[Any], **_: object) -> socket.socket:
        dialled.extend(address[4] for address in addresses)
        raise OSError(errno.ENETUNREACH, "nobody there")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="nobody there"):
        patch.setattr(aiohappyeyeballs, "start_connection", start_connection)
        await dial(to(22, f"fe80::1%{name}"), found.append)
    assert dialled == [(f"fe80::1%{name}", 22, 0, number(name))]
    assert found == [(f"fe80::1%{name}",)]


async def test_an_address_that_has_left_this_machine_is_noticed_and_nothing_else_is() -> None:
    class Elsewhere(socket.socket):
        """Connected from an address for documentation (RFC 5737), which this machine has not."""

        def getsockname(self) -> tuple[str, int]:
            return "192.0.2.1", 4711

    ours, theirs = socket.socketpair()
    with ours, theirs, Elsewhere() as gone, socket.create_server((LOOPBACK, 0)) as here:
        assert has_lost_its_address(gone)
        assert not has_lost_its_address(here)
        assert not has_lost_its_address(ours), "a proxy command has no address"
    assert not has_lost_its_address(here), "a socket that is closed says nothing"


# --- what ssh_config says about the socket ----------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="SO_BINDTODEVICE is Linux's")
async def test_a_connection_leaves_through_the_interface_that_ssh_config_names() -> None:
    with server() as listening:
        sock = await dial(to(listening.getsockname()[1], bind_interface="lo"))
        with sock:
            found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16)
    assert found.rstrip(b"\0") == b"lo"


async def test_an_interface_that_is_not_there_is_named_and_waited_for() -> None:
    with server() as listening, pytest.raises(OSError, match="BindInterface nowhere7: ") as caught:
        await dial(to(listening.getsockname()[1], bind_interface="nowhere7"))
    error = connect_error(caught.value, "work")
    assert isinstance(error, HostUnreachable)
    assert "nowhere7" in error.message


@pytest.mark.parametrize("host", [LOOPBACK, pytest.param("::1", marks=needs_ipv6)])
async def test_the_quality_of_service_is_on_the_socket_from_its_first_packet(host: str) -> None:
    with server(host) as listening:
        sock = await dial(to(listening.getsockname()[1], host=host, ip_qos=0xB8))
        with sock:
            if ":" in host:
                assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 0xB8
            else:
                assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 0xB8


async def test_a_quality_that_nobody_has_chosen_is_left_to_the_system() -> None:
    with server() as listening, socket.socket() as plain, await dial(to(listening.getsockname()[1])) as sock:
        usual = plain.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == usual
