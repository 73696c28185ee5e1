"""A small internet of three network namespaces: a laptop, a router, a server.

::

    client  wlan0 10.77.1.2 fd77:1::2 ---- c0  router  s0 ---- eth0 10.77.9.2 fd77:9::2  server
            wwan0 (not connected)     ---- c1

The interfaces are made inside the namespaces, so nothing of it can be seen from outside, several of these
networks can be there at once, and the addresses are always the same. The names of the namespaces have this
process's number; what a process that died has left behind is removed by the next one.

A thread may enter a namespace (`Host.call`): a socket that was made there stays there. Programs are started
with `Host.inside` before their command, which also gives them the ``hosts`` and ``resolv.conf`` of their
namespace: no name server answers there, and only names that a test has written down resolve.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.e2e.bed.wait import Background, eventually

T = TypeVar("T")

PREFIX = "tunnels-bed"
SERVER_4, SERVER_6 = "10.77.9.2", "fd77:9::2"

_NAMESPACES = Path("/run/netns")
_FILES = Path("/etc/netns")
_CLONE_NEWNET = 0x40000000  # linux/sched.h
_SBIN = "/usr/sbin:/sbin"

_numbers = itertools.count(1)


def why_not() -> str | None:
    """Return why there can be no namespaces here, in one line, or nothing if there can."""
    if sys.platform != "linux":
        return "network namespaces exist on Linux only"
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    missing = [name for name in ("ip", "nft") if shutil.which(name, path=_path()) is None]
    if missing:
        return f"no {' and no '.join(missing)}: install iproute2 and nftables"
    probe = f"{PREFIX}-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], env=_environment(), capture_output=True, check=False)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.decode(errors='replace').strip()}"
    run("ip", "netns", "del", probe)
    return None


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": _path()}


def run(*command: str, text: str = "", tolerant: bool = False) -> str:
    """Run a program of the system and return what it prints; ``tolerant`` of its refusal."""
    done = subprocess.run(
        command, input=text, text=True, env=_environment(), capture_output=True, timeout=20, check=False
    )
    assert tolerant or done.returncode == 0, f"{' '.join(command)}: {done.stderr}{done.stdout}"
    return done.stdout


class Host:
    """One namespace: a computer with a network of its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inside = (shutil.which("ip", path=_path()) or "ip", "netns", "exec", name)
        self._files = _FILES / name
        self._files.mkdir(mode=0o755, parents=True)
        (self._files / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        self.know({})
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str, tolerant: bool = False) -> str:
        """Run ``ip`` for this namespace."""
        return run("ip", "-n", self.name, *arguments, tolerant=tolerant)

    def nft(self, text: str) -> None:
        """Add rules."""
        run(*self.inside, "nft", "-f", "-", text=text)

    def sysctl(self, *settings: str) -> None:
        """Change settings of the kernel that a namespace has for itself."""
        for setting in settings:
            name, _, value = setting.partition("=")
            self.call(lambda name=name, value=value: _write_sysctl(name, value))  # type: ignore[misc]

    def know(self, names: dict[str, str]) -> None:
        """Have these names, and no other, in ``/etc/hosts``; programs that run see it at once.

        The file is written in place: they have it mounted, and would keep a replaced one.
        """
        lines = ["127.0.0.1 localhost", "::1 localhost", *(f"{a} {name}" for name, a in names.items())]
        (self._files / "hosts").write_text("\n".join(lines) + "\n")

    def call(self, function: Callable[[], T], *, within: float = 30) -> T:
        """Run a function in a thread of its own whose network is this namespace."""

        def there() -> T:
            _enter(self.name)
            return function()

        return Background(there).result(within=within)

    def start(self, function: Callable[[], T]) -> Background[T]:
        """Do the same, and go on meanwhile."""

        def there() -> T:
            _enter(self.name)
            return function()

        return Background(there)

    def pids(self) -> list[int]:
        """Return the processes in it."""
        return [int(pid) for pid in run("ip", "netns", "pids", self.name, tolerant=True).split()]

    def close(self) -> None:
        """Kill whatever runs in it and remove it; nothing happens if it is gone."""
        remove(self.name)


def _write_sysctl(name: str, value: str) -> None:
    # /proc/sys/net shows the namespace of whoever opens the file.
    Path("/proc/sys", name.replace(".", "/")).write_text(value)


def _enter(name: str) -> None:
    """Move this thread into a namespace (``os.setns`` came with Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    there = os.open(_NAMESPACES / name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(there, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(there)


def remove(name: str) -> None:
    """Remove a namespace with its processes and files, whatever is left of it."""
    for pid in run("ip", "netns", "pids", name, tolerant=True).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    if (_NAMESPACES / name).exists():
        gone = lambda: not run("ip", "netns", "pids", name, tolerant=True).split()  # noqa: E731
        with contextlib.suppress(AssertionError):
            eventually(gone, within=5, what=f"the end of everything in {name}")
        run("ip", "netns", "del", name, tolerant=True)
    shutil.rmtree(_FILES / name, ignore_errors=True)


def sweep() -> None:
    """Remove what processes that are dead by now have left behind."""
    for folder in (_NAMESPACES, _FILES):
        for path in list(folder.glob(f"{PREFIX}-*-*")) if folder.is_dir() else []:
            pid = path.name.removeprefix(f"{PREFIX}-").partition("-")[0]
            if pid.isdigit() and not Path("/proc", pid).exists():
                remove(path.name)


class Network:
    """The three hosts and the wires between them; everything is removed at the end of the ``with`` block."""

    def __init__(self) -> None:
        sweep()
        base = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
        self._open = contextlib.ExitStack()
        with contextlib.ExitStack() as building:
            self.client, self.router, self.server = (
                self._host(building, f"{base}-{role}") for role in ("client", "router", "server")
            )
            self._wire()
            self._open = building.pop_all()

    @staticmethod
    def _host(building: contextlib.ExitStack, name: str) -> Host:
        building.callback(remove, name)
        return Host(name)

    def _wire(self) -> None:
        for host, end, far in (
            (self.client, "wlan0", "c0"),
            (self.client, "wwan0", "c1"),
            (self.server, "eth0", "s0"),
        ):
            run(
                *("ip", "link", "add", end, "netns", host.name, "type", "veth"),
                *("peer", "name", far, "netns", self.router.name),
            )
        for host in (self.client, self.router, self.server):
            # An address may be used as soon as it is there, as after a probe for duplicates that found none;
            # the one that a lost carrier costs comes back with it, as a router's advertisement brings it.
            host.sysctl("net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
        self.router.sysctl("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for end, number in (("c0", 1), ("c1", 2), ("s0", 9)):
            self.router_end(end, number)
        self.server.ip("addr", "add", f"{SERVER_4}/24", "dev", "eth0")
        self.server.ip("link", "set", "eth0", "up")
        self.server.ip("addr", "add", f"{SERVER_6}/64", "dev", "eth0", "nodad")
        self.server.ip("route", "add", "default", "via", "10.77.9.1")
        self.server.ip("-6", "route", "add", "default", "via", "fd77:9::1")
        self.router.nft("table inet f { chain c { type filter hook forward priority 0; policy accept; }; }")

    def router_end(self, end: str, number: int) -> None:
        """Have an interface of the router up, with its addresses."""
        self.router.ip("addr", "replace", f"10.77.{number}.1/24", "dev", end)
        self.router.ip("link", "set", end, "up")
        self.router.ip("addr", "replace", f"fd77:{number}::1/64", "dev", end, "nodad")

    def close(self) -> None:
        """Remove everything."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
