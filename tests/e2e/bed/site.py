"""Where the tunnels of the tests lead to: an SSH server, and the services that only it reaches.

`LoopbackSite` is an sshd of our own and threads of the test; `ComposeSite` is what
``docker-compose.test.yml`` describes. A test that takes a `Site` runs against either.
"""

from __future__ import annotations

import abc
import contextlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.bed import clients, servers
from tests.e2e.bed.clients import End, Talk
from tests.e2e.bed.ports import LOOPBACK, RefusingPort, free_port
from tests.e2e.bed.sshd import Sshd, banner, known_hosts_line, login, make_key
from tests.e2e.bed.wait import eventually

REPOSITORY = Path(__file__).resolve().parents[3]
COMPOSE_FILE = REPOSITORY / "docker-compose.test.yml"


@dataclass(frozen=True)
class Address:
    """A host and a port, printed as the forward grammar has it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Services:
    """What runs on one side; the classes of `servers` say what each does."""

    echo: Address
    source: Address
    digest: Address
    mailbox: Address
    ticker: Address
    web: Address
    database: Address
    refusing: Address  #: nothing listens there


NOWHERE = "no-such-name.invalid"
"""A name without an address (RFC 2606 reserves ``.invalid``)."""


class Site(abc.ABC):
    """An SSH server with services behind it."""

    host: str
    port: int
    user: str
    identity: Path
    known_hosts: Path  #: knows the host keys of the server and of `inner`
    far: Services  #: addresses as the server sees them
    near: Services  #: addresses as the test sees them
    inner: Address  #: a second SSH server, which the first one reaches; same account, same key

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._open = contextlib.ExitStack()
        self.near = self._near_services()

    def _near_services(self) -> Services:
        kinds: list[type[servers.Server]] = [
            servers.Echo,
            servers.Source,
            servers.Digest,
            servers.Mailbox,
            servers.Ticker,
            servers.Web,
            servers.Database,
        ]
        running = [self._open.enter_context(kind()) for kind in kinds]
        refusing = self._open.enter_context(RefusingPort())
        addresses = [Address(each.host, each.port) for each in running]
        addresses.append(Address(refusing.host, refusing.port))
        return Services(*addresses)

    def login(self) -> dict[str, object]:
        """Return the keys of a profile that lead here, without regard to the user's own ssh_config."""
        return login(self)

    @abc.abstractmethod
    def talk(self, port: int, data: bytes, *, half_close: bool = True) -> Talk:
        """Be a client of a port on the server's loopback (see `clients.talk`)."""

    @abc.abstractmethod
    def remote_port(self) -> int:
        """Return a port that is free on the server's loopback."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Let the SSH server die with all its sessions."""

    @abc.abstractmethod
    def start(self) -> None:
        """Have it back; nothing happens if it is there."""

    @abc.abstractmethod
    def pause(self) -> None:
        """Freeze the SSH server: connections stay, and nothing answers any more."""

    @abc.abstractmethod
    def resume(self) -> None:
        """Let it go on."""

    @property
    @abc.abstractmethod
    def log(self) -> str:
        """What the SSH server has said so far."""

    #: Who connects to the server without being a client of ours: nobody.
    _probes = "(?!)"

    @property
    def connections(self) -> int:
        """How many have connected to the SSH server so far."""
        return len(re.findall(rf"^Connection from (?!{self._probes})", self.log, re.MULTILINE))

    def close(self) -> None:
        """Stop everything."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LoopbackSite(Site):
    """An sshd on loopback; what is near and what is far is the same."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.far = self.near
        self._sshd = self._open.enter_context(Sshd(folder / "sshd"))
        inner = self._open.enter_context(Sshd(folder / "inner", identity=self._sshd.identity))
        self.host, self.port, self.user = self._sshd.host, self._sshd.port, self._sshd.user
        self.identity = self._sshd.identity
        self.inner = Address(inner.host, inner.port)
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"{self._sshd.known_hosts_line}\n{inner.known_hosts_line}\n")

    def talk(self, port: int, data: bytes, *, half_close: bool = True) -> Talk:
        command = [sys.executable, clients.__file__, "talk", LOOPBACK, str(port)]
        return _talk(command, data, half_close=half_close)

    def remote_port(self) -> int:
        return free_port()

    def stop(self) -> None:
        self._sshd.stop()

    def start(self) -> None:
        self._sshd.start()

    def pause(self) -> None:
        self._sshd.pause()

    def resume(self) -> None:
        self._sshd.resume()

    @property
    def log(self) -> str:
        return self._sshd.log


class ComposeSite(Site):
    """The containers of ``docker-compose.test.yml``, which somebody has brought up."""

    PORT = 2222
    USER = "tunnel"
    _probes = r"127\.0\.0\.1 "  # the health check, from within the container

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.far = Services(
            **{name: Address("services", servers.PORTS[name]) for name in ("echo", "source", "digest")},
            **{name: Address("services", servers.PORTS[name]) for name in ("mailbox", "ticker")},
            web=Address("web", servers.PORTS["web"]),
            database=Address("db", 5432),
            refusing=Address("services", 9),
        )
        self.inner = Address("inner", 22)
        self.host, self.port, self.user = LOOPBACK, self.PORT, self.USER
        self._bastion = container("bastion")
        self.identity = folder / "id"
        public = make_key(self.identity)
        lines = []
        for name, address in (("bastion", Address(self.host, self.port)), ("inner", self.inner)):
            docker("exec", "-i", container(name), "tee", "-a", "/etc/ssh/authorized_keys", text=f"{public}\n")
            host_key = docker("exec", container(name), "cat", "/etc/ssh/ssh_host_ed25519_key.pub")
            lines.append(known_hosts_line(address.host, address.port, host_key))
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text("".join(f"{line}\n" for line in lines))
        self._ports = iter(range(20001, 30000))
        self.start()

    def talk(self, port: int, data: bytes, *, half_close: bool = True) -> Talk:
        command = [
            "docker",
            "exec",
            "-i",
            self._bastion,
            "python3",
            "/bed/clients.py",
            "talk",
            LOOPBACK,
            str(port),
        ]
        return _talk(command, data, half_close=half_close)

    def remote_port(self) -> int:
        return next(self._ports)

    def stop(self) -> None:
        docker("kill", self._bastion)

    def start(self) -> None:
        docker("start", self._bastion)
        eventually(
            lambda: banner(self.host, self.port).startswith(b"SSH-2.0-"), within=20, what="an SSH banner"
        )

    def pause(self) -> None:
        docker("pause", self._bastion)

    def resume(self) -> None:
        docker("unpause", self._bastion)

    @property
    def log(self) -> str:
        return docker("logs", self._bastion)


def docker(*arguments: str, text: str | None = None) -> str:
    """Run ``docker`` and return what it prints."""
    done = subprocess.run(
        ["docker", *arguments],
        input=text or "",
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}"
    return done.stdout


def container(service: str) -> str:
    """Return the id of the container that runs a service of ``docker-compose.test.yml``."""
    for compose in (["docker", "compose"], ["docker-compose"]):
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(
                [*compose, "-f", str(COMPOSE_FILE), "ps", "-q", service],
                text=True,
                capture_output=True,
                timeout=60,
                check=False,
            )
            if done.returncode == 0 and done.stdout.strip():
                return done.stdout.split()[0]
    raise AssertionError(
        f"{service} is not running: docker compose -f {COMPOSE_FILE.name} up -d --build --wait"
    )


def _talk(command: list[str], data: bytes, *, half_close: bool) -> Talk:
    if not half_close:
        command = [*command, "--keep-open"]
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode in {end.value for end in End}, done.stderr.decode()
    return Talk(done.stdout, End(done.returncode))
