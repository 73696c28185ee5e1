"""What the daemon keeps in memory: with one tunnel, and for each further one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil

from bench.table import Figure
from tests.e2e.bed.ports import free_ports
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.servers import Echo
from tests.e2e.bed.sshd import Sshd

MANY = 50


def measure() -> list[Figure]:
    """Resident memory (RSS) of the daemon, after its tunnels are up."""
    ports = free_ports(MANY + 1)
    with tempfile.TemporaryDirectory() as folder, Sshd(Path(folder) / "sshd") as sshd, Echo() as echo:
        tunnels = Tunnels()
        try:
            names = [f"t{number}" for number in range(MANY + 1)]
            profiles = {
                name: {**sshd.login(), "local": [f"{port}:127.0.0.1:{echo.port}"]}
                for name, port in zip(names, ports, strict=True)
            }
            tunnels.write(**profiles)
            tunnels.up(names[0])
            daemon = psutil.Process(tunnels.daemon_pid())
            one = daemon.memory_info().rss
            tunnels.up(*names, timeout=60)
            many = daemon.memory_info().rss
        finally:
            tunnels.close()
    return [
        Figure("daemon with one tunnel, resident", f"{one / 1e6:.1f} MB", "", "≤ 60 MB", "≤ 45 MB"),
        Figure(
            f"each of {MANY} more, resident", f"{(many - one) / MANY / 1e3:.0f} kB", "", "≤ 100 kB", "≤ 40 kB"
        ),
    ]
