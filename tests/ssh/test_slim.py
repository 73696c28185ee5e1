"""What a connection lets go of after the login it does not miss.

That keys are exchanged again and again afterwards is shown with a real sshd, in tests/e2e/test_data_plane.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncssh
import pytest

from tunnels.ssh import slim as slim_module
from tunnels.ssh.slim import MAX_SHARED, slim


class Server(asyncssh.SSHServer):
    """Lets everybody in, and answers whatever is run."""

    def begin_auth(self, username: str) -> bool:
        return False


def answer(process: asyncssh.SSHServerProcess[str]) -> None:
    process.stdout.write("hello")
    process.exit(0)


@asynccontextmanager
async def connected(count: int = 1) -> AsyncIterator[list[Any]]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with asyncssh.listen(
        "127.0.0.1", 0, server_factory=Server, server_host_keys=[key], process_factory=answer
    ) as listening:
        conns: list[Any] = []
        for _ in range(count):
            conn = await asyncssh.connect(
                "127.0.0.1",
                listening.get_port(),
                known_hosts=([key.convert_to_public()], [], []),
                config=None,
                username="me",
                client_keys=None,
            )
            slim(conn)
            conns.append(conn)
        try:
            yield conns
        finally:
            for conn in conns:
                conn.abort()
                await conn.wait_closed()


async def test_two_connections_share_what_is_equal() -> None:
    async with connected(2) as (one, other):
        for name in ("_kex_algs", "_enc_algs", "_sig_algs", "_server_host_key_algs"):
            assert getattr(one, name) is getattr(other, name), name
            assert getattr(one, name)
        assert one._options is other._options
        assert one._client_kexinit == one._server_kexinit == b""


async def test_a_session_can_be_opened_afterwards() -> None:
    async with connected() as (conn,):
        assert (await conn.run("any", check=True)).stdout == "hello"


async def test_an_exchange_that_is_under_way_is_left_alone() -> None:
    async with connected() as (conn,):
        conn._send_kexinit()
        slim(conn)
        assert conn._client_kexinit
        conn.abort()


async def test_another_version_keeps_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slim_module, "KNOWN", frozenset())
    async with connected() as (conn,):
        assert conn._client_kexinit
        assert conn._options.kwargs


async def test_lists_of_all_kinds_are_not_shared_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = {(str(number).encode(),): [str(number).encode()] for number in range(MAX_SHARED)}
    monkeypatch.setattr(slim_module, "_shared", shared)
    async with connected() as (conn,):
        assert conn._kex_algs
        assert len(shared) == MAX_SHARED
