"""Fairness: the round trip of a small client while another one on the same tunnel moves as much as it can."""

from __future__ import annotations

import statistics

from bench.contestants import GCM, Contestant, Load, product, racing, ssh
from bench.latency import SIZE, quantile
from bench.table import Figure, ratio
from bench.throughput import WAYS
from tests.e2e.bed.wait import for_seconds


def measure(*, quick: bool = False) -> list[Figure]:
    """Rounds in turn; in each a bulk client goes on for as long as the small one is asking."""
    rounds, count = (1, 50) if quick else (3, 500)
    figures = []
    with racing(product(), ssh(), ssh(GCM)) as (load, contestants):
        for way, name in WAYS.items():
            series: dict[str, list[list[float]]] = {}
            rates: dict[str, list[float]] = {}
            for _ in range(rounds):
                for one in contestants:
                    times, rate = _beside(load, one, way, count)
                    series.setdefault(one.name, []).append(times)
                    rates.setdefault(one.name, []).append(rate)
            figures += _figures(f"round trip beside one {name}", series)
            figures += [
                bulk_beside(f"that {name} meanwhile", rates, other) for other in rates if other != "tunnels"
            ]
    return figures


def _beside(load: Load, one: Contestant, way: str, count: int) -> tuple[list[float], float]:
    with load.meanwhile("stall", ports=[one.ports.bulk], way=way, reads=True) as process:
        assert process.stdout
        assert process.stdout.readline(), "the bulk client has ended"
        for_seconds(0.5)  # it is under way
        times = load.send("round_trips", ports=[one.ports.echo], count=count, size=SIZE, block=count)
        return list(times[0]), load.rate_of(process)


def bulk_beside(what: str, rates: dict[str, list[float]], name: str) -> Figure:
    """What the bulk client got: holding it up would be an easy way to a short round trip."""
    return ratio(what, rates["tunnels"], rates[name], unit="MB/s", scale=1e-6, against=name)


def _figures(what: str, series: dict[str, list[list[float]]]) -> list[Figure]:
    ours, *others = series.items()
    tails = {name: quantile([t for times in found for t in times], 0.99) for name, found in series.items()}
    return [
        ratio(
            f"{what}, median",
            [statistics.median(times) for times in ours[1]],
            [statistics.median(times) for times in theirs],
            unit="ms",
            scale=1e3,
            against=name,
            more=f", p99 {tails['tunnels'] * 1e3:.3g} ms",
            p99={"tunnels": tails["tunnels"], name: tails[name]},
        )
        for name, theirs in others
    ]
