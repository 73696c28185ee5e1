"""Many tunnels in one daemon: what each keeps in memory, and what they cost while nothing happens."""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench.contestants import QUIET, Contestant, Load, open_all, ssh
from bench.table import Figure, Limits
from tests.e2e.bed.ports import free_ports
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.wait import for_seconds

ONE = Limits(60, 45, "MB", at_least=False)
FURTHER = Limits(100, 40, "kB", at_least=False)
IDLE = Limits(5, 2, "%", at_least=False)

MANY = 1000
SESSION = 6 << 20
"""Bytes that a session of sshd takes at most; with less memory than all of them need, fewer are tried."""

SSH_PROCESSES = 20


def measure(*, quick: bool = False) -> list[Figure]:
    """All tunnels lead to one server; keepalives are asked for every 15 s, as they are by default."""
    fits = int(psutil.virtual_memory().available * 0.7) // SESSION
    counts, seconds = ([1, 10], 2) if quick else ([1, 100, min(MANY, fits)], 30)
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        sshd = running.enter_context(Sshd(folder / "sshd", config=QUIET))
        load = running.enter_context(Load())
        found = _grow(running, sshd, load, counts, seconds)
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        sshd = running.enter_context(Sshd(folder / "sshd", config=QUIET))
        load = running.enter_context(Load())
        (plain,) = open_all(running, sshd, load, [ssh()], tunnels=4 if quick else SSH_PROCESSES)
        beside = _ssh_memory(plain)
    figures = []
    (_, one, _, _), *more = found
    figures.append(Figure("daemon with one tunnel, resident", f"{one / 1e6:.1f} MB", "", one / 1e6, ONE))
    for count, rss, idle, seconds_up in more:
        each = (rss - one) / (count - 1) / 1e3
        figures.append(
            Figure(
                f"each further of {count} tunnels, resident",
                f"{each:.0f} kB",
                beside,
                each,
                FURTHER,
                samples={"resident bytes": {at: size for at, size, *_ in found}},
            )
        )
        figures.append(
            Figure(
                f"{count} tunnels, idle, of a core",
                f"{idle * 100:.2f} %",
                f"all up after {seconds_up:.1f} s",
                idle * 100,
                IDLE if count >= MANY else None,
            )
        )
    return figures


def _grow(
    running: ExitStack, sshd: Sshd, load: Load, counts: list[int], seconds: float
) -> list[tuple[int, int, float, float]]:
    """Return for each number of tunnels the resident bytes, the part of a core, and the seconds until up."""
    tunnels = running.enter_context(Tunnels())
    ports = free_ports(counts[-1])
    names = [f"t{number}" for number in range(counts[-1])]
    keys = {**sshd.login(), "keepalive": "15s"}
    tunnels.write(
        **{
            name: {**keys, "local": [f"{port}:127.0.0.1:{load.ports.echo}"]}
            for name, port in zip(names, ports, strict=True)
        }
    )
    found = []
    for count in counts:
        started = time.monotonic()
        tunnels.up("--timeout", "240s", *names[:count], timeout=250)
        took = time.monotonic() - started
        daemon = psutil.Process(tunnels.daemon_pid())
        for_seconds(1)  # what belongs to the start
        before = sum(daemon.cpu_times()[:2])
        waited = seconds if count > 1 else 0
        for_seconds(waited)
        used = sum(daemon.cpu_times()[:2]) - before
        found.append((count, daemon.memory_info().rss, used / waited if waited else 0.0, took))
    return found


def _ssh_memory(contestant: Contestant) -> str:
    memory = [process.memory_full_info() for process in contestant.processes]
    own, resident = (statistics.median(getattr(one, kind) for one in memory) / 1e6 for kind in ("uss", "rss"))
    return f"an ssh process: {own:.1f} MB of its own, {resident:.1f} MB resident"
