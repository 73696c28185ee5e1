"""Memory, second by second: a reader that stops, and a link that stops under twenty uploads."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.contestants import QUIET, Load, open_all, product, ssh
from bench.table import Figure, Limits
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.wait import for_seconds

WINDOW = 2 << 20
"""Bytes: the window that OpenSSH and asyncssh give a channel."""

READER = Limits(must=2, aim=1, unit="windows", at_least=False)
UPLOADS = 20


def measure(*, quick: bool = False) -> list[Figure]:
    """Both things happen to tunnels and to ssh at the same time, each with its own connection and clients."""
    reader, link = (3, 3) if quick else (60, 20)
    return [
        _figure(f"memory of one stalled reader, most in {reader} s", _grow("down", 1, reader), READER),
        _figure(
            f"memory of a stalled link with {UPLOADS} uploads, most in {link} s", _grow("up", UPLOADS, link)
        ),
    ]


def _grow(way: str, clients: int, seconds: int) -> dict[str, list[int]]:
    """Let clients read nothing, or let the server's end of the link stop; return the growth, second by second."""
    with ExitStack() as running:
        folder = Path(running.enter_context(TemporaryDirectory()))
        sshd = running.enter_context(Sshd(folder / "sshd", config=QUIET))
        load = running.enter_context(Load())
        # A link that stands still must not be taken for one that is lost.
        contestants = open_all(running, sshd, load, [product(keepalive="10m"), ssh()])
        for one in contestants:  # what the first bytes cost anybody is not the cost of stalling
            load.send("verify", port=one.ports.bulk, total=4_000_000)
        before = {one.name: one.rss() for one in contestants}
        for one in contestants:
            stalled = load.meanwhile("stall", ports=[one.ports.bulk] * clients, way=way)
            process = running.enter_context(stalled)
            assert process.stdout
            assert process.stdout.readline(), "the clients have ended"
        if way == "up":
            for_seconds(0.5)  # the uploads are under way
            sshd.pause_sessions()
            running.callback(sshd.resume)
        grown: dict[str, list[int]] = {one.name: [] for one in contestants}
        for _ in range(seconds):
            for_seconds(1)
            for one in contestants:
                grown[one.name].append(one.rss() - before[one.name])
        return grown


def _figure(what: str, grown: dict[str, list[int]], limits: Limits | None = None) -> Figure:
    most = {name: max(samples) / WINDOW for name, samples in grown.items()}
    return Figure(
        what,
        f"{most['tunnels']:.2f} windows = {most['tunnels'] * WINDOW / 1e6:.1f} MB",
        f"ssh {most['ssh']:.2f} windows",
        most["tunnels"],
        limits,
        samples={name: {"bytes grown each second": samples} for name, samples in grown.items()},
    )
