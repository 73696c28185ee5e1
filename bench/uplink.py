"""The uplink of a home: 20 Mbit/s and 20 ms, and somebody who uploads. Needs root on Linux."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.beside import bulk_beside
from bench.contestants import Contestant, Load, open_all, product, ssh
from bench.distance import cable, why_not
from bench.latency import SIZE
from bench.machine import congestion_control
from bench.table import Figure, ratio
from tests.e2e.bed import netns
from tests.e2e.bed.faults import PLAIN, FarSshd
from tests.e2e.bed.wait import for_seconds

RATE = "20mbit"
ROUND_TRIP = 20.0
"""Milliseconds."""

QUEUE = "300ms"
"""What a cheap router keeps before it drops."""


def measure(*, quick: bool = False) -> list[Figure]:
    """The round trip of a small client beside an upload on the same tunnel, when its first seconds are over."""
    what = f"{RATE[:-4]} Mbit/s and {ROUND_TRIP:g} ms, round trip beside one upload"
    if reason := why_not():
        return [Figure(what, f"not measured: {reason}")]
    rounds, warm, count = (1, 2.0, 10) if quick else (3, 5.0, 25)
    series: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    with ExitStack() as running:
        near, far = running.enter_context(cable(ROUND_TRIP))
        what += f", TCP {near.call(congestion_control)}"
        for host in (near, far):
            shape = ["rate", RATE, "burst", "64k", "latency", QUEUE]
            netns.run(
                "ip", "netns", "exec", host.name, "tc", "qdisc", "add", "dev", "tap0", "root", "tbf", *shape
            )
        folder = Path(running.enter_context(TemporaryDirectory()))
        sshd = FarSshd(far, folder / "sshd", config=PLAIN)
        running.callback(sshd.stop)
        sshd.start()
        load = running.enter_context(Load(near=near.inside, far=far.inside, host="0.0.0.0"))
        contestants = open_all(running, sshd, load, [product(), ssh()], inside=near.inside, look=near.call)
        for _ in range(rounds):
            for one in contestants:
                times, rate = _beside(load, one, warm, count)
                series.setdefault(one.name, []).append(times)
                rates.setdefault(one.name, []).append(rate)
    return [
        ratio(what, series["tunnels"], series["ssh"], unit="ms", scale=1e3, against="ssh"),
        bulk_beside("that upload meanwhile", rates, "ssh"),
    ]


def _beside(load: Load, one: Contestant, warm: float, count: int) -> tuple[float, float]:
    with load.meanwhile("stall", ports=[one.ports.bulk], way="up", reads=True) as process:
        assert process.stdout
        assert process.stdout.readline(), "the upload has ended"
        for_seconds(warm)
        times = load.send("round_trips", ports=[one.ports.echo], count=count, size=SIZE, block=count)
        rate = load.rate_of(process)
    for_seconds(2)  # until what is on its way has arrived
    return float(statistics.median(times[0])), rate
