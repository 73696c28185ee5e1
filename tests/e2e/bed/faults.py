"""What goes wrong in a network: every fault is a ``with`` block, and is over when the block ends.

`Laptop` is the network of `netns` with the client connected, and with an SSH server and small services
on the server's side.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from tests.e2e.bed import servers
from tests.e2e.bed.netns import SERVER_4, SERVER_6, Host, Network, run
from tests.e2e.bed.ports import LOOPBACK, accepts
from tests.e2e.bed.sshd import Sshd, banner
from tests.e2e.bed.wait import eventually

PORT = 22
ECHO = f"{LOOPBACK}:{servers.PORTS['echo']}"
TICKER = f"{LOOPBACK}:{servers.PORTS['ticker']}"

#: A server as distributions have it: it does not look after its clients. sshd takes the first of two values.
PLAIN = ("ClientAliveInterval 0",)

#: A server that finds a dead client within two to four seconds, so that its old listeners go away.
CAREFUL = ("ClientAliveInterval 1", "ClientAliveCountMax 1")


class FarSshd(Sshd):
    """An SSH server in a namespace."""

    def __init__(
        self, host: Host, folder: Path, *, config: Sequence[str], identity: Path | None = None
    ) -> None:
        self._there = host
        extra = [*config, f"ListenAddress {SERVER_6}"]
        super().__init__(folder, config=extra, identity=identity, host=SERVER_4, port=PORT)
        self._prefix = host.inside
        lines = [self.known_hosts_line, self.known_hosts_line.replace(SERVER_4, SERVER_6)]
        lines.append(self.known_hosts_line.replace(SERVER_4, "server.test"))
        self.known_hosts.write_text("".join(f"{line}\n" for line in lines))

    def _banner(self) -> bytes:
        return self._there.call(lambda: banner(self.host, self.port))

    def stop_sessions(self) -> None:
        """Freeze every session; the listener goes on."""
        for process in self._family()[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()


class Laptop(Network):
    """The client is connected by ``wlan0``; the methods are what happens to laptops."""

    def __init__(self, folder: Path, *, config: Sequence[str] = PLAIN) -> None:
        super().__init__()
        self._addresses = itertools.cycle(range(2, 250))
        self._address = next(self._addresses)
        try:
            self._connect()
            self.sshd = FarSshd(self.server, folder / "sshd", config=config)
            self._open.callback(self.sshd.stop)
            self.sshd.start()
            for host in (self.server, self.client):
                self._serve(host, "echo", "ticker")
        except BaseException:
            self.close()
            raise

    def _serve(self, host: Host, *names: str) -> None:
        process = subprocess.Popen(
            [*host.inside, sys.executable, servers.__file__, *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        self._open.callback(process.wait, 10)
        self._open.callback(process.kill)
        for name in names:
            eventually(
                lambda name=name: host.call(lambda: accepts(servers.PORTS[name])),  # type: ignore[misc]
                within=10,
                what=f"the {name} service",
            )

    def login(self, *, host: str = SERVER_4, keepalive: str = "15s") -> dict[str, object]:
        """Return the keys of a profile that lead to the server."""
        return {**self.sshd.login(), "host": host, "keepalive": keepalive}

    # --- the interface ----------------------------------------------------------------------------

    def _connect(self) -> None:
        """Have an address and a way out on ``wlan0``, whatever has happened to it."""
        self.client.ip("link", "set", "wlan0", "up")
        self.client.ip("addr", "replace", f"10.77.1.{self._address}/24", "dev", "wlan0")
        self.client.ip("addr", "replace", f"fd77:1::{self._address:x}/64", "dev", "wlan0", "nodad")
        self._route()

    def _route(self) -> None:
        self.client.ip("route", "replace", "default", "via", "10.77.1.1", "metric", "100")
        self.client.ip("-6", "route", "replace", "default", "via", "fd77:1::1", "metric", "100")

    @contextlib.contextmanager
    def link_down(self) -> Iterator[None]:
        """Switch the interface off, as flight mode does; its routes go with it."""
        self.client.ip("link", "set", "wlan0", "down")
        try:
            yield
        finally:
            self._connect()

    @contextlib.contextmanager
    def carrier_lost(self) -> Iterator[None]:
        """Pull the cable at the router's end: addresses and routes stay, and lead nowhere."""
        self.router.ip("link", "set", "c0", "down")
        try:
            yield
        finally:
            self.router_end("c0", 1)
            self._connect()

    @contextlib.contextmanager
    def route_withdrawn(self) -> Iterator[None]:
        """Have no default route."""
        self.client.ip("route", "del", "default")
        self.client.ip("-6", "route", "del", "default")
        try:
            yield
        finally:
            self._route()

    @contextlib.contextmanager
    def new_address(self) -> Iterator[None]:
        """Lose the address, and have another one at the end, as in another Wi-Fi."""
        self.client.ip("addr", "flush", "dev", "wlan0", "scope", "global")
        try:
            yield
        finally:
            self._address = next(self._addresses)
            self._connect()

    @contextlib.contextmanager
    def second_interface(self) -> Iterator[None]:
        """Go out of the house: the Wi-Fi is gone, and the telephone network has taken over."""
        self.client.ip("link", "set", "wwan0", "up")
        self.client.ip("addr", "replace", "10.77.2.2/24", "dev", "wwan0")
        self.client.ip("route", "replace", "default", "via", "10.77.2.1", "metric", "200")
        self.client.ip("link", "set", "wlan0", "down")
        try:
            yield
        finally:
            self._connect()
            self.client.ip("link", "set", "wwan0", "down")

    # --- on the way -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def black_hole(self, direction: str = "both") -> Iterator[None]:
        """Lose every packet on the way, ``there``, ``back`` or both."""
        rules = {"there": ['iifname "c*" drop'], "back": ['iifname "s0" drop'], "both": ["drop"]}[direction]
        with self._rules(*rules):
            yield

    @contextlib.contextmanager
    def middlebox_resets(self) -> Iterator[None]:
        """Have a middlebox that answers every packet to the server with a reset."""
        with self._rules(f"tcp dport {PORT} reject with tcp reset"):
            yield

    @contextlib.contextmanager
    def _rules(self, *rules: str) -> Iterator[None]:
        self.router.nft("".join(f"add rule inet f c {rule}\n" for rule in rules))
        try:
            yield
        finally:
            self.router.nft("flush chain inet f c")

    @contextlib.contextmanager
    def router_lost_the_way(self) -> Iterator[None]:
        """Let the router throw away what is for the server, without a word."""
        for family, address in (("-4", f"{SERVER_4}/32"), ("-6", f"{SERVER_6}/128")):
            self.router.ip(family, "route", "add", "blackhole", address)
        try:
            yield
        finally:
            for family, address in (("-4", f"{SERVER_4}/32"), ("-6", f"{SERVER_6}/128")):
                self.router.ip(family, "route", "del", "blackhole", address)

    def forgetful_nat(self, seconds: int) -> None:
        """Have a router that translates addresses and forgets connections that are idle; not undone."""
        self.router.sysctl(
            f"net.netfilter.nf_conntrack_tcp_timeout_established={seconds}",
            "net.netfilter.nf_conntrack_tcp_loose=0",
        )
        self.router.nft(
            "table ip n {\n"
            ' chain post { type nat hook postrouting priority 100; oifname "s0" masquerade; }\n'
            " chain fw { type filter hook forward priority 1; ct state invalid drop; }\n"
            "}\n"
        )

    # --- the server -------------------------------------------------------------------------------

    @contextlib.contextmanager
    def server_away(self) -> Iterator[None]:
        """Have no SSH server: the listener and every session are killed."""
        self.sshd.stop()
        try:
            yield
        finally:
            self.sshd.start()

    @contextlib.contextmanager
    def sessions_stopped(self) -> Iterator[None]:
        """Let the sessions hang; whoever connects anew is served."""
        self.sshd.stop_sessions()
        try:
            yield
        finally:
            self.sshd.resume()

    def sessions_cut(self) -> None:
        """Kill the sessions."""
        self.sshd.drop_sessions()

    def connections(self) -> int:
        """How many SSH connections the client has at the moment, as its kernel sees it."""
        shown = run(*self.client.inside, "ss", "-Htn", "state", "established", f"dport = :{PORT}")
        return len(shown.splitlines())
