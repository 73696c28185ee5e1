"""A path of 100 ms: two network namespaces, and a cable between them that takes its time. Needs root on Linux."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.contestants import GCM, REPOSITORY, Contestant, Load, open_all, product, ssh
from bench.load.bulk import Wish
from bench.machine import congestion_control
from bench.table import Figure, ratio
from bench.throughput import WAYS, transfer
from tests.e2e.bed import netns
from tests.e2e.bed.faults import PLAIN, FarSshd
from tests.e2e.bed.netns import SERVER_4, SERVER_6, Host

ROUND_TRIP = 100.0
"""Milliseconds."""

CLIENTS = (1, 4)

BUFFERS = "4096 131072 134217728"
"""tcp(7), tcp_rmem and tcp_wmem: TCP must not be what limits a path of a gigabit and 100 ms (12 MB)."""


class Far(Host):
    """A namespace with one end of the cable."""

    def plug(self, interface: str, *addresses: str) -> None:
        """Have the interface up."""
        self.ip("link", "set", interface, "txqueuelen", "10000", "up")
        for address in addresses:
            self.ip("addr", "add", address, "dev", interface, *(["nodad"] if ":" in address else []))
        self.sysctl(f"net.ipv4.tcp_rmem={BUFFERS}", f"net.ipv4.tcp_wmem={BUFFERS}")
        with contextlib.suppress(
            OSError
        ):  # what most computers have; not every kernel lets a namespace choose
            self.sysctl("net.ipv4.tcp_congestion_control=cubic")


@contextmanager
def cable(milliseconds: float) -> Iterator[tuple[Far, Far]]:
    """Have two computers with a cable between them, half of the time in each direction."""
    netns.sweep()
    with ExitStack() as running:
        hosts = []
        for role in ("near", "far"):
            name = f"{netns.PREFIX}-{os.getpid()}-{role}"
            running.callback(netns.remove, name)
            hosts.append(Far(name))
        near, far = hosts
        command = [near.name, "tap0", far.name, "tap0", str(milliseconds / 2)]
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.load.delay", *command],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        running.callback(process.wait, 10)
        running.callback(process.kill)
        assert process.stdin
        assert process.stdout
        running.enter_context(process.stdin)
        running.enter_context(process.stdout)
        assert process.stdout.readline() == b"ready\n", "there is no cable"
        near.plug("tap0", "10.77.9.1/24")
        far.plug("tap0", f"{SERVER_4}/24", f"{SERVER_6}/64")
        yield near, far


def measure(*, quick: bool = False) -> list[Figure]:
    """Steady throughput after a warm-up: first of the cable itself, then through it."""
    if reason := why_not():
        return [Figure(f"a path of {ROUND_TRIP:g} ms", f"not measured: {reason}")]
    rounds, warm, seconds = (1, 1.0, 1.0) if quick else (2, 4.0, 4.0)
    figures = []
    with ExitStack() as running:
        near, far = running.enter_context(cable(ROUND_TRIP))
        folder = Path(running.enter_context(TemporaryDirectory()))
        sshd = FarSshd(far, folder / "sshd", config=PLAIN)
        running.callback(sshd.stop)
        sshd.start()
        load = running.enter_context(Load(near=near.inside, far=far.inside, host="0.0.0.0"))
        contestants = open_all(
            running, sshd, load, [product(), ssh(), ssh(GCM)], inside=near.inside, look=near.call
        )
        for way, name in WAYS.items():
            wish = Wish(way, 0, warm, seconds)
            bare = [
                one["bytes"] / seconds
                for one in load.send("bulk", ports=[load.ports.bulk], wish=wish, host=SERVER_4)
            ]
            cable_itself = f"the cable itself, one connection of TCP {near.call(congestion_control)}"
            figures.append(Figure(f"{ROUND_TRIP:g} ms, {name}: {cable_itself}", f"{bare[0] / 1e6:.0f} MB/s"))
            counts = CLIENTS[:1] if quick else CLIENTS
            for clients in counts:
                figures += _compare(load, contestants, wish, clients, rounds)
    return figures


def _compare(
    load: Load, contestants: list[Contestant], wish: Wish, clients: int, rounds: int
) -> list[Figure]:
    rates: dict[str, list[float]] = {}
    for _ in range(rounds):
        for one in contestants:
            rates.setdefault(one.name, []).append(transfer(load, one, wish, clients)[0].rate)
    what = f"{ROUND_TRIP:g} ms, {WAYS[wish.way]}, {clients} client{'s' if clients > 1 else ''}"
    return [
        ratio(what, rates["tunnels"], theirs, unit="MB/s", scale=1e-6, against=name)
        for name, theirs in rates.items()
        if name != "tunnels"
    ]


def why_not() -> str | None:
    """Return why there can be no such path here, or nothing if there can."""
    if reason := netns.why_not():
        return reason
    return None if os.access("/dev/net/tun", os.R_OK | os.W_OK) else "no /dev/net/tun"
