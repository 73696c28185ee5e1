"""Dozens of forwards of every kind on one connection: each carries traffic, and comes back with the others."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.bed import socks, traffic
from tests.e2e.bed.load import FarAway
from tests.e2e.bed.ports import LOOPBACK, free_port, free_ports, in_use
from tests.e2e.bed.product import OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.traffic import Dial, dialing
from tests.e2e.bed.wait import eventually
from tests.e2e.test_sockets import dialing_unix, echo

pytestmark = pytest.mark.loopback_site


@pytest.fixture
def folder(tunnels: Tunnels) -> Path:
    """A folder whose path is short enough for sockets."""
    return tunnels.home


@pytest.fixture
def service(folder: Path) -> Iterator[Path]:
    """A service on a unix socket."""
    with echo(folder / "service.sock"):
        yield folder / "service.sock"


def by_socks(port: int, site: Site) -> Dial:
    return lambda: socks.socks5(port, site.far.echo.host, site.far.echo.port)


def test_seventy_forwards_of_every_kind_share_one_connection_and_come_back_together(
    tunnels: Tunnels, site: Site, folder: Path, service: Path
) -> None:
    to = site.far.echo
    near, far = free_ports(11), free_ports(11)
    ours, theirs = [free_port() for _ in range(10)], [free_port() for _ in range(10)]
    proxies, far_proxies = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    near_sockets = [folder / f"near{number}.sock" for number in range(6)]
    far_sockets = [folder / f"far{number}.sock" for number in range(6)]
    targets = [str(to), str(service)]
    same = f"{to.host}:{to.port}-{to.port + 10}"  # of a range, only the first leads to something
    local = [f"{near[0]}-{near[-1]}:{same}", *(f"{port}:{targets[port % 2]}" for port in ours)]
    local += [f"{path}:{targets[number % 2]}" for number, path in enumerate(near_sockets)]
    remote = [
        f"{LOOPBACK}:{far[0]}-{far[-1]}:{same}",
        *(f"{LOOPBACK}:{port}:{targets[port % 2]}" for port in theirs),
    ]
    remote += [f"{path}:{targets[number % 2]}" for number, path in enumerate(far_sockets)]
    remote += [f"{LOOPBACK}:{port}" for port in far_proxies]
    remote += [f"{LOOPBACK}:0:{target}" for target in (*targets, *targets, *targets)]
    tunnels.write(
        all={**site.login(), "local": local, "remote": remote, "dynamic": [str(it) for it in proxies]}
    )
    before = site.connections
    tunnels.up("all")

    def check() -> None:
        forwards = tunnels.tunnel("all")["forwards"]
        assert len(forwards) == 11 + 10 + 6 + 11 + 10 + 6 + 3 + 6 + 3
        assert {it["state"] for it in forwards} == {"listening"}
        shown = [it["listen"].rpartition(":")[2] for it in forwards if it["kind"] == "remote"]
        chosen = [int(it) for it in shown if it.isdecimal() and int(it) not in (*far, *theirs, *far_proxies)]
        assert len(set(chosen)) == 6, "the server has chosen a port for each"
        ways = [dialing(port) for port in (near[0], far[0], *ours, *theirs, *chosen)]
        ways += [dialing_unix(path) for path in (*near_sockets, *far_sockets)]
        ways += [by_socks(port, site) for port in (*proxies, *far_proxies)]
        for way in ways:
            traffic.check_echo(way, 20_000)

    check()
    assert site.connections == before + 1
    site.stop()
    site.start()
    tunnels.wait_tunnel(
        "all",
        lambda it: it["state"] == "up" and {one["state"] for one in it["forwards"]} == {"listening"},
        what="everything listening again",
    )
    check()
    tunnels.down("all")
    assert not any(map(in_use, (*near, *ours, *proxies))), "free when `down` returns"
    assert not any(path.exists() for path in near_sockets)
    eventually(
        lambda: not any(map(in_use, (*far, *theirs, *far_proxies))), within=5, what="the server's ports free"
    )


def test_sixty_remote_forwards_take_no_sixty_round_trips(
    tunnels: Tunnels, start_sshd: Callable[..., Sshd], site: Site
) -> None:
    sshd = start_sshd()
    ports = free_ports(60)
    with FarAway((sshd.host, sshd.port), delay=0.05) as far:
        (tunnels.home / "known").write_text(
            sshd.known_hosts_line.replace(f":{sshd.port} ", f":{far.port} ") + "\n"
        )
        way = {**sshd.login(), "port": far.port, "known_hosts": str(tunnels.home / "known")}
        first, rest = f"{LOOPBACK}:{ports[0]}:{site.far.echo}", f"{LOOPBACK}:{ports[1]}-{ports[-1]}"
        tunnels.write(
            one={**way, "remote": [first]},
            many={**way, "remote": [f"{rest}:{site.far.echo.host}:20000-20058"]},
        )

        def round_trips(name: str) -> int:
            before = far.round_trips
            tunnels.run("up", name, expect=OK)
            tunnels.down(name)
            return far.round_trips - before

        one, many = round_trips("one"), round_trips("many")
        assert many - one < 20


def test_sockets_of_the_product_never_replace_a_live_one_and_are_left_when_they_are_somebody_elses(
    tunnels: Tunnels, site: Site, folder: Path
) -> None:
    path = folder / "ours.sock"
    tunnels.write(it={**site.login(), "local": [f"{path}:{site.far.echo}"]})
    tunnels.up("it")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:  # somebody took the place while we were up
        other.bind(str(path))
        other.listen()
        theirs = path.stat().st_ino
        tunnels.down("it")
        assert path.stat().st_ino == theirs
