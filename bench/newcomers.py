"""New clients, one after the other: how many a second, and what ten thousand of them leave behind."""

from __future__ import annotations

from bench.contestants import product, racing, ssh
from bench.table import Figure, Limits, ratio

LIMITS = Limits(must=0.7, aim=1.0)


def measure(*, quick: bool = False) -> list[Figure]:
    """Each client connects, sends a byte, waits for it and closes."""
    count, block, many = (100, 50, 500) if quick else (3000, 200, 10_000)
    with racing(product(), ssh()) as (load, contestants):
        ports = [one.ports.echo for one in contestants]
        ours, theirs = load.send("connects", ports=ports, count=count, block=block)
        daemon = contestants[0]
        before, cpu = daemon.rss(), daemon.cpu()
        load.send("connects", ports=ports[:1], count=many, block=many // 10)
        grown, cpu = daemon.rss() - before, daemon.cpu() - cpu
    return [
        ratio(
            "new clients a second, one after the other",
            [block / seconds for seconds in ours],
            [block / seconds for seconds in theirs],
            unit="/s",
            against="ssh",
            limits=LIMITS,
        ),
        Figure(
            f"memory after {many} clients one after the other",
            f"{grown / 1e6:+.2f} MB",
            f"{cpu / (many * 1.1) * 1e6:.0f} µs of the processor for each",
            samples={"bytes before": before, "bytes grown": grown},
        ),
    ]
