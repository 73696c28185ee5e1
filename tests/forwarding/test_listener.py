"""Listening sockets: on which addresses, who has them if not we, and that they go away."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import psutil
import pytest

from tests.e2e.bed.ports import LOOPBACK, free_port, has_ipv6, in_use
from tests.forwarding import fakes
from tests.forwarding.fakes import connect, turns, until
from tunnels.core.address import EVERY_INTERFACE, TcpAddress
from tunnels.errors import ListenError
from tunnels.forwarding import listener as listeners
from tunnels.forwarding.listener import Listener
from tunnels.open_files import OpenFiles

every_loop = fakes.every_loop
pytestmark = [
    pytest.mark.usefixtures("every_loop"),
    pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback"),
]


class Clients:
    """The protocols of everybody who has connected."""

    def __init__(self) -> None:
        self.transports: list[asyncio.Transport] = []

    def new(self) -> asyncio.Protocol:
        clients = self

        class Client(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                clients.transports.append(cast("asyncio.Transport", transport))

        return Client()


@asynccontextmanager
async def listening(address: TcpAddress, clients: Clients | None = None) -> AsyncIterator[Listener]:
    clients = clients or Clients()
    listener = await Listener.bind(address, clients.new)
    try:
        yield listener
    finally:
        listener.close()
        for transport in clients.transports:
            transport.close()
        await turns(3)


def bound(listener: Listener) -> set[str]:
    """The addresses that a listener listens on."""
    return {sock.getsockname()[0] for server in listener._servers for sock in server.sockets}


def open_files() -> int:
    """How many files and sockets this process has open."""
    return psutil.Process().num_fds()


def elsewhere() -> str | None:
    """An address of this machine that is not loopback, if it has one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks for the route
        except OSError:
            return None
        host = str(probe.getsockname()[0])
    return None if host.startswith("127.") else host


def reaches(port: int, host: str) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


# --- where ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [None, "localhost"])
async def test_without_a_bind_address_it_listens_on_both_loopback_addresses_and_nowhere_else(
    host: str | None,
) -> None:
    port = free_port()
    async with listening(TcpAddress(host, port)) as listener:
        assert listener.port == port
        assert bound(listener) == {LOOPBACK, "::1"}
        assert reaches(port, LOOPBACK)
        assert reaches(port, "::1")
        assert not reaches(port, "127.0.0.2")
        if (other := elsewhere()) is not None:
            assert not reaches(port, other)


async def test_a_star_listens_on_every_interface_of_both_families() -> None:
    port = free_port()
    async with listening(TcpAddress(EVERY_INTERFACE, port)) as listener:
        assert bound(listener) == {"0.0.0.0", "::"}
        assert reaches(port, LOOPBACK)
        assert reaches(port, "::1")
        if (other := elsewhere()) is not None:
            assert reaches(port, other)


@pytest.mark.parametrize("host", [LOOPBACK, "::1", "0.0.0.0", "::"])
async def test_an_address_is_listened_on_and_no_other(host: str) -> None:
    async with listening(TcpAddress(host, free_port())) as listener:
        assert bound(listener) == {host}


async def test_the_ipv6_wildcard_alone_does_not_take_the_ipv4_port() -> None:
    port = free_port()
    async with listening(TcpAddress("::", port)):
        assert not reaches(port, LOOPBACK)


async def test_a_name_that_is_unknown_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", unknown)
    with pytest.raises(ListenError, match="elsewhere is not an address of this machine") as caught:
        await Listener.bind(TcpAddress("elsewhere", 5432), asyncio.Protocol)
    assert "loopback" in (caught.value.hint or "")


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
async def test_a_name_that_cannot_be_one_is_an_error_like_an_unknown_one(host: str) -> None:
    with pytest.raises(ListenError, match="is not an address of this machine"):
        await Listener.bind(TcpAddress(host, free_port()), asyncio.Protocol)


async def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(ListenError, match=r"203\.0\.113\.1 is not an address of this machine"):
        await Listener.bind(TcpAddress("203.0.113.1", free_port()), asyncio.Protocol)


async def test_a_machine_without_ipv6_listens_on_ipv4_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = listeners._bind

    def without_ipv6(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
        if family is socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        return real(family, host, port)

    monkeypatch.setattr(listeners, "_bind", without_ipv6)
    async with listening(TcpAddress(None, free_port())) as listener:
        assert bound(listener) == {LOOPBACK}


# --- clients --------------------------------------------------------------------------------------


async def test_every_client_gets_a_protocol_of_its_own() -> None:
    clients = Clients()
    async with listening(TcpAddress(None, free_port()), clients) as listener:
        with connect(listener.port), connect(listener.port, "::1"):
            await until(lambda: len(clients.transports) == 2)


# --- ports that somebody else has -----------------------------------------------------------------


async def test_a_port_that_another_tunnel_has_says_so() -> None:
    async with listening(TcpAddress(None, free_port())) as first:
        with pytest.raises(ListenError, match=f"port {first.port} is in use by another tunnel"):
            await Listener.bind(TcpAddress(None, first.port), asyncio.Protocol)


@pytest.mark.parametrize("host", [LOOPBACK, "::1"])
async def test_a_port_that_is_taken_on_one_address_is_not_listened_on_at_the_other(host: str) -> None:
    port = free_port()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        before = open_files()
        with pytest.raises(ListenError, match="is in use"):
            await Listener.bind(TcpAddress(None, port), asyncio.Protocol)
        assert open_files() == before
        assert not reaches(port, "::1" if host == LOOPBACK else LOOPBACK)


async def test_a_port_that_needs_a_privilege_names_a_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> socket.socket:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(listeners, "_bind", denied)  # root, whom a test may be, is refused no port
    with pytest.raises(ListenError, match="port 1023 needs a privilege") as caught:
        await Listener.bind(TcpAddress(None, 1023), asyncio.Protocol)
    assert "is free" in (caught.value.hint or "")


async def test_a_failure_after_binding_leaks_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    kind = type(asyncio.get_running_loop())
    real: Any = kind.create_server
    calls = 0

    async def fails_at_the_second_address(*args: Any, **keys: Any) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return await real(*args, **keys)

    async with listening(TcpAddress(None, port)):
        pass  # a first listener costs uvloop a descriptor that it keeps
    before = open_files()
    monkeypatch.setattr(kind, "create_server", fails_at_the_second_address)
    with pytest.raises(ListenError, match="Too many open files"):
        await Listener.bind(TcpAddress(None, port), asyncio.Protocol)
    assert calls == 2
    await turns()  # uvloop closes with the next turn
    assert open_files() == before
    assert not in_use(port)


@pytest.mark.parametrize("moments", range(5))
async def test_listening_can_be_cancelled_at_any_moment_without_leaving_a_socket(moments: int) -> None:
    port = free_port()
    binding = asyncio.get_running_loop().create_task(Listener.bind(TcpAddress(None, port), asyncio.Protocol))
    await turns(moments)
    binding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        (await binding).close()  # it was faster
    await turns()
    assert not in_use(port)
    async with listening(TcpAddress(None, port)) as listener:
        assert reaches(listener.port, LOOPBACK)


async def test_a_port_that_clients_have_just_left_can_be_bound_at_once() -> None:
    clients = Clients()
    port = free_port()
    async with listening(TcpAddress(None, port), clients):
        with connect(port) as peer:
            await until(lambda: clients.transports)
            clients.transports[0].close()  # we close first, so the TIME_WAIT is at our port
            await peer.rest()
    async with listening(TcpAddress(None, port)) as again:
        assert reaches(again.port, LOOPBACK)


# --- closing --------------------------------------------------------------------------------------


async def test_closing_frees_the_port_at_once_and_a_second_time_does_nothing() -> None:
    port = free_port()
    async with listening(TcpAddress(None, port)) as listener:
        listener.close()
        await turns(3)
        assert not in_use(port)
        async with listening(TcpAddress(None, port)):
            listener.close()
            await turns(3)
            assert reaches(port, LOOPBACK)


async def test_closing_keeps_the_clients_that_are_connected() -> None:
    clients = Clients()
    async with listening(TcpAddress(None, free_port()), clients) as listener:
        with connect(listener.port) as peer:
            await until(lambda: clients.transports)
            listener.close()
            await turns()
            clients.transports[0].write(b"still here")
            assert await peer.receive(10) == b"still here"


def test_the_queue_of_the_kernel_is_long_enough_for_a_browser() -> None:
    assert listeners.BACKLOG >= 128


# --- no room --------------------------------------------------------------------------------------


async def test_a_client_that_there_is_no_room_for_is_reset_and_counted_and_the_next_one_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = OpenFiles()
    full = [True]
    monkeypatch.setattr(files, "none_left", lambda: full[0])
    monkeypatch.setattr("tunnels.open_files.ours", files)
    clients = Clients()
    async with listening(TcpAddress(LOOPBACK, free_port()), clients) as listener:
        with connect(listener.port) as peer, pytest.raises(ConnectionResetError):
            await peer.receive(1)
        assert (files.turned_away, clients.transports) == (1, [])
        full[0] = False
        with connect(listener.port):
            await until(lambda: clients.transports)
        assert files.turned_away == 1


async def test_clients_wait_in_the_queue_of_the_system_while_we_are_busy() -> None:
    clients = Clients()
    async with listening(TcpAddress(LOOPBACK, free_port()), clients) as listener:
        with contextlib.ExitStack() as waiting:
            for _ in range(100):  # without giving the event loop a turn
                waiting.enter_context(socket.create_connection((LOOPBACK, listener.port), timeout=5))
            await until(lambda: len(clients.transports) == 100)
