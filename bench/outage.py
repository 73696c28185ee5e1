"""sshd and its sessions are killed for 8 seconds; a client connects every 100 ms meanwhile.

Who of them fails, and how long after the server is back the port carries data: plain ssh, autossh where it
is installed, and tunnels, each on its own, on the same kind of server.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.table import Figure
from tests.e2e.bed.ports import accepts, free_port
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.servers import Echo
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.traffic import Visitors
from tests.e2e.bed.wait import eventually, for_seconds

OUTAGE = 8.0

#: Seconds given to a port to carry data again; what has not come back by then is said not to.
PATIENCE = 30.0


def measure() -> list[Figure]:
    """One outage for each contestant."""
    contestants: dict[str, Callable[[Sshd, int, int], Iterator[None]]] = {"ssh -N -L": _ssh}
    if shutil.which("autossh"):
        contestants["autossh -M 0"] = _autossh
    contestants["tunnels"] = _tunnels
    figures = []
    for name, keep_up in contestants.items():
        failed, came, back = _one_outage(keep_up)
        carried = (
            f"data {back:.2f} s after the server is back" if back is not None else "never carried data again"
        )
        figures.append(
            Figure(f"outage of {OUTAGE:g} s: {name}", f"{failed} of {came} clients failed; {carried}")
        )
    return figures


def _one_outage(keep_up: Callable[[Sshd, int, int], Iterator[None]]) -> tuple[int, int, float | None]:
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as folder,
        Sshd(Path(folder) / "sshd") as sshd,
        Echo() as echo,
        contextmanager(keep_up)(sshd, port, echo.port),
    ):
        visitors = Visitors(port, patience=PATIENCE)
        with visitors.coming():
            eventually(
                lambda: [visit for visit in visitors.visits if visit.outcome == "served"],
                within=10,
                what="a first visitor served",
            )
            sshd.stop()
            gone = time.monotonic()
            for_seconds(OUTAGE)
            sshd.start()
            back = time.monotonic()

            def served_again() -> list[float]:
                return [v.served for v in visitors.visits if v.served > back and v.outcome == "served"]

            try:
                first: float | None = min(eventually(served_again, within=PATIENCE, what="data again"))
            except AssertionError:
                first = None
        meanwhile = [visit for visit in visitors.visits if gone <= visit.came <= back]
    failed = sum(visit.outcome != "served" for visit in meanwhile)
    return failed, len(meanwhile), None if first is None else first - back


def _options(sshd: Sshd) -> list[str]:
    known_hosts = Path(sshd.identity).parent / "bench_known_hosts"
    known_hosts.write_text(sshd.known_hosts_line + "\n")
    return [
        *("-F", "none", "-N", "-p", str(sshd.port), "-i", str(sshd.identity), "-l", sshd.user),
        *("-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={known_hosts}"),
        *("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3", "-o", "ExitOnForwardFailure=yes"),
    ]


def _ssh(sshd: Sshd, port: int, target: int) -> Iterator[None]:
    command = ["ssh", *_options(sshd), "-L", f"{port}:127.0.0.1:{target}", sshd.host]
    yield from _running(command, port, dict(os.environ))


def _autossh(sshd: Sshd, port: int, target: int) -> Iterator[None]:
    command = ["autossh", "-M", "0", *_options(sshd), "-L", f"{port}:127.0.0.1:{target}", sshd.host]
    yield from _running(command, port, {**os.environ, "AUTOSSH_GATETIME": "0"})


def _running(command: list[str], port: int, env: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        eventually(lambda: accepts(port), within=10, what="the port of " + command[0])
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(10)


def _tunnels(sshd: Sshd, port: int, target: int) -> Iterator[None]:
    tunnels = Tunnels()
    try:
        tunnels.write(bench={**sshd.login(), "keepalive": "1s", "local": [f"{port}:127.0.0.1:{target}"]})
        tunnels.up("bench")
        yield
    finally:
        tunnels.close()
