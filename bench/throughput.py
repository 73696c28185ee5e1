"""Bytes through one client, in each direction, and what a gigabyte costs of the processor."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from bench.contestants import GCM, Contestant, Load, product, racing, ssh
from bench.load.bulk import Wish
from bench.table import Figure, Limits, ratio

DEFAULT = Limits(must=1.0, aim=1.4)
AGAINST_GCM = Limits(must=0.7, aim=1.0)

WAYS = {"down": "download", "up": "upload"}


class Run(NamedTuple):
    """One transfer."""

    rate: float  #: bytes a second, at the receiver
    cpu: float  #: seconds of processor time of the contestant for each byte


def transfer(load: Load, one: Contestant, wish: Wish, clients: int = 1) -> tuple[Run, list[float]]:
    """Let clients transfer at once; return the sum, and the rate of each."""
    before = one.cpu()
    found = load.send("bulk", ports=[ports.bulk for ports in one.tunnels for _ in range(clients)], wish=wish)
    cpu = one.cpu() - before
    rates = [client["bytes"] / client["seconds"] if client["seconds"] else 0.0 for client in found]
    return Run(sum(rates), cpu / max(1, sum(client["all"] for client in found))), rates


def measure(*, quick: bool = False) -> list[Figure]:
    """Rounds in turn on one server; the checksum of a first transfer is verified."""
    rounds, total = (1, 50_000_000) if quick else (5, 400_000_000)
    runs: dict[str, dict[str, list[Run]]] = {way: {} for way in WAYS}
    with racing(product(), ssh(), ssh(GCM)) as (load, contestants):
        for one in contestants:
            assert load.send("verify", port=one.ports.bulk, total=8_000_000), f"{one.name} changes bytes"
        bare = [ceiling(load, Wish(way, total)) for way in WAYS]
        for _ in range(rounds):
            for way, series in runs.items():
                for one in contestants:
                    series.setdefault(one.name, []).append(transfer(load, one, Wish(way, total))[0])
    figures = []
    for way, series in runs.items():
        ours, *others = series.items()
        for (name, theirs), limits in zip(others, (DEFAULT, AGAINST_GCM), strict=True):
            figures.append(
                ratio(
                    f"{WAYS[way]} of {total // 10**6} MB, one client",
                    [run.rate for run in ours[1]],
                    [run.rate for run in theirs],
                    unit="MB/s",
                    scale=1e-6,
                    against=name,
                    limits=limits,
                )
            )
        figures.append(cpu_figure(f"{WAYS[way]}, processor", series))
    return [*figures, *bare]


def ceiling(load: Load, wish: Wish, clients: int = 1) -> Figure:
    """Measure the load by itself, without a tunnel: it must not be what limits anything."""
    found = load.send("bulk", ports=[load.ports.bulk] * clients, wish=wish)
    rate = sum(client["bytes"] / client["seconds"] for client in found if client["seconds"])
    return Figure(
        f"{WAYS[wish.way]} of {clients} without a tunnel: what the load can do", f"{rate / 1e6:.0f} MB/s"
    )


def cpu_figure(what: str, series: dict[str, list[Run]]) -> Figure:
    """Return what a gigabyte costs each; it hardly depends on what else the machine does."""
    costs = {name: [run.cpu * 1e9 for run in runs] for name, runs in series.items()}
    ours = costs.pop("tunnels")
    return Figure(
        what,
        f"{statistics.median(ours):.2f} s/GB",
        ", ".join(f"{name} {statistics.median(theirs):.2f} s/GB" for name, theirs in costs.items()),
        spread=f"{min(ours):.2f} … {max(ours):.2f}",
        samples={"tunnels": ours, **costs},
    )
