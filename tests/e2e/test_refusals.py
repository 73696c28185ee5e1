"""Something cannot be had: it is said in plain words with what to do, and nothing else suffers."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable

import psutil
import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import LOOPBACK, RefusingPort, free_port, in_use
from tests.e2e.bed.product import NOT_AS_ASKED, OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually


def test_a_port_in_use_names_the_process_that_has_it_and_its_siblings_work(
    tunnels: Tunnels, site: Site
) -> None:
    free = free_port()
    with socket.create_server((LOOPBACK, free_port())) as taken:
        port = taken.getsockname()[1]
        tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.echo}", f"{free}:{site.far.echo}"]})
        result = tunnels.up("work", expect=NOT_AS_ASKED)
        assert str(port) in result.words
        assert psutil.Process().name() in result.words
        assert str(os.getpid()) in result.words
        traffic.check_echo(dialing(free), 1000)
        tunnel = tunnels.tunnel("work")
        assert tunnel["state"] == "up"
        assert [forward["state"] for forward in tunnel["forwards"]] == ["failed", "listening"]
        assert str(port) in tunnel["forwards"][0]["error"]["message"]


def test_a_port_that_was_in_use_is_taken_when_it_is_free(tunnels: Tunnels, site: Site) -> None:
    with socket.create_server((LOOPBACK, free_port())) as taken:
        port = taken.getsockname()[1]
        tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.echo}"]})
        tunnels.up("work", expect=NOT_AS_ASKED)
        assert str(port) in tunnels.run("status", "work").words
    tunnel = tunnels.wait_tunnel(
        "work", lambda it: it["forwards"][0]["state"] == "listening", what="the port taken", within=30
    )
    assert tunnel["forwards"][0]["error"] is None
    assert tunnels.up("work").code == OK
    traffic.check_echo(dialing(port), 1000)
    assert "listens after all" in tunnels.run("logs", "work").text


def test_two_tunnels_that_want_the_same_port_do_not_stop_each_other(tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    same = {**site.login(), "local": [f"{port}:{site.far.echo}"]}
    tunnels.write(first={**same}, second={**same, "local": [f"127.0.0.1:{port}:{site.far.echo}"]})
    checked = tunnels.run("check")
    if checked.code != OK:
        assert str(port) in checked.err  # it is just as good to refuse the file
        return
    tunnels.up("first")
    tunnels.up("second", expect=NOT_AS_ASKED)
    traffic.check_echo(dialing(port), 1000)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems let everybody have low ports")
def test_a_privileged_port_names_a_free_one_above(tunnels: Tunnels, site: Site) -> None:
    without_privilege: list[str] = []
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        assert setpriv, "setpriv belongs to util-linux"
        without_privilege = [setpriv, "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
    port = next(port for port in range(843, 1000) if not in_use(port))
    tunnels.write(work={**site.login(), "local": [f"{port}:{site.far.echo}"]})
    result = tunnels.run("up", "work", expect=NOT_AS_ASKED, prefix=without_privilege)
    named = [int(number) for number in re.findall(r"\b\d{4,5}\b", result.words)]
    offered = [number for number in named if number >= 1024 and number != site.far.echo.port]
    assert offered, f"no other port is named:\n{result}"
    assert not in_use(offered[0])


@pytest.mark.loopback_site
@pytest.mark.parametrize(
    "setting", ["PermitListen none", "AllowTcpForwarding local", "DisableForwarding yes"]
)
def test_a_refused_remote_listen_names_the_settings_and_its_siblings_work(
    setting: str, start_sshd: Callable[..., Sshd], site: Site, tunnels: Tunnels
) -> None:
    sshd = start_sshd(setting)
    local, remote = free_port(), free_port()
    tunnels.write(
        home={
            **sshd.login(),
            "local": [f"{local}:{site.far.echo}"],
            "remote": [f"127.0.0.1:{remote}:{site.near.echo}"],
        }
    )
    result = tunnels.up("home", expect=NOT_AS_ASKED)
    for name in ("GatewayPorts", "AllowTcpForwarding", "PermitListen"):
        assert name in result.words
    if setting != "DisableForwarding yes":
        traffic.check_echo(dialing(local), 1000)
    tunnel = tunnels.tunnel("home")
    assert tunnel["state"] == "up"
    states = {forward["kind"]: forward["state"] for forward in tunnel["forwards"]}
    assert states == {"local": "listening", "remote": "failed"}
    assert in_use(local)


def test_a_remote_port_that_somebody_has_is_taken_when_it_is_free(tunnels: Tunnels, site: Site) -> None:
    port = site.remote_port()
    remote = {**site.login(), "remote": [f"127.0.0.1:{port}:{site.near.echo}"]}
    tunnels.write(first=remote, second=remote)
    if tunnels.run("check").code != OK:
        pytest.fail("two profiles may want the same port of a server: they are not always up together")
    tunnels.up("first")
    tunnels.up("second", expect=NOT_AS_ASKED)
    tunnels.down("first")
    tunnels.wait_tunnel(
        "second", lambda it: it["forwards"][0]["state"] == "listening", what="the port taken", within=30
    )
    assert site.talk(port, b"mine now").data == b"mine now"


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_all_or_nothing_for_those_who_want_it(kind: str, tunnels: Tunnels, site: Site) -> None:
    """`exit_on_forward_failure`: no other forward is left listening either."""
    free = free_port()
    with socket.create_server((LOOPBACK, free_port())) as taken:
        port = taken.getsockname()[1]
        local, remote = [f"{free}:{site.far.echo}"], []
        if kind == "local":
            local.append(f"{port}:{site.far.echo}")
        else:
            remote.append(f"192.0.2.1:{port}:{site.near.echo}")  # an address that no server has
        tunnels.write(
            work={**site.login(), "exit_on_forward_failure": True, "local": local, "remote": remote}
        )
        result = tunnels.up("work", expect=NOT_AS_ASKED)
        assert str(port) in result.words
        eventually(lambda: not in_use(free), within=10, what="the other port free")
        assert tunnels.tunnel("work")["state"] != "up"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "127.0.0.1"])
def test_a_server_that_cannot_be_reached_is_said_and_tried_again(
    host: str, tunnels: Tunnels, site: Site
) -> None:
    with RefusingPort() as refusing:
        login = {**site.login(), "host": host, "port": refusing.port}
        tunnels.write(work={**login, "local": [f"{free_port()}:{site.far.echo}"]})
        result = tunnels.run("up", "--timeout", "2s", "work", expect=NOT_AS_ASKED)
        assert host in result.words
        tunnel = tunnels.wait_tunnel("work", lambda it: it["attempt"] >= 1, what="an attempt")
        assert tunnel["state"] in {"backoff", "connecting"}
        assert tunnel["error"]["code"] in {"host-unreachable", "name-not-resolved"}


def test_something_that_is_no_ssh_server_is_said(tunnels: Tunnels, site: Site) -> None:
    web = site.near.web
    login = {**site.login(), "host": web.host, "port": web.port}
    tunnels.write(work={**login, "local": [f"{free_port()}:{site.far.echo}"]})
    result = tunnels.run("up", "--timeout", "3s", "work", expect=NOT_AS_ASKED)
    assert "SSH" in result.text
