"""Who is measured: ``ssh -N -L`` and tunnels, each with the same forwards, on the same server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self

import psutil

from tests.e2e.bed.ports import LOOPBACK, accepts, free_port
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.wait import eventually

REPOSITORY = Path(__file__).resolve().parents[1]

GCM = "aes128-gcm@openssh.com"

QUIET = ("ClientAliveInterval 0", "LogLevel ERROR", "MaxStartups 3000", "MaxSessions 1000")
"""A server that does nothing by itself while something is measured."""


class Ports(NamedTuple):
    """The two services of `bench.load.far`."""

    echo: int
    bulk: int


class Load:
    """The services behind the tunnels, and a way to send clients; ``inside`` are prefixes of their commands."""

    def __init__(self, *, near: Sequence[str] = (), far: Sequence[str] = (), host: str = LOOPBACK) -> None:
        self._near = near
        self._far = subprocess.Popen(
            [*far, sys.executable, "-m", "bench.load.far", host],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._far.stdout
        self.ports = Ports(**json.loads(self._far.stdout.readline()))

    def send(self, task: str, *, timeout: float = 300, **arguments: Any) -> Any:
        """Have a task done by `bench.load.near`, and return what it measured."""
        done = subprocess.run(
            self._command(task, arguments),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            timeout=timeout,
            check=True,
        )
        return json.loads(done.stdout)

    @contextmanager
    def meanwhile(self, task: str, **arguments: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Have a task that goes on for as long as the block lasts."""
        command = self._command(task, arguments)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=REPOSITORY, stdin=pipe, stdout=pipe) as process:
            try:
                yield process
            finally:
                process.kill()

    def rate_of(self, process: subprocess.Popen[bytes]) -> float:
        """End such a task, and return how many bytes a second it has moved."""
        assert process.stdin
        assert process.stdout
        process.stdin.close()
        return float(json.loads(process.stdout.readline()))

    def _command(self, task: str, arguments: dict[str, Any]) -> list[str]:
        text = json.dumps({"task": task, **arguments})
        return [*self._near, sys.executable, "-m", "bench.load.near", text]

    def close(self) -> None:
        """Stop the services."""
        assert self._far.stdin
        assert self._far.stdout
        self._far.stdin.close()
        self._far.stdout.close()
        self._far.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Contestant:
    """Something that keeps ports up; ``ports`` are the services as its clients see them."""

    def __init__(self, name: str, tunnels: Sequence[Ports], processes: Sequence[psutil.Process]) -> None:
        self.name = name
        self.tunnels = list(tunnels)
        self.processes = list(processes)

    @property
    def ports(self) -> Ports:
        """Of its first tunnel."""
        return self.tunnels[0]

    def cpu(self) -> float:
        """Return the seconds of processor time it has used so far."""
        return float(sum(sum(process.cpu_times()[:2]) for process in self.processes))

    def rss(self) -> int:
        """Return the resident memory, in bytes."""
        return int(sum(process.memory_info().rss for process in self.processes))


Opener = Callable[[ExitStack, Sshd, Sequence[Ports], Sequence[str]], Contestant]


def ssh(cipher: str | None = None) -> Opener:
    """Open ``ssh`` processes, with its default cipher or with another one."""

    def open_(running: ExitStack, sshd: Sshd, targets: Sequence[Ports], inside: Sequence[str]) -> Contestant:
        tunnels, processes = [], []
        for target in targets:
            ports = Ports(free_port(), free_port())
            command = [
                *(*inside, "ssh", "-F", "none", "-N", "-p", str(sshd.port), "-l", sshd.user),
                *("-i", str(sshd.identity), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
                *("-o", f"UserKnownHostsFile={sshd.known_hosts}", "-o", "ExitOnForwardFailure=yes"),
                *(("-c", cipher) if cipher else ()),
                *("-L", f"{ports.echo}:{LOOPBACK}:{target.echo}"),
                *("-L", f"{ports.bulk}:{LOOPBACK}:{target.bulk}", sshd.host),
            ]
            process = psutil.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
            running.callback(process.wait, 10)
            running.callback(process.kill)
            tunnels.append(ports)
            processes.append(process)
        return Contestant(f"ssh -c {cipher.split('@')[0]}" if cipher else "ssh", tunnels, processes)

    return open_


def product(**keys: Any) -> Opener:
    """Open tunnels of one daemon; ``keys`` are more keys of their profiles."""

    def open_(running: ExitStack, sshd: Sshd, targets: Sequence[Ports], inside: Sequence[str]) -> Contestant:
        there = running.enter_context(Tunnels(inside))
        tunnels = [Ports(free_port(), free_port()) for _ in targets]
        names = [f"t{number}" for number in range(len(targets))]
        profiles = {
            name: {
                **sshd.login(),
                "keepalive": "15s",
                "local": [f"{mine.echo}:{LOOPBACK}:{far.echo}", f"{mine.bulk}:{LOOPBACK}:{far.bulk}"],
                **keys,
            }
            for name, mine, far in zip(names, tunnels, targets, strict=True)
        }
        there.write(**profiles)
        there.up("--timeout", "300s", *names, timeout=320)
        daemon = psutil.Process(there.daemon_pid())
        return Contestant("tunnels", tunnels, [daemon])

    return open_


@contextmanager
def racing(
    *openers: Opener, tunnels: int = 1, config: Sequence[str] = QUIET
) -> Iterator[tuple[Load, list[Contestant]]]:
    """Have a server, the services behind it, and the contestants with so many tunnels each, all up."""
    with ExitStack() as running:
        folder = Path(running.enter_context(TemporaryDirectory()))
        sshd = running.enter_context(Sshd(folder / "sshd", config=config))
        load = running.enter_context(Load())
        yield load, open_all(running, sshd, load, openers, tunnels=tunnels)


def open_all(
    running: ExitStack,
    sshd: Sshd,
    load: Load,
    openers: Sequence[Opener],
    *,
    tunnels: int = 1,
    inside: Sequence[str] = (),
    look: Callable[[Callable[[], bool]], bool] = lambda probe: probe(),
) -> list[Contestant]:
    """Open the contestants and wait until their ports are there; ``look`` runs a probe where the ports are."""
    opened = []
    for opener in openers:
        contestant = opener(running, sshd, [load.ports] * tunnels, inside)
        for ports in contestant.tunnels:
            eventually(
                lambda port=ports.echo: look(lambda: accepts(port)),  # type: ignore[misc]
                within=30,
                what=f"a port of {contestant.name}",
            )
        opened.append(contestant)
    return opened
