"""Listening unix sockets: real ones, in a folder of the test's own."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.forwarding import fakes
from tests.forwarding.fakes import connect_unix, turns, until
from tunnels.core.address import UnixAddress
from tunnels.errors import ListenError
from tunnels.forwarding import unix_listener
from tunnels.forwarding.unix_listener import LONGEST_PATH, UnixListener, expand

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")


class Client(asyncio.Protocol):
    """Counts who has come."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).count += 1
        transport.close()


async def listening(path: Path | str) -> UnixListener:
    Client.count = 0
    return await UnixListener.bind(UnixAddress(str(path)), Client)


@contextmanager
def somebody_at(path: Path) -> Iterator[None]:
    """A program that listens at the path."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen(1)
        yield


async def refusal(path: Path | str) -> ListenError:
    with pytest.raises(ListenError) as caught:
        await listening(path)
    return caught.value


async def test_a_client_is_accepted_and_the_file_goes_with_the_listener(home: Path) -> None:
    path = home / "a.sock"
    before = os.umask(0)
    os.umask(before)
    listener = await listening(path)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert os.umask(before) == before
        with connect_unix(str(path)):
            await until(lambda: Client.count == 1)
    finally:
        listener.close()
    assert not path.exists()
    listener.close()


async def test_a_tilde_is_the_home_of_who_listens(home: Path) -> None:
    listener = await listening("~/a.sock")
    assert (home / "a.sock").is_socket()
    listener.close()
    assert expand(UnixAddress("~/x")) == str(home / "x")


async def test_a_socket_that_nobody_listens_on_is_replaced(home: Path) -> None:
    path = home / "a.sock"
    with somebody_at(path):
        pass
    assert path.is_socket()
    listener = await listening(path)
    with connect_unix(str(path)):
        await until(lambda: Client.count == 1)
    listener.close()


async def test_a_socket_that_another_tunnel_has_is_not_taken(home: Path) -> None:
    path = home / "a.sock"
    first = await listening(path)
    error = await refusal(path)
    assert error.message == f"another tunnel listens at {path}"
    assert path.is_socket()
    await turns()
    assert Client.count == 0, "finding out made a client of its own"
    first.close()


async def test_a_socket_that_a_program_has_names_the_program(home: Path) -> None:
    path = home / "a.sock"
    script = "import socket,sys;s=socket.socket(1);s.bind(sys.argv[1]);s.listen();print(flush=True);sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        error = await refusal(path)
        assert f"(pid {program.pid}) listens at {path}" in error.message
        assert f"kill {program.pid}" in (error.hint or "")
        program.communicate()


async def test_a_socket_whose_owner_cannot_be_seen_is_another_programs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "a.sock"
    monkeypatch.setattr(unix_listener, "socket_owner", lambda _: None)
    with somebody_at(path):
        error = await refusal(path)
    assert error.message == f"another program listens at {path}"


async def test_a_socket_whose_queue_is_full_is_alive(home: Path) -> None:
    path = home / "a.sock"
    with somebody_at(path):
        waiting = []
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            if client.connect_ex(str(path)) == errno.EAGAIN:
                break
        await refusal(path)
        assert path.is_socket()
        for client in waiting:
            client.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
async def test_what_is_no_socket_is_never_removed(home: Path, kind: str) -> None:
    path = home / "precious"
    match kind:
        case "file":
            path.write_text("all I have")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(home / "elsewhere")
    error = await refusal(path)
    assert "no socket is there" in error.message
    assert path.is_symlink() or path.exists()


async def test_a_folder_that_is_not_there_is_said_with_what_makes_it(home: Path) -> None:
    error = await refusal(home / "none" / "a.sock")
    assert f"the folder {home}/none does not exist" in error.message
    assert "mkdir" in (error.hint or "")


async def test_a_path_that_is_too_long_says_how_long_it_may_be(home: Path) -> None:
    error = await refusal(home / ("a" * 200))
    assert f"at most {LONGEST_PATH}" in error.message


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EACCES, "no permission"), (errno.EROFS, "Read-only file system")]
)
async def test_any_other_failure_says_what_the_system_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def fail(path: str) -> socket.socket:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(unix_listener, "_bind", fail)
    assert said in (await refusal(home / "a.sock")).message


async def test_a_socket_that_is_somebody_elses_by_now_stays_when_we_close(home: Path) -> None:
    path = home / "a.sock"
    listener = await listening(path)
    path.unlink()
    path.with_suffix(".other").touch()  # so that the next file does not get the inode that has become free
    with somebody_at(path):
        listener.close()
        assert path.is_socket()


async def test_a_bind_that_is_called_off_leaves_nothing_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "a.sock"

    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_unix_server", hang)
    task = asyncio.get_running_loop().create_task(listening(path))
    await until(path.is_socket)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert not path.exists()
