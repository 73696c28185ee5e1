"""What it costs to look: `tunnels ui` with many tunnels, none of which does anything."""

from __future__ import annotations

import tempfile
from pathlib import Path

import psutil

from bench.contestants import QUIET
from bench.table import Figure, Limits
from tests.e2e.bed.ports import free_ports
from tests.e2e.bed.product import COMMAND, Tunnels
from tests.e2e.bed.screen import Screen
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.wait import for_seconds

VIEW = Limits(3, 1, "%", at_least=False)

MANY = 200


def measure(*, quick: bool = False) -> list[Figure]:
    """The view and the daemon that it asks, beside the daemon alone."""
    count, seconds = (5, 2.0) if quick else (MANY, 20.0)
    ports = free_ports(count)
    with (
        tempfile.TemporaryDirectory() as folder,
        Sshd(Path(folder) / "sshd", config=QUIET) as sshd,
        Tunnels() as tunnels,
    ):
        tunnels.with_extras()
        forwards = {f"t{port}": [f"{port}:127.0.0.1:{sshd.port}"] for port in ports}
        tunnels.write(
            **{name: {**sshd.login(), "keepalive": "15s", "local": local} for name, local in forwards.items()}
        )
        tunnels.up("--timeout", "120s", "--all", timeout=130)
        daemon = psutil.Process(tunnels.daemon_pid())
        for_seconds(seconds / 4)  # what belongs to the start
        alone = _used(seconds, daemon)[0]
        figures = []
        with Screen([*COMMAND, "ui"], env=tunnels.env, cwd=tunnels.home, columns=80, lines=24) as screen:
            screen.shows(f"{count} of {count} up")
            view = _view(tunnels)
            for columns, lines in ((80, 24), (120, 40)):
                screen.resize(columns, lines)
                for_seconds(seconds / 4)
                used, asked = _used(seconds, view, daemon)
                figures.append(
                    Figure(
                        f"tunnels ui at {columns}×{lines}, {count} tunnels, idle, of a core",
                        f"{used * 100:.1f} %",
                        f"the daemon {asked * 100:.1f} %, without the view {alone * 100:.1f} %",
                        used * 100,
                        VIEW,
                    )
                )
        return figures


def _view(tunnels: Tunnels) -> psutil.Process:
    (found,) = (it for it in tunnels.processes() if it.cmdline() == [*COMMAND, "ui"])
    return found


def _used(seconds: float, *processes: psutil.Process) -> list[float]:
    """Parts of a core."""
    before = [sum(process.cpu_times()[:2]) for process in processes]
    for_seconds(seconds)
    return [
        (sum(process.cpu_times()[:2]) - was) / seconds for process, was in zip(processes, before, strict=True)
    ]
