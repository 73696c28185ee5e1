"""Clients in a namespace: some that keep coming, and one that stays.

As ``python -m tests.e2e.bed.crowd coming|staying HOST PORT INTERVAL PATIENCE`` it is the clients, who tell
their story as JSON lines until standard input ends; the times are ``time.monotonic()``, which is one clock
for all processes of a computer. `Crowd` starts that program in a namespace and listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.e2e.bed.ports import LOOPBACK
from tests.e2e.bed.traffic import Visit
from tests.e2e.bed.wait import eventually

REPOSITORY = Path(__file__).resolve().parents[3]


class Crowd:
    """Clients of a port: one every ``interval`` seconds that says something and wants to hear it again.

    With ``staying`` it is one client that says something every ``interval`` seconds; each answer is a visit
    that was served, and the last one says how its connection ended.
    """

    def __init__(
        self,
        inside: Sequence[str],
        port: int,
        *,
        host: str = LOOPBACK,
        interval: float = 0.1,
        patience: float = 20,
        staying: bool = False,
    ) -> None:
        way = "staying" if staying else "coming"
        self._command = [
            *(*inside, sys.executable, "-m", "tests.e2e.bed.crowd"),
            *(way, host, str(port), str(interval), str(patience)),
        ]
        self._patience = patience
        self._visits: list[Visit] = []

    @contextlib.contextmanager
    def coming(self) -> Iterator[None]:
        """Let them come while the ``with`` block lasts, and wait until the last one is done."""
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        with subprocess.Popen(
            self._command,
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin
            assert process.stdout
            reader = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
            reader.start()
            try:
                eventually(lambda: self._visits, within=15, what="a first client served")
                yield
            finally:
                process.stdin.close()
                try:
                    process.wait(self._patience + 10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise
                finally:
                    reader.join(5)

    def _listen(self, lines: Iterator[str]) -> None:
        for line in lines:
            self._visits.append(Visit(**json.loads(line)))

    @property
    def visits(self) -> list[Visit]:
        """Those that are over, in the order in which they came."""
        return sorted(self._visits, key=lambda visit: visit.came)

    def since(self, moment: float, until: float = float("inf")) -> list[Visit]:
        """Those that came in a span of time and are over."""
        return [visit for visit in self.visits if moment <= visit.came <= until]

    def served_after(self, moment: float, *, within: float) -> float:
        """Wait until a client has its answer after a moment; return how long after."""
        __tracebackhide__ = True

        def times() -> list[float]:
            return [v.served for v in list(self._visits) if v.outcome == "served" and v.served > moment]

        return min(eventually(times, within=within, what="a client served")) - moment

    @staticmethod
    def failures(visits: list[Visit]) -> Counter[str]:
        """Count those that were not served, by what happened to them."""
        return Counter(visit.outcome for visit in visits if visit.outcome != "served")


# --- the program ------------------------------------------------------------------------------------


def _tell(came: float, outcome: str) -> None:
    print(json.dumps({"came": came, "served": time.monotonic(), "outcome": outcome}), flush=True)


async def _talk(host: str, port: int, question: bytes) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(question)
        writer.write_eof()
        answer = await reader.read(-1)
    finally:
        writer.transport.abort()
    if answer == question:
        return "served"
    return "cut short" if answer else "closed without a byte"


async def _visit(host: str, port: int, number: int, patience: float) -> None:
    came = time.monotonic()
    try:
        async with asyncio.timeout(patience):
            outcome = await _talk(host, port, f"client {number}\n".encode())
    except OSError as exc:
        outcome = "not served in time" if isinstance(exc, TimeoutError) else type(exc).__name__
    _tell(came, outcome)


async def _keep_coming(host: str, port: int, interval: float, patience: float, ended: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as visitors:
        next_time = time.monotonic()
        for number in itertools.count():
            visitors.create_task(_visit(host, port, number, patience))
            next_time += interval
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_time - time.monotonic())):
                    await ended.wait()
            if ended.is_set():
                return


async def _stay(host: str, port: int, interval: float, patience: float, ended: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    for number in itertools.count():
        came = time.monotonic()
        try:
            async with asyncio.timeout(patience):
                writer.write(f"question {number}\n".encode())
                answer = await reader.readline()
            outcome = "served" if answer else "closed"
        except OSError as exc:
            outcome = type(exc).__name__
        _tell(came, outcome)
        if outcome != "served":
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(interval):
                await ended.wait()
        if ended.is_set():
            writer.transport.abort()
            return


async def _main(way: str, host: str, port: int, interval: float, patience: float) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        loop.remove_reader(sys.stdin.fileno())
        ended.set()

    loop.add_reader(sys.stdin.fileno(), told)
    clients = {"coming": _keep_coming, "staying": _stay}[way]
    await clients(host, port, interval, patience, ended)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(float, sys.argv[4:6])))
