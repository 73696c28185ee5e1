from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_paths import given_away
from tunnels import control_socket, paths
from tunnels.control_socket import Lock, connect, listen, peer_uid
from tunnels.errors import BadSetting, ControlError, DaemonNotRunning


@pytest.fixture
def path() -> Path:
    return paths.socket_path()


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    with listen(path) as sock:
        yield sock


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- who may speak --------------------------------------------------------------------------------


def test_only_its_user_can_reach_the_socket_whatever_the_umask(path: Path) -> None:
    path.parent.chmod(0o755)
    before = os.umask(0)
    try:
        with listen(path):
            assert (mode(path.parent), mode(path)) == (0o700, 0o600)
        assert os.umask(0) == 0, "the umask of the process was changed"
    finally:
        os.umask(before)


def test_both_sides_know_the_user_on_the_other(path: Path, listener: socket.socket) -> None:
    with connect(path, timeout=5) as near:
        far, _ = listener.accept()
        with far:
            assert peer_uid(near) == peer_uid(far) == os.getuid()


def test_a_socket_that_another_user_serves_is_not_spoken_to(
    path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_socket, "peer_uid", lambda _: os.getuid() + 1)
    with pytest.raises(ControlError, match="another user") as caught:
        connect(path, timeout=5)
    assert not isinstance(caught.value, DaemonNotRunning), "another daemon would be started beside it"
    far, _ = listener.accept()
    with far:
        assert far.recv(1) == b""


def test_a_runtime_folder_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_away(path.parent, monkeypatch)
    with pytest.raises(BadSetting, match="belongs to another user"):
        listen(path)
    assert list(path.parent.iterdir()) == []


def test_a_state_folder_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    given_away(paths.lock_file().parent, monkeypatch)
    with pytest.raises(BadSetting, match="belongs to another user"):
        Lock(paths.lock_file())


def test_a_runtime_folder_that_is_a_file_is_refused(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")
    with pytest.raises(BadSetting, match=str(path.parent)):
        listen(path)


# --- there is none --------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["nothing", "no folder", "a leftover", "a file"])
def test_where_nobody_listens_the_daemon_is_not_running(there: str, path: Path) -> None:
    match there:
        case "no folder":
            path.parent.rmdir()
        case "a leftover":
            listen(path).close()
            assert path.is_socket()
        case "a file":
            path.write_text("")
    with pytest.raises(DaemonNotRunning) as caught:
        connect(path, timeout=5)
    assert "tunnels up" in (caught.value.hint or "")


def test_a_socket_that_may_not_be_entered_is_not_taken_for_none(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forbidden(socket.socket):
        def connect(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", Forbidden)
    with pytest.raises(ControlError, match="Permission denied") as caught:
        connect(path, timeout=5)
    assert not isinstance(caught.value, DaemonNotRunning)


def test_a_daemon_with_a_full_queue_is_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_socket, "_BACKLOG", 0)
    with listen(path), contextlib.ExitStack() as queue:
        try:
            while True:
                sock = queue.enter_context(socket.socket(socket.AF_UNIX))
                sock.setblocking(False)
                sock.connect(str(path))
        except ConnectionRefusedError:
            return  # as macOS has it: nobody can tell a full queue from no daemon
        except BlockingIOError:
            pass
        started = time.monotonic()
        with pytest.raises(ControlError):
            connect(path, timeout=0.1)
        assert time.monotonic() - started >= 0.1, "it gave up at once, though the daemon is only busy"


# --- one daemon a user ----------------------------------------------------------------------------


def test_a_leftover_socket_is_replaced(path: Path) -> None:
    listen(path).close()
    with listen(path) as second:
        connect(path, timeout=5).close()
        second.accept()[0].close()


def test_a_socket_that_another_daemon_serves_is_left_to_it(path: Path, listener: socket.socket) -> None:
    """One with another state folder, and so with another lock."""
    with pytest.raises(ControlError, match="another daemon listens") as caught:
        control_socket.listen(path)
    assert "TUNNELS_RUNTIME_DIR" in (caught.value.hint or "")
    connected = control_socket.connect(path, timeout=5)
    listener.setblocking(True)
    listener.accept()[0].close()  # of who only looked
    listener.accept()[0].close()
    connected.close()


def test_the_lock_is_had_once_until_it_is_released() -> None:
    first, second = Lock(paths.lock_file()), Lock(paths.lock_file())
    try:
        assert first.acquire()
        assert not second.acquire()
        first.release()
        assert second.acquire()
    finally:
        second.release()


def test_who_has_the_lock_is_known_to_the_others() -> None:
    first, second = Lock(paths.lock_file()), Lock(paths.lock_file())
    try:
        assert first.holder is None
        assert first.acquire()
        first.write_down(Path("/run/caf\udce9/control.sock"))
        assert not second.acquire()
        assert second.holder == os.getpid()
        assert control_socket.written_down(paths.lock_file()) == Path("/run/caf\udce9/control.sock")
    finally:
        first.release()
        second.release()


@pytest.mark.parametrize("content", [b"", b"soon\n", b"-1\n", b"\xff" * 30])
def test_a_lock_without_a_number_in_it_has_no_known_holder(content: bytes) -> None:
    paths.make_private(paths.lock_file().parent)
    paths.lock_file().write_bytes(content)
    lock = Lock(paths.lock_file())
    assert lock.holder is None
    lock.release()


def test_who_only_looks_at_the_lock_does_not_keep_a_daemon_from_starting() -> None:
    looker, daemon = Lock(paths.lock_file()), Lock(paths.lock_file())
    try:
        assert looker.acquire()
        timer = threading.Timer(0.05, looker.release)
        timer.start()
        assert daemon.acquire(patience=10)
        timer.join()
    finally:
        daemon.release()


@pytest.mark.parametrize("content", [b"", b"4711\n", b"4711\n\n", b"4711\n/run/control.sock", b"\n\n\n\n"])
def test_a_lock_that_says_nothing_of_a_socket_leads_nowhere(content: bytes) -> None:
    paths.make_private(paths.lock_file().parent)
    paths.lock_file().write_bytes(content)
    assert control_socket.written_down(paths.lock_file()) is None


def test_the_lock_is_in_a_private_folder_in_a_private_file() -> None:
    folder = paths.lock_file().parent
    folder.chmod(0o755)
    lock = Lock(paths.lock_file())
    lock.release()
    assert (mode(folder), mode(paths.lock_file())) == (0o700, 0o600)


HOLDER = """
import sys
from tunnels import control_socket, paths
assert control_socket.Lock(paths.lock_file()).acquire()
with control_socket.listen(paths.socket_path()):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_daemon_that_is_killed_leaves_a_free_lock_and_a_leftover_that_is_replaced(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        lock = Lock(paths.lock_file())
        assert not lock.acquire()
        connect(path, timeout=5).close()
        holder.kill()
        holder.wait()
    assert path.is_socket()
    with pytest.raises(DaemonNotRunning):
        connect(path, timeout=5)
    assert lock.acquire()
    with listen(path):
        connect(path, timeout=5).close()
    lock.release()


def test_on_a_full_disk_there_is_a_lock_all_the_same(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    lock = Lock(paths.lock_file())
    assert lock.acquire()
    monkeypatch.setattr(os, "pwrite", full)
    lock.write_down(path)
    monkeypatch.undo()
    assert lock.holder is None
    assert not Lock(paths.lock_file()).acquire()
    lock.release()


def test_a_lock_that_cannot_be_opened_is_an_error_with_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    paths.lock_file().mkdir(parents=True)  # as good as a read-only disk
    with pytest.raises(ControlError, match="daemon.lock cannot be opened"):
        Lock(paths.lock_file())


def test_a_child_of_the_daemon_does_not_inherit_the_lock() -> None:
    lock = Lock(paths.lock_file())
    assert lock.acquire()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        lock.release()
        other = Lock(paths.lock_file())
        try:
            assert other.acquire()
        finally:
            other.release()
            child.kill()
