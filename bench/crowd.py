"""Two hundred clients at once: the sum of what they get, and what the slowest gets beside the fastest."""

from __future__ import annotations

import statistics
import time

import psutil

from bench.contestants import GCM, product, racing, ssh
from bench.load.bulk import Wish
from bench.table import Figure, Limits, ratio
from bench.throughput import WAYS, Run, ceiling, cpu_figure, transfer

CLIENTS = 200

SETTLED = 0.1
"""Part of all processors that may be busy when a crowd begins."""

PATIENCE = 10.0
"""Seconds; on a computer that others use it never gets so quiet."""
LIMITS = Limits(must=0.8, aim=1.0)


def measure(*, quick: bool = False) -> list[Figure]:
    """They all transfer for some seconds after a warm-up."""
    rounds, warm, seconds = (1, 1.0, 1.0) if quick else (3, 1.0, 3.0)
    runs: dict[str, dict[str, list[Run]]] = {way: {} for way in WAYS}
    shares: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    with racing(product(), ssh(), ssh(GCM)) as (load, contestants):
        bare = [ceiling(load, Wish(way, 0, warm, seconds), CLIENTS) for way in WAYS]
        for _ in range(rounds):
            for way in WAYS:
                for one in contestants:
                    _settle()
                    run, rates = transfer(load, one, Wish(way, 0, warm, seconds), CLIENTS)
                    runs[way].setdefault(one.name, []).append(run)
                    shares[way].setdefault(one.name, []).append(min(rates) / (max(rates) or 1.0))
    figures = []
    for way, series in runs.items():
        ours, *others = series.items()
        for name, theirs in others:
            figures.append(
                ratio(
                    f"{WAYS[way]} of {CLIENTS} clients at once, sum",
                    [run.rate for run in ours[1]],
                    [run.rate for run in theirs],
                    unit="MB/s",
                    scale=1e-6,
                    against=name,
                    limits=LIMITS if name == "ssh" else None,
                )
            )
        fair = {name: statistics.median(found) for name, found in shares[way].items()}
        figures.append(
            Figure(
                f"{WAYS[way]} of {CLIENTS}: slowest beside fastest",
                f"{fair.pop('tunnels'):.2f}",
                ", ".join(f"{name} {share:.2f}" for name, share in fair.items()),
                samples=shares[way],
            )
        )
        figures.append(cpu_figure(f"{WAYS[way]} of {CLIENTS}, processor", series))
    return [*figures, *bare]


def _settle() -> None:
    """Let those before finish: an sshd, or an ssh, goes on copying for seconds after its clients have left."""
    given_up = time.monotonic() + PATIENCE
    while psutil.cpu_percent(interval=0.3) > 100 * SETTLED and time.monotonic() < given_up:
        pass
