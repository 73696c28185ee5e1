"""How soon a port carries data again after the network is back. `survival` has more, beside ssh and autossh."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from bench.survival import FAULTS, PATIENCE, Fault, Keepalives, Product
from bench.table import Figure, Limits
from tests.e2e.bed import netns
from tests.e2e.bed.crowd import Crowd
from tests.e2e.bed.faults import Laptop
from tests.e2e.bed.wait import eventually, for_seconds

LIMITS = Limits(2, 0.5, "s", at_least=False)

#: Those whose end is a network that is there again; at the end of "server away" it is a server.
NAMES = ("link down 5 s", "carrier lost 5 s", "new address", "black hole 8 s", "server away 8 s")

KEEPALIVES = Keepalives(15, 3, 0)
"""The defaults: nothing that helps."""


def measure(*, quick: bool = False) -> list[Figure]:
    """Each fault some times; a client comes every 100 ms."""
    if reason := netns.why_not():
        return [Figure("after the network is back", f"not measured: {reason}")]
    faults = [fault for fault in FAULTS if fault.name in NAMES]
    figures = []
    for fault in faults[:1] if quick else faults:
        times = _times(fault, 1 if quick else 3)
        median = statistics.median(times)
        figures.append(
            Figure(
                f"{fault.name}: from its end until the port carries data",
                f"{median:.2f} s",
                "ssh: see survival",
                median,
                LIMITS,
                f"{min(times):.2f} … {max(times):.2f}",
                {"seconds": times},
            )
        )
    return figures


def _times(fault: Fault, rounds: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder, Laptop(Path(folder)) as net:
        tunnel = Product(net, 5000, KEEPALIVES)
        try:
            tunnel.start()
            return [_once(net, tunnel, fault) for _ in range(rounds)]
        finally:
            tunnel.stop()


def _once(net: Laptop, tunnel: Product, fault: Fault) -> float:
    crowd = Crowd(net.client.inside, tunnel.port, patience=PATIENCE)
    with crowd.coming():
        with fault.start(net):
            happened = time.monotonic()
            for_seconds(fault.lasts or 0)
        back = time.monotonic()

        def served() -> list[float]:
            since = crowd.since(happened)
            return [v.served - back for v in since if v.outcome == "served" and v.served > back]

        return min(eventually(served, within=PATIENCE, what=f"data after {fault.name}"))
