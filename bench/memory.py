"""What the daemon keeps in memory: with one tunnel, and for each further one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil

from bench.table import Figure, Limits
from tests.e2e.bed.ports import free_ports
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.servers import Echo
from tests.e2e.bed.sshd import Sshd


def measure(*, quick: bool = False) -> list[Figure]:
    """Resident memory (RSS) of the daemon, after its tunnels are up."""
    further = 10 if quick else 50
    ports = free_ports(further + 1)
    with tempfile.TemporaryDirectory() as folder, Sshd(Path(folder) / "sshd") as sshd, Echo() as echo:
        tunnels = Tunnels()
        try:
            names = [f"t{number}" for number in range(further + 1)]
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
        Figure(
            "daemon with one tunnel, resident",
            f"{one / 1e6:.1f} MB",
            number=one / 1e6,
            limits=Limits(60, 45, "MB", at_least=False),
        ),
        Figure(
            f"each of {further} more, resident",
            f"{(many - one) / further / 1e3:.0f} kB",
            number=(many - one) / further / 1e3,
            limits=Limits(100, 40, "kB", at_least=False),
        ),
    ]
