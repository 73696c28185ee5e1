"""The round trip of 64 bytes."""

from __future__ import annotations

import statistics

from bench.contestants import GCM, product, racing, ssh
from bench.load.relay import relayed
from bench.table import Figure, Limits, ratio

LIMITS = Limits(must=1.25, aim=1.0, at_least=False)
SIZE = 64


def quantile(times: list[float], part: float) -> float:
    """Return the time that so large a part of them does not exceed."""
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def measure(*, quick: bool = False) -> list[Figure]:
    """One connection of each, in blocks in turn; without a tunnel too, and through a relay that has no SSH."""
    count, block = (500, 100) if quick else (10_000, 500)
    with racing(product(), ssh(), ssh(GCM)) as (load, contestants), relayed(load.ports.echo) as floor:
        ports = [one.ports.echo for one in contestants] + [load.ports.echo, floor]
        times = load.send("round_trips", ports=ports, count=count, size=SIZE, block=block)
    *found, direct, relay = times
    ours, *others = [(one.name, series) for one, series in zip(contestants, found, strict=True)]

    def blocks(series: list[float]) -> list[float]:
        return [statistics.median(series[at : at + block]) for at in range(0, len(series), block)]

    figures = []
    for name, theirs in others:
        figures.append(
            ratio(
                "round trip of 64 bytes, median of blocks",
                blocks(ours[1]),
                blocks(theirs),
                unit="µs",
                scale=1e6,
                against=name,
                limits=LIMITS if name == "ssh" else None,
            )
        )
    tails = {name: quantile(series, 0.99) * 1e6 for name, series in (ours, *others)}
    bare = statistics.median(direct) * 1e6
    figures.append(
        Figure(
            f"round trip of 64 bytes, p99 of {len(direct)}",
            f"{tails['tunnels']:.0f} µs",
            ", ".join(f"{name} {tails[name]:.0f} µs" for name, _ in others)
            + f"; no tunnel: median {bare:.0f} µs",
            samples={"p99": tails, "median without a tunnel": bare},
        )
    )
    added = statistics.median(relay) * 1e6 - bare
    figures.append(
        Figure(
            "round trip of 64 bytes, what is added to that of no tunnel",
            f"{statistics.median(ours[1]) * 1e6 - bare:.0f} µs",
            ", ".join(f"{name} {statistics.median(series) * 1e6 - bare:.0f} µs" for name, series in others)
            + f"; bytes relayed in Python on the same event loop, without SSH and a server: {added:.0f} µs",
            samples={"relay without SSH": [added]},
        )
    )
    return figures
