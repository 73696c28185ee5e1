"""Why a port cannot be had, in words that help."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.bed.ports import LOOPBACK, free_port
from tunnels.core.address import TcpAddress
from tunnels.errors import ListenError
from tunnels.forwarding import ports
from tunnels.forwarding.listener import Listener
from tunnels.forwarding.ports import explain_bind_failure, free_port_like, port_owner, socket_owner

IN_USE = OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
DENIED = PermissionError(errno.EACCES, os.strerror(errno.EACCES))

HOLDER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another_process_on(port: int) -> Iterator[int]:
    """Listen in a child process; gives its pid."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOLDER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"listening\n"
        yield child.pid  # closing its stdin, which leaving does, ends it


async def test_a_port_that_another_process_holds_names_it() -> None:
    port = free_port()
    with another_process_on(port) as pid:
        name = psutil.Process(pid).name()
        assert port_owner(port) == (name, pid)
        error = await explain_bind_failure(IN_USE, TcpAddress(None, port))
    assert isinstance(error, ListenError)
    assert error.message == f"port {port} is in use by {name} (pid {pid})"
    assert error.hint == f"end it (`kill {pid}`), or listen on another port"


async def test_a_port_that_this_process_holds_is_another_tunnel_of_ours() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        error = await explain_bind_failure(IN_USE, TcpAddress(None, port))
    assert error.message == f"port {port} is in use by another tunnel"
    assert "tunnels status" in (error.hint or "")


async def test_a_tunnel_of_ours_that_is_in_the_way_is_named_for_as_long_as_it_listens() -> None:
    listener = await Listener.bind(TcpAddress(None, free_port()), asyncio.Protocol, "work-db")
    error = await explain_bind_failure(IN_USE, TcpAddress(None, listener.port))
    listener.close()
    listener.close()
    assert error.message == f"port {listener.port} is in use by the tunnel work-db"
    assert error.hint == "`tunnels down work-db`, or listen on another port"
    with socket.create_server((LOOPBACK, listener.port)):
        error = await explain_bind_failure(IN_USE, TcpAddress(None, listener.port))
    assert error.message == f"port {listener.port} is in use by another tunnel"


@pytest.mark.parametrize(
    ("words", "who", "what"),
    [
        (("tunnels", "--config", "p.toml", "daemon", "run"), "the tunnels daemon", "`tunnels status` shows"),
        (("tunnels", "up", "-f", "home"), "another `tunnels`", "end it (`kill"),
    ],
)
async def test_another_process_of_ours_is_named_as_what_it_is(
    home: Path, words: tuple[str, ...], who: str, what: str
) -> None:
    port = free_port()
    program = home / words[0]
    program.write_text(HOLDER.replace("sys.argv[1]", str(port)))
    with subprocess.Popen(
        [sys.executable, program, *words[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"listening\n"
        error = await explain_bind_failure(IN_USE, TcpAddress(None, port))
        child.communicate()
    assert error.message == f"port {port} is in use by {who} (pid {child.pid})"
    assert (error.hint or "").startswith(what)


async def test_a_port_whose_owner_cannot_be_seen_belongs_to_somebody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "port_owner", lambda _: None)
    error = await explain_bind_failure(IN_USE, TcpAddress(None, 5432))
    assert error.message == "port 5432 is in use by another user's process"
    assert "sudo lsof -i :5432" in (error.hint or "")


@pytest.mark.parametrize("failure", [psutil.AccessDenied(1), PermissionError("no /proc")])
def test_where_the_system_does_not_say_who_holds_a_port_nobody_is_named(
    failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(kind: str) -> None:
        raise failure

    monkeypatch.setattr(psutil, "net_connections", refuse)
    assert port_owner(5432) is None


def test_a_holder_that_ends_while_it_is_being_named_is_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(pid: int) -> None:
        raise psutil.NoSuchProcess(pid)

    with socket.create_server((LOOPBACK, 0)) as server:
        monkeypatch.setattr(psutil, "Process", ended)
        assert port_owner(server.getsockname()[1]) == ("a process", os.getpid())


def test_a_client_of_a_port_is_not_its_owner() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        address = server.getsockname()
        with socket.create_connection(address) as client:
            assert port_owner(client.getsockname()[1]) is None
    assert port_owner(address[1]) is None


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
async def test_a_port_that_needs_a_privilege_names_a_free_one_that_needs_none(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "free_port_like", lambda port: port + 8000)
    error = await explain_bind_failure(OSError(number, "no"), TcpAddress(None, 80))
    assert error.message == "port 80 needs a privilege: ports below 1024 are reserved"
    assert error.hint == "port 8080 is free"


async def test_a_port_that_needs_a_privilege_has_a_hint_even_if_no_port_like_it_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "free_port_like", lambda _: None)
    error = await explain_bind_failure(DENIED, TcpAddress(None, 80))
    assert error.hint == "listen on a port above 1024"


async def test_a_permission_that_has_nothing_to_do_with_the_number_is_not_blamed_on_it() -> None:
    error = await explain_bind_failure(DENIED, TcpAddress(None, 5432))
    assert error.message == "cannot listen on 5432: Permission denied"


def test_the_free_port_is_one_that_can_be_remembered_and_really_is_free() -> None:
    port = next(number for number in range(700, 1023) if free_port_like(number) == number + 8000)
    with socket.create_server((LOOPBACK, port + 8000)):
        assert free_port_like(port) == port + 10_000


async def test_an_address_of_another_machine_is_said_to_be_none_of_this_one() -> None:
    missing = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
    error = await explain_bind_failure(missing, TcpAddress("203.0.113.1", 5432))
    assert error.message == "cannot listen on 203.0.113.1:5432: 203.0.113.1 is not an address of this machine"
    assert "loopback" in (error.hint or "")


async def test_any_other_failure_says_what_the_system_said() -> None:
    error = await explain_bind_failure(OSError(errno.EMFILE, "Too many open files"), TcpAddress(None, 5432))
    assert error.message == "cannot listen on 5432: Too many open files"


def test_the_owner_of_a_unix_socket_is_found_by_its_path(home: Path) -> None:
    path = str(home / "a.sock")
    assert socket_owner(path) is None
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        assert socket_owner(path) == (psutil.Process().name(), os.getpid())


def test_a_system_that_shows_no_sockets_shows_no_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(**_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    assert socket_owner("/run/a.sock") is None


def test_an_owner_of_a_unix_socket_without_a_name_is_a_process(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vanished(*_: object) -> None:
        raise psutil.NoSuchProcess(1)

    path = str(home / "a.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        monkeypatch.setattr(psutil, "Process", vanished)
        assert socket_owner(path) == ("a process", os.getpid())
