"""An hour of cuts: one daemon, three tunnels, clients all the time, a random fault every 20 seconds.

``make soak MINUTES=60``, or ``python -m bench.soak MINUTES [SEED]``. Every minute a line; at the end what is
wrong, and exit code 1 if anything is: a descriptor that leaked, a client still held, memory that grew, a cut
that the history does not have, or not with its cause.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.e2e.bed import netns, socks
from tests.e2e.bed.clients import talk_over
from tests.e2e.bed.crowd import Crowd
from tests.e2e.bed.faults import CAREFUL, ECHO, Laptop
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.servers import LOOPBACK, PORTS
from tests.e2e.bed.wait import Background, eventually, for_seconds

EVERY = 20.0
"""Seconds from one cut to the next."""

WARM_UP = 300.0
"""Seconds after which memory should not grow any more; a third of the run, if that is less."""

LOCAL, DYNAMIC, REMOTE = 5000, 1080, 8080

SELDOM = 2.5
"""Seconds between two clients of the remote forward. sshd 9.2 does not find out that its client is dead as long
as somebody connects to a port it listens on for us more often than its ClientAliveInterval, which is 1 s here:
the port is then held until TCP gives up, after a quarter of an hour."""

NAMES = ("local", "remote", "dynamic")

KEPT_OR = "the network has changed|network had changed|did not answer|did not arrive|reset by peer"
"""What may be the cause of a drop where the connection may as well be kept."""


class Cut(NamedTuple):
    """A fault, how long it lasts, and the cause that the history has to tell (None: it may be kept)."""

    name: str
    start: Callable[[Laptop], AbstractContextManager[None]]
    lasts: float
    cause: str | None
    most: int = 1  #: drops that it may make


CUTS = [
    Cut("link down", Laptop.link_down, 3, None),
    Cut("carrier lost", Laptop.carrier_lost, 3, None),
    Cut("route withdrawn", Laptop.route_withdrawn, 3, None),
    Cut("short black hole", Laptop.black_hole, 1, None),
    Cut("new address", Laptop.new_address, 0, r"address .* has left"),
    Cut("black hole", Laptop.black_hole, 8, r"did not answer|did not arrive"),
    Cut("half a black hole", lambda net: net.black_hole("back"), 8, r"did not answer|did not arrive"),
    Cut("server away", Laptop.server_away, 3, r"closed|reset|ended|lost|broke"),
    Cut("sessions stopped", Laptop.sessions_stopped, 8, r"did not answer|did not arrive"),
    Cut("reset by a middlebox", Laptop.middlebox_resets, 3, r"reset|closed|lost|broke"),
    Cut("second interface", Laptop.second_interface, 4, None, most=2),  # there and back
]


class Soak:
    """One run."""

    def __init__(self, net: Laptop, tunnels: Tunnels, minutes: float, seed: int) -> None:
        self._net, self._tunnels = net, tunnels
        self._seconds = minutes * 60
        self._random = random.Random(seed)
        self._crowds = {
            "local": Crowd(net.client.inside, LOCAL, interval=0.2),
            "remote": Crowd(net.server.inside, REMOTE, interval=SELDOM),
        }
        self._socks: Counter[str] = Counter()
        self._rss: list[tuple[float, int]] = []
        self.wrong: list[str] = []
        self._cuts: Counter[str] = Counter()
        self._told: Counter[str] = Counter()  # drops that the history has for each tunnel

    def run(self) -> None:
        """Do it all; `wrong` says what was found."""
        login = self._net.login(keepalive="1s")
        self._tunnels.write(
            local={**login, "local": [f"{LOCAL}:{ECHO}"]},
            remote={**login, "remote": [f"{REMOTE}:{ECHO}"]},
            dynamic={**login, "dynamic": [str(DYNAMIC)]},
        )
        self._tunnels.up("--all")
        self._daemon = psutil.Process(self._tunnels.daemon_pid())
        self._ask_proxy()
        descriptors = self._quiet_descriptors()
        self._began = time.monotonic()
        with ExitStack() as coming:
            for crowd in self._crowds.values():
                coming.enter_context(crowd.coming())
            self._cut_again_and_again()
        self._end(descriptors)

    def _quiet_descriptors(self) -> int:
        """Wait until no client is there, and count the daemon's open files."""

        def quiet() -> bool:
            forwards = [f for tunnel in self._tunnels.status_json()["tunnels"] for f in tunnel["forwards"]]
            return all(not forward["clients"] and not forward["held"] for forward in forwards)

        try:
            eventually(quiet, within=45, what="the last client gone")
        except AssertionError as exc:
            self.wrong.append(f"clients are still there: {exc}")
        return self._daemon.num_fds()

    def _cut_again_and_again(self) -> None:
        end = self._began + self._seconds
        next_line = self._began + 60
        while (started := time.monotonic()) + EVERY <= end:
            cut = self._random.choice(CUTS)
            self._cuts[cut.name] += 1
            wall = time.time()
            with cut.start(self._net):
                for_seconds(cut.lasts)
            self._go_on_until(started + EVERY)
            self._check(cut, wall)
            if time.monotonic() >= next_line:
                next_line += 60
                self._line()

    def _go_on_until(self, moment: float) -> None:
        while time.monotonic() < moment:
            asking = Background(lambda: self._socks.update([self._ask_proxy()]))
            for_seconds(min(2.0, max(0.0, moment - time.monotonic())))
            if not asking.done:
                asking.result(within=30)
            self._rss.append((time.monotonic() - self._began, self._daemon.memory_info().rss))

    def _ask_proxy(self) -> str:
        def ask() -> str:
            try:
                with socks.socks5(DYNAMIC, LOOPBACK, PORTS["echo"]) as client:
                    return "served" if talk_over(client, b"hello").data == b"hello" else "cut short"
            except (OSError, AssertionError) as exc:
                return type(exc).__name__

        return self._net.client.call(ask)

    def _check(self, cut: Cut, since: float) -> None:
        """All three are up again, and the history has one drop of each for this cut, with its cause."""
        for name in NAMES:
            drops = self._drops(name, since)
            self._told[name] += len(drops)
            causes = [drop["cause"]["message"] for drop in drops]
            expected = cut.cause or KEPT_OR
            if len(causes) > cut.most or (cut.cause and not causes):
                self._complain(f"{cut.name}: {name}: the history has {causes or 'nothing'}")
            elif wrong := [cause for cause in causes if not re.search(expected, cause)]:
                self._complain(f"{cut.name}: {name}: the cause is said to be: {wrong}")
            elif causes and not drops[-1]["back"]:
                self._complain(f"{cut.name}: {name}: the history does not know that it is back")
        for tunnel in self._tunnels.status_json()["tunnels"]:
            states = [tunnel["state"], *(forward["state"] for forward in tunnel["forwards"])]
            if states != ["up", "listening"]:
                self._complain(f"{cut.name}: {tunnel['name']} is {states} {EVERY:g} s after it began")

    def _drops(self, name: str, since: float) -> list[dict[str, Any]]:
        """The drops of a tunnel that began at this time or later, as `tunnels why` has them."""
        found = self._tunnels.run("why", name, "--json", "-n", "100000", expect=0).json["drops"]
        return [drop for drop in found if datetime.fromisoformat(drop["from"]).timestamp() >= since - 0.01]

    def _complain(self, what: str) -> None:
        self.wrong.append(f"{(time.monotonic() - self._began) / 60:.1f} min: {what}")
        print(f"  wrong: {what}", flush=True)

    def _line(self) -> None:
        forwards = [f for tunnel in self._tunnels.status_json()["tunnels"] for f in tunnel["forwards"]]
        failed = {name: dict(crowd.failures(crowd.visits)) or "none" for name, crowd in self._crowds.items()}
        print(
            f"{(time.monotonic() - self._began) / 60:5.1f} min  rss {self._rss[-1][1] / 1e6:.1f} MB"
            f"  files {self._daemon.num_fds()}  threads {self._daemon.num_threads()}"
            f"  clients {sum(f['clients'] for f in forwards)}  held {sum(f['held'] for f in forwards)}"
            f"  failed so far {failed}  proxy {dict(self._socks)}",
            flush=True,
        )

    def _end(self, descriptors: int) -> None:
        for name in NAMES:
            if (known := len(self._drops(name, 0))) != self._told[name]:
                self.wrong.append(f"{name}: {known} drops in the history, {self._told[name]} in the run")
        print(f"drops in the history: {dict(self._told)}")
        if (now := self._quiet_descriptors()) > descriptors:
            self.wrong.append(f"open files: {descriptors} at the beginning, {now} at the end")
        warm = min(WARM_UP, self._seconds / 3)
        early = [rss for at, rss in self._rss if warm <= at <= warm + 60]
        late = [rss for at, rss in self._rss if at >= self._seconds - 60 - EVERY]
        if early and late:
            grown = sum(late) / len(late) - sum(early) / len(early)
            print(f"memory: {grown / 1e6:+.1f} MB since the warm-up")
            if grown > 0.1 * sum(early) / len(early):
                self.wrong.append(f"memory has grown by {grown / 1e6:.1f} MB since the warm-up")
        print(f"cuts: {dict(self._cuts)}")
        for name, crowd in self._crowds.items():
            print(f"{name}: {len(crowd.visits)} clients, failed: {dict(crowd.failures(crowd.visits))}")
        print(f"dynamic: {dict(self._socks)}")


def main(arguments: list[str]) -> int:
    """Run for so many minutes."""
    minutes = float(arguments[0]) if arguments else 60.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 30)
    if reason := netns.why_not():
        print(f"not here: {reason}", file=sys.stderr)
        return 2
    print(f"{minutes:g} minutes, seed {seed}", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Laptop(Path(folder), config=CAREFUL) as net,
        Tunnels(net.client.inside) as tunnels,
    ):
        soak = Soak(net, tunnels, minutes, seed)
        soak.run()
    for line in soak.wrong:
        print(f"wrong: {line}")
    print("nothing wrong" if not soak.wrong else f"{len(soak.wrong)} things are wrong")
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
