"""The care of the control socket, for both of its sides: lock, leftovers, permissions, who is the peer.

Who may speak is decided three times: the folder is 0700, the socket is 0600, and the kernel is asked for
the peer's user id. What must be true for one daemon a user is the lock: it is held as long as the
daemon lives and released by the kernel however it dies. Whoever holds the lock may remove a leftover socket.

The lock is among the state and not beside the socket: the runtime folder goes away when the last session
of its user ends, and commands that run without a session (cron, su) look for the socket somewhere else. So
the lock also says where the socket is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
import time
from pathlib import Path

from tunnels import paths
from tunnels.errors import ControlError, DaemonNotRunning

#: Seconds between two tries of a daemon that starts.
_LOCK_POLL = 0.02

#: A pid and a path.
_LOCK_BYTES = 4096 + 32

#: Command lines that may wait to be accepted.
_BACKLOG = 64


class Lock:
    """The right to be the daemon."""

    def __init__(self, path: Path) -> None:
        paths.make_private(path.parent)
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise ControlError(
                f"{path} cannot be opened: {exc.strerror or exc}",
                hint="TUNNELS_STATE_DIR names another folder",
            ) from exc

    def acquire(self, *, patience: float = 0.0) -> bool:
        """Take the lock, for as long as this process lives. False: another daemon has it.

        Whoever only looks takes it for a moment too, so a daemon that starts tries for ``patience`` seconds.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_LOCK_POLL)
            else:
                return True

    def write_down(self, socket_path: Path) -> None:
        """Say who has the lock, and where it listens. On a disk that is full nobody hears of it."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n%s\n" % (os.getpid(), os.fsencode(socket_path)), 0)

    @property
    def holder(self) -> int | None:
        """The pid of the daemon that has the lock, as far as it has written it down."""
        digits = os.pread(self._fd, _LOCK_BYTES, 0).partition(b"\n")[0]
        return int(digits) if digits.isdigit() else None

    def release(self) -> None:
        """Let another daemon have it."""
        os.close(self._fd)


def written_down(lock_file: Path) -> Path | None:
    """Where the daemon listens, or the last one did, according to its lock."""
    try:
        with lock_file.open("rb") as file:
            lines = file.read(_LOCK_BYTES).split(b"\n")
    except OSError:
        return None
    return Path(os.fsdecode(lines[1])) if len(lines) == 3 and lines[1] else None


def listen(path: Path) -> socket.socket:
    """Listen at ``path``, which only this user can reach; what was left there is removed.

    Raises ControlError where another daemon listens there, which then has another state folder and its lock.
    """
    paths.make_private(path.parent)
    refuse_if_served(path)
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(str(path))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def refuse_if_served(path: Path) -> None:
    """Raise ControlError where somebody listens at ``path``: two daemons would take it from each other for ever."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(str(path)) in (0, errno.EAGAIN):  # the latter: its queue is full
            raise ControlError(
                f"another daemon listens at {path}",
                hint="two daemons need two folders each: set both TUNNELS_STATE_DIR and TUNNELS_RUNTIME_DIR",
            )


def connect(path: Path, *, timeout: float) -> socket.socket:
    """Connect to the daemon; blocks for at most ``timeout`` seconds.

    Raises DaemonNotRunning where there is none, and ControlError where what listens is not ours.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A blocking connect with a limit of its own: a socket with a Python timeout does not block, and is
        # refused at once while the daemon has more command lines to accept than its queue is long.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout))
        sock.connect(str(path))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(0))
        sock.settimeout(timeout)
        uid = peer_uid(sock)
        if uid != os.getuid():
            raise ControlError(
                f"{path} is served by another user (uid {uid})", hint="set TUNNELS_RUNTIME_DIR"
            )
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        sock.close()
        raise DaemonNotRunning("the daemon is not running", hint="`tunnels up NAME` starts it") from exc
    except OSError as exc:
        sock.close()
        if exc.errno == errno.ENOTSOCK:
            raise DaemonNotRunning("the daemon is not running", hint="`tunnels up NAME` starts it") from exc
        raise ControlError(f"{path}: {exc.strerror or exc}") from exc
    except BaseException:
        sock.close()
        raise
    return sock


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return struct.pack("ll", whole, int((seconds - whole) * 1_000_000))


def peer_uid(sock: socket.socket) -> int:
    """The user id of the process on the other side, as the kernel has it."""
    uid: int
    if hasattr(socket, "SO_PEERCRED"):  # Linux; struct ucred: pid, uid, gid (unix(7))
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        uid = struct.unpack("3i", credentials)[1]
    else:  # macOS and the BSDs; struct xucred: version, uid, … (unix(4), LOCAL_PEERCRED; level 0, option 1)
        uid = struct.unpack_from("2I", sock.getsockopt(0, 1, 76))[1]
    return uid
