"""What stands in the way of a socket on a real sshd; ``tests/e2e/test_sockets.py`` has the whole way."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.bed.sshd import Sshd, find_sshd
from tests.ssh.test_connection import another_sshd, connected, its, sshd
from tunnels.errors import ListenError
from tunnels.forwarding.channel import ListenRefused
from tunnels.ssh import remote_socket
from tunnels.ssh.remote_socket import Inspector
from tunnels.tasks import TaskScope

__all__ = ["another_sshd", "sshd"]

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(find_sshd() is None, reason="no sshd: install OpenSSH's server (openssh-server)"),
]

SFTP = "Subsystem sftp internal-sftp"


async def look(server: Sshd, path: Path, *, unlink: bool = False) -> remote_socket.Finding:
    async with connected(server) as connection:
        scope = TaskScope("test")
        finding = await Inspector(its(connection), scope, unlink=unlink).look(str(path))
        await scope.aclose()
        assert not its(connection).is_closed()
        assert list(path.parent.glob(".tunnels-*")) == []
        return finding


def leave_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


async def test_a_dead_socket_is_removed_only_where_that_was_asked_for(
    home: Path, another_sshd: Callable[..., Sshd]
) -> None:
    server, path = another_sshd(SFTP), home / "a.sock"
    leave_socket(path)
    kept = await look(server, path)
    assert (kept.error.message, kept.removed) == (
        f"a dead socket is in the way at {path} on the server",
        False,
    )
    assert path.is_socket()
    removed = await look(server, path, unlink=True)
    assert removed.removed
    assert not path.exists()


async def test_a_live_socket_may_be_our_own_last_connections(
    home: Path, another_sshd: Callable[..., Sshd]
) -> None:
    path = home / "a.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(10)
        finding = await look(another_sshd(SFTP), path, unlink=True)
    assert isinstance(finding.error, ListenRefused)
    assert "somebody listens" in finding.error.message
    assert not finding.removed


async def test_where_nobody_may_connect_no_socket_counts_as_dead(
    home: Path, another_sshd: Callable[..., Sshd]
) -> None:
    path = home / "a.sock"
    leave_socket(path)
    finding = await look(another_sshd(SFTP, "AllowStreamLocalForwarding remote"), path, unlink=True)
    assert "cannot be seen" in finding.error.message
    assert not finding.removed
    assert path.is_socket()


async def test_a_file_is_left_as_it_is(home: Path, another_sshd: Callable[..., Sshd]) -> None:
    path = home / "a.sock"
    path.write_text("all I have")
    finding = await look(another_sshd(SFTP), path, unlink=True)
    assert "no socket is there" in finding.error.message
    assert path.read_text() == "all I have"


async def test_a_folder_that_is_not_there_and_nothing_in_the_way_are_told_apart(
    home: Path, another_sshd: Callable[..., Sshd]
) -> None:
    server = another_sshd(SFTP)
    missing = await look(server, home / "none" / "a.sock")
    assert f"the folder {home}/none does not exist there" in missing.error.message
    nothing = await look(server, home / "a.sock")
    assert "nothing is in the way" in nothing.error.message
    assert "AllowStreamLocalForwarding" in (nothing.error.hint or "")


async def test_without_sftp_it_is_said_that_the_reason_could_not_be_found_out(home: Path, sshd: Sshd) -> None:
    finding = await look(sshd, home / "a.sock")
    assert isinstance(finding.error, ListenRefused)
    assert "could not be found out: it has no SFTP" in finding.error.message


async def test_a_server_that_does_not_answer_is_left_alone_after_the_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(remote_socket, "TIME_LIMIT", 0.01)
    asked: list[str] = []

    async def hang(_self: Inspector, _path: str) -> remote_socket.Finding:
        asked.append("look")
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(Inspector, "_look", hang)
    scope = TaskScope("test")
    nothing: Any = None
    inspector = Inspector(nothing, scope, unlink=True)
    first = await inspector.look("/run/a.sock")
    assert "did not answer in time" in first.error.message
    second = await inspector.look("/run/a.sock")
    assert "does not answer" in second.error.message
    assert asked == ["look"]  # they do not pile up
    assert isinstance(second.error, ListenError)
    await scope.aclose()
