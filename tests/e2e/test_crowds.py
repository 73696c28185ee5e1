"""Many clients and many forwards: everybody is served, and afterwards nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import psutil
import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.load import MIB, Memory, Service
from tests.e2e.bed.ports import LOOPBACK, free_port
from tests.e2e.bed.product import OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually

pytestmark = [pytest.mark.loopback_site, pytest.mark.long]


def files_of(tunnels: Tunnels) -> int:
    return psutil.Process(tunnels.daemon_pid()).num_fds()


def open_tunnel(tunnels: Tunnels, site: Site) -> int:
    port = free_port()
    tunnels.write(work={**site.login(), "keepalive": "1m", "local": [f"{port}:{site.far.echo}"]})
    tunnels.up("work")
    traffic.check_echo(dialing(port))
    return port


async def visit(port: int) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"hello"
    finally:
        writer.close()


def crowd(port: int, clients: int, *, at_once: int) -> None:
    """So many clients, each of which says something and hears it."""

    async def come() -> None:
        room = asyncio.Semaphore(at_once)

        async def one() -> None:
            async with room:
                await visit(port)

        async with asyncio.TaskGroup() as all_of_them:
            for _ in range(clients):
                all_of_them.create_task(one())

    asyncio.run(come())


def test_5000_clients_one_after_the_other_leave_nothing_behind(tunnels: Tunnels, site: Site) -> None:
    with Service(echo) as service:
        port = free_port()
        tunnels.write(work={**site.login(), "keepalive": "1m", "local": [f"{port}:{service}"]})
        tunnels.up("work")
        crowd(port, 1000, at_once=4)  # what is made once is made
        files, memory = files_of(tunnels), Memory(tunnels.daemon_pid())
        crowd(port, 4000, at_once=4)
        eventually(
            lambda: tunnels.tunnel("work")["forwards"][0]["clients"] == 0, within=10, what="nobody left"
        )
        eventually(lambda: files_of(tunnels) <= files, within=5, what="as many open files as before")
        assert memory.grown <= MIB, "a few hundred bytes for each client that has gone"
        assert tunnels.forward("work")["clients_total"] == 5000


def echo(client: socket.socket) -> None:
    while data := client.recv(65536):
        client.sendall(data)


def test_2000_clients_at_once_are_all_served(tunnels: Tunnels, site: Site) -> None:
    port = open_tunnel(tunnels, site)
    files = files_of(tunnels)

    async def come() -> None:
        together = asyncio.Barrier(2000)

        async def one() -> None:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(b"first")
                assert await reader.readexactly(5) == b"first"
                await together.wait()  # now everybody is there
                writer.write(b"second")
                writer.write_eof()
                assert await reader.read() == b"second"
            finally:
                writer.close()

        async with asyncio.TaskGroup() as clients:
            for _ in range(2000):
                clients.create_task(one())

    asyncio.run(come())
    eventually(lambda: files_of(tunnels) <= files, within=10, what="as many open files as before")
    tunnel = tunnels.tunnel("work")
    assert (tunnel["state"], tunnel["reconnects"]) == ("up", 0)
    assert tunnel["forwards"][0]["clients_total"] == 2001


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="only Linux has prlimit(1)")
def test_where_no_more_files_may_be_open_clients_are_turned_away_and_everything_else_works(
    tunnels: Tunnels, site: Site
) -> None:
    port = free_port()
    tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.echo}"]})
    tunnels.run("up", "work", expect=OK, prefix=["prlimit", "--nofile=128:128"])
    daemon = psutil.Process(tunnels.daemon_pid())
    served, reset = [], 0
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            try:
                connection = stack.enter_context(socket.create_connection((LOOPBACK, port), timeout=10))
                connection.sendall(b"hello")
                assert connection.recv(5) == b"hello"
            except ConnectionError:
                reset += 1
            else:
                served.append(connection)
        assert len(served) >= 50
        assert reset == 200 - len(served)
        before = daemon.cpu_times()
        shown = tunnels.run("status", expect=OK).words
        assert f"clients were turned away: {reset} since the daemon started" in shown
        assert "it may open only 128 files" in shown
        assert tunnels.status_json()["daemon"]["turned_away"] == reset
        site.stop()
        site.start()
        tunnels.wait_tunnel(
            "work", lambda it: it["state"] == "up" and it["reconnects"] == 1, what="the reserve to be enough"
        )
        after = daemon.cpu_times()
        assert after.user + after.system - before.user - before.system < 1, "it goes round in circles"
    traffic.check_echo(dialing(port))
    assert "turned away" in tunnels.log
