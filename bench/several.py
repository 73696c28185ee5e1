"""Several busy tunnels: one daemon, which is one process, beside as many ``ssh`` processes."""

from __future__ import annotations

from bench.contestants import GCM, product, racing, ssh
from bench.load.bulk import Wish
from bench.table import Figure, ratio
from bench.throughput import WAYS, Run, cpu_figure, transfer

COUNTS = (1, 2, 4)


def measure(*, quick: bool = False) -> list[Figure]:
    """One client of each tunnel, all at once, in each direction."""
    rounds, warm, seconds = (1, 0.3, 0.7) if quick else (3, 0.5, 2.0)
    figures = []
    for count in COUNTS[-1:] if quick else COUNTS:
        with racing(product(), ssh(), ssh(GCM), tunnels=count) as (load, contestants):
            for way, name in WAYS.items():
                series: dict[str, list[Run]] = {}
                for _ in range(rounds):
                    for one in contestants:
                        run, _ = transfer(load, one, Wish(way, 0, warm, seconds))
                        series.setdefault(one.name, []).append(run)
                what = f"{name} through {count} tunnel{'s' if count > 1 else ''} at once"
                ours, *others = series.items()
                figures += [
                    ratio(
                        f"{what}, sum",
                        [run.rate for run in ours[1]],
                        [run.rate for run in theirs],
                        unit="MB/s",
                        scale=1e-6,
                        against=other if count == 1 else f"{count} × {other}",
                    )
                    for other, theirs in others
                ]
                figures.append(cpu_figure(f"{what}, processor", series))
    return figures
