"""Unix sockets on either side of a forward, against a real sshd."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import NOT_AS_ASKED, OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.traffic import MIB, Dial, dialing
from tests.e2e.bed.wait import for_seconds

pytestmark = pytest.mark.loopback_site

SFTP = "Subsystem sftp internal-sftp"
KEEP = "StreamLocalBindUnlink no"
"""The default of sshd, which the bed has changed."""


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)
        self.request.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def echo(path: Path) -> Iterator[None]:
    """A service on a unix socket: sends back what it reads, and ends when the client has ended."""

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        block_on_close = False

    with Server(str(path), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def dialing_unix(path: Path) -> Dial:
    """Return a function that connects to a unix socket."""

    def dial() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(15)
        sock.connect(str(path))
        return sock

    return dial


def dead_socket(path: Path) -> None:
    """Leave a socket behind, as a server does that was killed."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


@pytest.fixture
def folder(tunnels: Tunnels) -> Path:
    """A folder whose path is short enough for sockets."""
    return tunnels.home


# --- both directions, every combination -----------------------------------------------------------


@pytest.mark.parametrize("kind", ["local", "remote"])
@pytest.mark.parametrize("listen", ["port", "socket"])
@pytest.mark.parametrize("connect", ["port", "socket"])
def test_data_goes_both_ways_and_ends_cleanly(
    kind: str, listen: str, connect: str, standing: Tunnels, site: Site
) -> None:
    name = f"{kind}-{listen}-{connect}"
    port, ours, theirs = free_port(), standing.home / f"{name}.ours", standing.home / f"{name}.theirs"
    dial = dialing(port) if listen == "port" else dialing_unix(ours)
    left = f"127.0.0.1:{port}" if listen == "port" else str(ours)
    right = str(site.far.echo) if connect == "port" else str(theirs)
    standing.write(**{name: {**site.login(), kind: [f"{left}:{right}"]}})
    with echo(theirs):
        result = standing.up(name)
        assert left in result.words or f"localhost:{port}" in result.words
        traffic.check_echo(dial, MIB)
        traffic.check_echo(dial, 10)
        forward = standing.tunnel(name)["forwards"][0]
        assert forward["state"] == "listening"
        assert forward["clients_total"] == 2
        assert forward["bytes_in"] == forward["bytes_out"] == MIB + 10
    standing.down(name)
    if kind == "local":
        assert not ours.exists()


# --- our own socket -------------------------------------------------------------------------------


def test_a_socket_of_ours_is_private_and_belongs_to_the_tunnel_and_not_to_the_connection(
    tunnels: Tunnels, site: Site, folder: Path
) -> None:
    path = folder / "db.sock"
    dead_socket(path)  # a leftover of ours looks like this
    tunnels.write(it={**site.login(), "local": [f"{path}:{site.far.echo}"]})
    tunnels.up("it")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.stat().st_ino
    site.stop()
    site.start()
    traffic.check_echo(dialing_unix(path), 1000)  # held until the connection is back
    assert path.stat().st_ino == before


def test_a_socket_that_another_program_listens_on_is_never_taken(
    tunnels: Tunnels, site: Site, folder: Path
) -> None:
    path = folder / "db.sock"
    tunnels.write(it={**site.login(), "local": [f"{path}:{site.far.echo}"]})
    with echo(path):
        inode = path.stat().st_ino
        result = tunnels.up("it", expect=NOT_AS_ASKED)
        assert str(path) in result.words
        assert str(os.getpid()) in result.words
        assert path.stat().st_ino == inode
    tunnels.wait_tunnel(
        "it", lambda it: it["forwards"][0]["state"] == "listening", what="the socket taken", within=30
    )
    traffic.check_echo(dialing_unix(path), 1000)


# --- the server's socket --------------------------------------------------------------------------


def test_a_server_that_forwards_no_sockets_is_said(
    tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], folder: Path
) -> None:
    sshd = start_sshd("AllowStreamLocalForwarding no", SFTP)
    port, path = free_port(), folder / "far.sock"
    tunnels.write(
        it={**sshd.login(), "local": [f"{port}:{site.far.echo}"], "remote": [f"{path}:{site.near.echo}"]}
    )
    result = tunnels.up("it", expect=NOT_AS_ASKED)
    assert "AllowStreamLocalForwarding" in result.words
    assert "nothing is in the way" in result.words
    traffic.check_echo(dialing(port), 1000)


def test_a_dead_socket_on_the_server_is_named_with_both_cures(
    tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], folder: Path
) -> None:
    sshd = start_sshd(KEEP, SFTP)
    path = folder / "far.sock"
    dead_socket(path)
    tunnels.write(it={**sshd.login(), "remote": [f"{path}:{site.near.echo}"]})
    result = tunnels.up("it", expect=NOT_AS_ASKED)
    assert f"a dead socket is in the way at {path}" in result.words
    assert "remote_unlink = true" in result.words
    assert "StreamLocalBindUnlink yes" in result.words
    assert path.is_socket()
    assert [each.name for each in folder.glob(".tunnels-*")] == []


def test_a_dead_socket_on_the_server_is_replaced_where_that_was_asked_for(
    tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], folder: Path
) -> None:
    """Also the one that our own last connection leaves behind, every time."""
    sshd = start_sshd(KEEP, SFTP)
    path = folder / "far.sock"
    dead_socket(path)
    tunnels.write(it={**sshd.login(), "remote_unlink": True, "remote": [f"{path}:{site.near.echo}"]})
    assert tunnels.up("it").code == OK
    traffic.check_echo(dialing_unix(path), 1000)
    sshd.drop_sessions()
    tunnels.wait_tunnel(
        "it",
        lambda it: it["reconnects"] == 1 and it["forwards"][0]["state"] == "listening",
        what="the socket listening again",
        within=30,
    )
    traffic.check_echo(dialing_unix(path), 1000)


@pytest.mark.parametrize("setting", ["AllowStreamLocalForwarding yes", "AllowStreamLocalForwarding remote"])
def test_a_socket_that_somebody_listens_on_is_never_removed(
    setting: str, tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], folder: Path
) -> None:
    """Not even where the server does not let us see that it is alive."""
    sshd = start_sshd(setting, KEEP, SFTP)
    path = folder / "far.sock"
    tunnels.write(it={**sshd.login(), "remote_unlink": True, "remote": [f"{path}:{site.near.echo}"]})
    with echo(path):
        result = tunnels.up("it", expect=NOT_AS_ASKED)
        assert "somebody listens" in result.words
        traffic.check_echo(dialing_unix(path), 1000)
        assert [each.name for each in folder.glob(".tunnels-*")] == []


def test_where_nothing_can_be_removed_the_looking_leaves_one_file_and_not_one_each_time(
    tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], folder: Path
) -> None:
    """An SFTP that only reads, as backups have it."""
    sshd = start_sshd(KEEP, f"{SFTP} -R")
    path = folder / "far.sock"
    dead_socket(path)
    tunnels.write(it={**sshd.login(), "remote_unlink": True, "remote": [f"{path}:{site.near.echo}"]})
    result = tunnels.up("it", expect=NOT_AS_ASKED)
    assert "cannot be removed" in result.words
    for_seconds(4)  # three more looks
    assert "cannot be removed" in tunnels.forward("it")["error"]["message"]
    assert len(list(folder.glob(".tunnels-*"))) == 1


def test_a_file_that_is_no_socket_is_never_removed(
    tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], folder: Path
) -> None:
    sshd = start_sshd(KEEP, SFTP)
    path = folder / "precious"
    path.write_text("all I have")
    tunnels.write(it={**sshd.login(), "remote_unlink": True, "remote": [f"{path}:{site.near.echo}"]})
    result = tunnels.up("it", expect=NOT_AS_ASKED)
    assert "no socket is there" in result.words
    assert path.read_text() == "all I have"


def test_without_sftp_it_is_said_what_could_not_be_found_out(
    tunnels: Tunnels, site: Site, start_sshd: Callable[..., Sshd], folder: Path
) -> None:
    sshd = start_sshd(KEEP)
    path = folder / "far.sock"
    dead_socket(path)
    tunnels.write(it={**sshd.login(), "remote_unlink": True, "remote": [f"{path}:{site.near.echo}"]})
    result = tunnels.up("it", expect=NOT_AS_ASKED)
    assert "SFTP" in result.words
    assert tunnels.tunnel("it")["state"] == "up"
    assert path.is_socket()
