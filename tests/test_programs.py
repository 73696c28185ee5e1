from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import psutil
import pytest

from tests.e2e.bed.ports import free_port
from tunnels import programs
from tunnels.core.client_status import ClientStatus
from tunnels.programs import Programs

CONNECT = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sys.stdin.read()
"""


def client(origin: tuple[str, int] | None, kind: str = "local", pid: int | None = None) -> ClientStatus:
    return ClientStatus("work-db", 0, kind, origin, "db:5432", 1.0, pid=pid)


@contextlib.contextmanager
def somebody() -> Iterator[tuple[subprocess.Popen[bytes], tuple[str, int]]]:
    """Have another process with a connection to this one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [sys.executable, "-c", CONNECT, str(server.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            sock, address = server.accept()
            with sock:
                yield process, address
                process.communicate()


def test_the_program_behind_an_address_is_named() -> None:
    with somebody() as (process, address):
        found = Programs().of([client(address)])
        assert found[client(address)].pid == process.pid
        assert found[client(address)].name.startswith("python")


def test_the_program_behind_a_unix_socket_is_named_by_its_process() -> None:
    assert Programs().of([client(None, pid=os.getpid())])[client(None, pid=os.getpid())].pid == os.getpid()


@pytest.mark.parametrize("origin", [("192.0.2.1", 5), ("127.0.0.1", 1), None])
def test_who_cannot_be_seen_has_no_name(origin: tuple[str, int] | None) -> None:
    assert Programs().of([client(origin)]) == {}


def test_an_address_on_the_other_side_is_not_looked_for_here() -> None:
    with somebody() as (_, address):
        assert Programs().of([client(address, "remote")]) == {}


def test_only_new_clients_cost_a_walk_through_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    walks: list[set[tuple[str, int]]] = []

    def walk(places: set[tuple[str, int]]) -> dict[tuple[str, int], programs.Program]:
        walks.append(places)
        return dict.fromkeys(places, programs.Program("psql", 4711))

    monkeypatch.setattr(programs, "_find", walk)
    seen, one, two = Programs(), client(("127.0.0.1", 1)), client(("127.0.0.1", 2))
    for clients in ([one], [one], [one, two], [two], [one]):
        seen.of(clients)
    assert walks == [{one.origin}, {two.origin}, {one.origin}]


def test_a_program_that_is_not_found_is_looked_for_twice_more(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[dict[tuple[str, int], programs.Program]] = [{}, {}, {}]
    monkeypatch.setattr(programs, "_find", lambda _: answers.pop(0))
    seen, one = Programs(), client(("127.0.0.1", 1))
    assert [seen.of([one]) for _ in range(5)] == [{}] * 5
    assert answers == []

    psql = programs.Program("psql", 4711)
    answers = [{}, {("127.0.0.1", 1): psql}]
    monkeypatch.setattr(programs, "_find", lambda _: answers.pop(0))
    seen = Programs()
    assert [seen.of([one]) for _ in range(3)] == [{}, {one: psql}, {one: psql}]


def test_two_programs_with_the_same_address_and_port_have_no_name() -> None:
    connect = CONNECT.replace(
        'socket.create_connection(("127.0.0.1", int(sys.argv[1])))',
        "socket.socket(); sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1);"
        'sock.bind(("127.0.0.1", int(sys.argv[2]))); sock.connect(("127.0.0.1", int(sys.argv[1])))',
    )
    port = str(free_port())
    with contextlib.ExitStack() as ending:
        for _ in range(2):
            server = ending.enter_context(socket.create_server(("127.0.0.1", 0)))
            command = [sys.executable, "-c", connect, str(server.getsockname()[1]), port]
            process = ending.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
            ending.callback(process.kill)
            sock, address = server.accept()
            ending.enter_context(sock)
        assert Programs().of([client(address)]) == {}


def test_where_only_root_sees_everything_ones_own_programs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(kind: str) -> list[SimpleNamespace]:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    with somebody() as (process, address):
        assert Programs().of([client(address)])[client(address)].pid == process.pid
