"""A real OpenSSH server on loopback, with keys and a configuration of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import psutil

from tests.e2e.bed.ports import LOOPBACK, free_port
from tests.e2e.bed.wait import eventually

CONFIG = """\
{extra}
Port {port}
ListenAddress {host}
HostKey {folder}/hostkey
PidFile none
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin yes
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
StreamLocalBindUnlink yes
GatewayPorts clientspecified
ClientAliveInterval 1
ClientAliveCountMax 3
MaxSessions 100
MaxStartups 200:30:400
LoginGraceTime 20
LogLevel VERBOSE
PrintMotd no
"""
"""``extra`` comes first: of several values sshd takes the first."""


def find_sshd() -> str | None:
    """Return the absolute path of sshd (it does not start by any other), if there is one."""
    return next(
        (
            found
            for where in (None, "/usr/sbin:/usr/local/sbin:/sbin")
            if (found := shutil.which("sshd", path=where))
        ),
        None,
    )


def make_key(path: Path) -> str:
    """Make an ed25519 key pair without a passphrase, and return its public half."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test bed", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path.with_suffix(".pub").read_text().strip()


def fingerprint(public_key: str) -> str:
    """Return the ``SHA256:…`` of a public key, as OpenSSH prints it."""
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", "-"], input=public_key, text=True, capture_output=True, check=True
    )
    return shown.stdout.split()[1]


def known_hosts_line(host: str, port: int, public_key: str) -> str:
    """Return what OpenSSH would write to known_hosts for a server."""
    name = host if port == 22 else f"[{host}]:{port}"
    kind, key = public_key.split()[:2]
    return f"{name} {kind} {key}"


def user_name() -> str:
    """Return the account that the tests run under, which is the one to log in to."""
    return pwd.getpwuid(os.geteuid()).pw_name


def banner(host: str, port: int) -> bytes:
    """Return what a server says first, or nothing."""
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            return connection.recv(64)
    except OSError:
        return b""


class Reachable(Protocol):
    """What it takes to log in somewhere."""

    host: str
    port: int
    user: str
    identity: Path
    known_hosts: Path


def login(server: Reachable) -> dict[str, object]:
    """Return the keys of a profile that lead to a server, without regard to the user's own ssh_config."""
    return {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "identity_file": str(server.identity),
        "known_hosts": str(server.known_hosts),
        "host_key_policy": "strict",
        "ssh_config": "none",
        "keepalive": "1s",
    }


class Sshd:
    """One server; `stop` is a crash with all its sessions, `start` brings it back on the same port."""

    def __init__(
        self,
        folder: Path,
        *,
        config: Sequence[str] = (),
        identity: Path | None = None,
        host: str = LOOPBACK,
        port: int | None = None,
    ) -> None:
        found = find_sshd()
        assert found, "no sshd: install the package openssh-server"
        self._sshd = found
        self._prefix: Sequence[str] = ()  # a program that runs it
        folder.mkdir(mode=0o700, parents=True)
        self.folder = folder
        self.host = host
        self.port = port or free_port()
        self.user = user_name()
        self.identity = identity or folder / "id"
        if identity is None:
            make_key(self.identity)
        shutil.copy(self.identity.with_suffix(".pub"), folder / "authorized_keys")
        self.host_key = make_key(folder / "hostkey")
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"{self.known_hosts_line}\n")
        self._config = list(config)
        self._listener: psutil.Popen | None = None

    @property
    def known_hosts_line(self) -> str:
        """What OpenSSH would write to known_hosts for this server."""
        return known_hosts_line(self.host, self.port, self.host_key)

    def login(self) -> dict[str, object]:
        """Return the keys of a profile that lead here, without regard to the user's own ssh_config."""
        return login(self)

    @property
    def fingerprint(self) -> str:
        """``SHA256:…`` of the host key."""
        return fingerprint(self.host_key)

    @property
    def log(self) -> str:
        """Everything the server has said since its first start."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        """Whether it has been started, and not stopped since."""
        return self._listener is not None

    def start(self) -> None:
        """Start, and return when the banner is sent. Nothing happens if it is running."""
        if self.running:
            return
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        text = CONFIG.format(
            extra="\n".join(self._config), port=self.port, host=self.host, folder=self.folder
        )
        (self.folder / "sshd_config").write_text(text)
        with (self.folder / "log").open("a") as log:
            self._listener = psutil.Popen(
                [*self._prefix, self._sshd, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            eventually(self._answers, within=10, what=f"an SSH banner on port {self.port}")
        except AssertionError as exc:
            self.stop()
            raise AssertionError(f"sshd does not start: {self.log}") from exc

    def _answers(self) -> bool:
        assert self._listener is not None
        assert self._listener.poll() is None, "sshd has ended"
        return self._banner().startswith(b"SSH-2.0-")

    def _banner(self) -> bytes:
        return banner(self.host, self.port)

    def stop(self) -> None:
        """Kill the listener and every session. Nothing happens if it is not running.

        The sessions are collected first: they outlive their listener, and nobody knows their parent then.
        """
        if self._listener is None:
            return
        family = self._family()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._listener.wait(timeout=10)
        self._listener = None
        eventually(lambda: not any(map(_alive, family)), within=10, what="the end of all sessions")

    def pause(self) -> None:
        """Freeze the listener and every session: connections stay, and nothing answers any more."""
        for process in self._family():
            process.suspend()

    def resume(self) -> None:
        """Let everything go on. One that had ended is only now taken notice of by its parent."""
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def drop_sessions(self) -> None:
        """Kill every session and keep listening."""
        for process in self._family()[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def pause_sessions(self) -> None:
        """Freeze every session and go on taking new ones: what a server knows of a client whose network went."""
        for process in self._family()[1:]:
            process.suspend()

    def sessions(self) -> int:
        """How many processes serve connections at the moment."""
        return len(self._family()) - 1

    def new_host_key(self) -> None:
        """Be another server from the next `start` on; the known_hosts file keeps the old key."""
        for half in ("hostkey", "hostkey.pub"):
            (self.folder / half).unlink()
        self.host_key = make_key(self.folder / "hostkey")

    def _family(self) -> list[psutil.Process]:
        if self._listener is None or self._listener.poll() is not None:
            return []
        return [self._listener, *self._listener.children(recursive=True)]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
