"""What a network does to a port: ssh, autossh and tunnels, side by side, at the same time, on the same server.

Each fault meets all three in one network of namespaces, with the same keepalives and a client every 100 ms
each. Measured is how long the loss goes unnoticed, how long after the end of the fault the port carries data,
and how many clients fail. ``python -m bench.survival 'new address' …`` tries only some of the faults; all of
them take about a quarter of an hour.
"""

from __future__ import annotations

import abc
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import psutil

from bench.table import Figure, show
from tests.e2e.bed import netns
from tests.e2e.bed.crowd import Crowd
from tests.e2e.bed.faults import ECHO, Laptop
from tests.e2e.bed.ports import accepts
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.wait import eventually

PATIENCE = 20.0
"""Seconds a client waits for its answer."""

AFTERWARDS = 10.0
"""Clients are counted who came from the beginning of a fault until so many seconds after its end."""

POLL = 0.05


class Fault(NamedTuple):
    """One thing that goes wrong; ``lasts`` is None where nothing has to end before a new connection works."""

    name: str
    start: Callable[[Laptop], AbstractContextManager[None]]
    lasts: float | None


FAULTS = [
    Fault("link down 5 s", Laptop.link_down, 5),
    Fault("carrier lost 5 s", Laptop.carrier_lost, 5),
    Fault("new address", Laptop.new_address, 0),
    Fault("black hole 8 s", Laptop.black_hole, 8),
    Fault("server away 1 s", Laptop.server_away, 1),
    Fault("server away 8 s", Laptop.server_away, 8),
    Fault("server away 60 s", Laptop.server_away, 60),
    Fault("sessions stopped", Laptop.sessions_stopped, None),
]


class Keepalives(NamedTuple):
    """How often is asked, how often in vain, and how long after a fault something is waited for."""

    interval: int
    most: int
    limit: float


BLOCKS = [Keepalives(15, 3, 80), Keepalives(1, 3, 30)]


class Contestant(abc.ABC):
    """Something that keeps a port up."""

    name: str

    def __init__(self, net: Laptop, port: int, keepalives: Keepalives) -> None:
        self.net, self.port, self.keepalives = net, port, keepalives
        self.noticed_at: float | None = None
        self.back_at: float | None = None

    @abc.abstractmethod
    def start(self) -> None:
        """Have the port up."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Leave nothing behind."""

    @abc.abstractmethod
    def look(self) -> bool:
        """Whether the loss of its connection has been noticed since `mark`."""

    @abc.abstractmethod
    def mark(self) -> None:
        """Forget what was noticed so far."""

    @property
    def over(self) -> bool:
        """Whether it will never carry data again."""
        return False


class Ssh(Contestant):
    """``ssh -N -L``."""

    name = "ssh -N -L"
    program: Sequence[str] = ("ssh",)

    def start(self) -> None:
        sshd = self.net.sshd
        self._process = psutil.Popen(
            [
                *(*self.net.client.inside, *self.program, "-F", "none", "-N", "-i", str(sshd.identity)),
                *("-l", sshd.user, "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
                *("-o", f"UserKnownHostsFile={sshd.known_hosts}", "-o", "ExitOnForwardFailure=yes"),
                *("-o", f"ServerAliveInterval={self.keepalives.interval}"),
                *("-o", f"ServerAliveCountMax={self.keepalives.most}"),
                *("-L", f"127.0.0.1:{self.port}:{ECHO}", sshd.host),
            ],
            env={**os.environ, "AUTOSSH_GATETIME": "0"},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        eventually(
            lambda: self.net.client.call(lambda: accepts(self.port)), within=15, what=f"port of {self.name}"
        )

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(10)

    def mark(self) -> None:
        self._watched = self._process

    def look(self) -> bool:
        return self.over

    @property
    def over(self) -> bool:
        return self._process.poll() is not None


class Autossh(Ssh):
    """``autossh -M 0``, which starts another ssh when one has ended."""

    name = "autossh -M 0"
    program = ("autossh", "-M", "0")

    def mark(self) -> None:
        (self._child,) = self._process.children()

    def look(self) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return not self._child.is_running() or bool(self._child.status() == psutil.STATUS_ZOMBIE)
        return True


class Product(Contestant):
    """This project."""

    name = "tunnels"

    def start(self) -> None:
        self._tunnels = Tunnels(self.net.client.inside)
        keys = self.net.login(keepalive=f"{self.keepalives.interval}s")
        forwards = {"local": [f"{self.port}:{ECHO}"], "keepalive_count": self.keepalives.most}
        self._tunnels.write(bench={**keys, **forwards})
        self._tunnels.up("bench")

    def stop(self) -> None:
        self._tunnels.close()

    def mark(self) -> None:
        self._since = time.time()

    def look(self) -> bool:
        """Whether its log speaks of another attempt: a connection that is kept needs none."""
        for line in (self._tunnels.state / "log" / "tunnels.log").read_text().splitlines():
            when, _, rest = line.partition(" ")
            if "; attempt " in rest and datetime.fromisoformat(when).timestamp() >= self._since - 0.001:
                return True
        return False


def contestants() -> list[type[Contestant]]:
    """Return those that are installed."""
    found: list[type[Contestant]] = [Ssh]
    if shutil.which("autossh"):
        found.append(Autossh)
    return [*found, Product]


def measure(names: Sequence[str] = ()) -> list[Figure]:
    """Every fault with both kinds of keepalives."""
    if reason := netns.why_not():
        return [Figure("survival", f"not measured: {reason}")]
    figures = []
    for keepalives, fault in itertools.product(BLOCKS, FAULTS):
        if not names or fault.name in names:
            print(f"  {keepalives.interval} s x {keepalives.most}: {fault.name} …", file=sys.stderr)
            figures += _one(fault, keepalives)
    return figures


def _one(fault: Fault, keepalives: Keepalives) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, Laptop(Path(folder)) as net, ExitStack() as running:
        racing: list[tuple[Contestant, Crowd]] = []
        for number, kind in enumerate(contestants()):
            one = kind(net, 5000 + number, keepalives)
            running.callback(one.stop)
            one.start()
            racing.append((one, Crowd(net.client.inside, one.port, patience=PATIENCE)))
        with ExitStack() as coming:
            for _, crowd in racing:
                coming.enter_context(crowd.coming())
            for one, _ in racing:
                one.mark()
            began, back = _let_happen(fault, net, keepalives, racing)
        return [_figure(fault, keepalives, one, crowd, began, back) for one, crowd in racing]


def _let_happen(
    fault: Fault, net: Laptop, keepalives: Keepalives, racing: list[tuple[Contestant, Crowd]]
) -> tuple[float, float]:
    """Return when the fault began and when it was over; the contestants know what they noticed."""
    began = time.monotonic()
    back: float | None = None
    with _held(fault.start(net)) as end:
        happened = time.monotonic()
        if fault.lasts is None:
            back = happened
        while True:
            now = time.monotonic()
            if back is None and fault.lasts is not None and now - happened >= fault.lasts:
                end()
                back = now = time.monotonic()
            for one, crowd in racing:
                if one.noticed_at is None and one.look():
                    one.noticed_at = now - began
                if one.back_at is None and back is not None:
                    one.back_at = _served(crowd, happened, back)
            if back is not None and (
                now - back >= max(keepalives.limit, AFTERWARDS)
                or (now - back >= AFTERWARDS and all(o.over or o.back_at is not None for o, _ in racing))
            ):
                return began, back
            time.sleep(POLL)


@contextmanager
def _held(fault: AbstractContextManager[None]) -> Iterator[Callable[[], None]]:
    """Begin a fault; the function ends it, at the latest the block does."""
    with ExitStack() as stack:
        stack.enter_context(fault)
        yield stack.close


def _served(crowd: Crowd, happened: float, back: float) -> float | None:
    """Return how long after ``back`` a client had its answer that came after the fault had happened."""
    times = [v.served for v in crowd.since(happened) if v.outcome == "served" and v.served > back]
    return min(times) - back if times else None


def _figure(
    fault: Fault, keepalives: Keepalives, one: Contestant, crowd: Crowd, began: float, back: float
) -> Figure:
    counted = crowd.since(began, back + AFTERWARDS)
    failed = sum(crowd.failures(counted).values())
    limit = f"(limit {keepalives.limit:g} s)"
    if one.noticed_at is not None:
        noticed = f"noticed after {one.noticed_at:.2f} s"
    else:
        noticed = "connection kept" if one.back_at is not None else f"never noticed {limit}"
    data = f"data {one.back_at:.2f} s after its end" if one.back_at is not None else f"no data again {limit}"
    what = f"{keepalives.interval} s x {keepalives.most}, {fault.name}: {one.name}"
    return Figure(what, f"{noticed}; {data}; {failed} of {len(counted)} clients failed")


if __name__ == "__main__":
    show(measure(sys.argv[1:]))
