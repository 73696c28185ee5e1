"""Tells systemd how we are: the protocol of sd_notify(3), and its watchdog."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence

from tunnels.core.logline import printable
from tunnels.core.state import TunnelState
from tunnels.core.status import TunnelStatus
from tunnels.supervisor.bus import Bus

#: A tunnel in one of these does what it is for.
AT_WORK = frozenset({TunnelState.UP, TunnelState.IDLE})

#: Seconds until a message that systemd had no room for is sent again.
_AGAIN = 1.0


def status_line(tunnels: Sequence[TunnelStatus]) -> str:
    """What `systemctl status` shows: ``3 of 4 tunnels up``."""
    if not tunnels:
        return "no tunnels"
    working = sum(tunnel.state in AT_WORK for tunnel in tunnels)
    return f"{working} of {len(tunnels)} tunnels up"


class Notifier:
    """One conversation with systemd, or with nobody. It never raises and never waits."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        """``watchdog`` is in seconds; systemd ends us when it has heard nothing for so long."""
        self._socket: socket.socket | None = None
        self._address = f"\0{address[1:]}" if address and address[0] == "@" else address
        self._every = watchdog / 2 if watchdog else None
        self._unsent: dict[str, str] = {}
        if address and address[0] in "/@":  # vsock:… is for virtual machines
            with contextlib.suppress(OSError):
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] | None = None) -> Notifier:
        """Who is to be told, by what systemd has set; taken away, because it does not concern our children."""
        environment = os.environ if environment is None else environment
        address = environment.pop("NOTIFY_SOCKET", None)
        microseconds = environment.pop("WATCHDOG_USEC", "")
        pid = environment.pop("WATCHDOG_PID", "")
        is_meant = not pid or pid == str(os.getpid())
        seconds = int(microseconds) / 1e6 if microseconds.isdecimal() and is_meant else None
        return cls(address, seconds)

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def ready(self, status: str) -> None:
        """The daemon can be asked."""
        self._send(READY="1", STATUS=status)

    def status(self, status: str) -> None:
        """How the tunnels stand."""
        self._send(STATUS=status)

    def stopping(self) -> None:
        """The end has begun, and was asked for."""
        self._unsent.clear()
        self._send(STOPPING="1", STATUS="stopping")

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """The file is being read again, until the block ends."""
        # Microseconds of CLOCK_MONOTONIC: systemd tells this reload from an older one by it.
        self._send(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))
        try:
            yield
        finally:
            self._send(READY="1")

    async def follow(self, bus: Bus, status: Callable[[], str]) -> None:
        """Tell every change of the status, and that the event loop turns. Runs until it is cancelled."""
        if self._socket is None:
            return
        loop = asyncio.get_running_loop()
        said, due = None, loop.time()
        with bus.watch() as watch:
            while True:
                fields = {}
                if (now := status()) != said:
                    fields["STATUS"] = said = now
                if self._every is not None and loop.time() >= due:
                    fields["WATCHDOG"] = "1"
                    due = loop.time() + self._every
                if fields or self._unsent:
                    self._send(**fields)
                wait = None if self._every is None else max(0.0, due - loop.time())
                await watch.wait(min(_AGAIN, wait or _AGAIN) if self._unsent else wait)

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, **fields: str) -> None:
        if self._socket is None or self._address is None:
            return
        self._unsent |= fields
        text = "\n".join(f"{name}={printable(value)}" for name, value in self._unsent.items())
        try:
            self._socket.sendto(text.encode("utf-8", "replace"), self._address)
        except BlockingIOError:
            # What is true later is said later. That a reload has begun, or that we lived then, is not.
            kept = {"READY", "STATUS", "STOPPING"}
            self._unsent = {name: value for name, value in self._unsent.items() if name in kept}
        except OSError:  # systemd is being started anew: it asks for nothing that was said meanwhile
            self._unsent.clear()
        else:
            self._unsent.clear()
