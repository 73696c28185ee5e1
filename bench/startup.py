"""How long commands take, against ``python -c pass``: medians of alternating runs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.table import Figure
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.servers import Echo
from tests.e2e.bed.sshd import Sshd

ROUNDS = 25


def measure() -> list[Figure]:
    """``tunnels status`` and its JSON, of a daemon with one tunnel that is up."""
    with tempfile.TemporaryDirectory() as folder, Sshd(Path(folder) / "sshd") as sshd, Echo() as echo:
        tunnels = Tunnels()
        try:
            tunnels.write(bench={**sshd.login(), "local": [f"{free_port()}:127.0.0.1:{echo.port}"]})
            tunnels.up("bench")
            commands = {
                "tunnels status": [sys.executable, "-m", "tunnels", "status"],
                "tunnels status --json": [sys.executable, "-m", "tunnels", "status", "--json"],
                "tunnels status NAME": [sys.executable, "-m", "tunnels", "status", "bench"],
            }
            python = [sys.executable, "-c", "pass"]
            times: dict[str, list[float]] = {name: [] for name in (*commands, "python")}
            for _ in range(ROUNDS):
                for name, command in (*commands.items(), ("python", python)):
                    times[name].append(_time(command, tunnels.env))
        finally:
            tunnels.close()
    bare = statistics.median(times.pop("python"))
    figures = []
    for name, found in times.items():
        median = statistics.median(found)
        compared = f"python -c pass {bare * 1000:.0f} ms"
        figures.append(
            Figure(name, f"{median * 1000:.0f} ms = {median / bare:.1f} ×", compared, "≤ 15 ×", "≤ 8 ×")
        )
    return figures


def _time(command: list[str], env: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started
