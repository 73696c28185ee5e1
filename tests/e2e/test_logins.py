"""Logging in with keys: from files, from the agent, and what happens when the server says no."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import free_port, in_use
from tests.e2e.bed.product import NOT_AS_ASKED, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd, make_key
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually, for_seconds


@contextmanager
def ssh_agent(socket: Path) -> Iterator[Path]:
    """Run an agent without keys."""
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        eventually(socket.exists, within=10, what="the agent's socket")
        yield socket
    finally:
        agent.terminate()
        agent.wait()


def test_a_refused_login_fails_and_is_not_tried_again_and_again(
    tunnels: Tunnels, site: Site, tmp_path: Path
) -> None:
    make_key(tmp_path / "unknown")
    port = free_port()
    login = {**site.login(), "identity_file": str(tmp_path / "unknown")}
    tunnels.write(work={**login, "local": [f"{port}:{site.far.echo}"]})
    before = site.connections
    result = tunnels.up("work", expect=NOT_AS_ASKED)
    assert site.user in result.words
    tunnel = tunnels.tunnel("work")
    assert (tunnel["state"], tunnel["error"]["code"]) == ("failed", "login-refused")
    assert not in_use(port)
    for_seconds(3)
    assert site.connections - before == 1


@pytest.mark.loopback_site
def test_a_login_that_is_refused_after_the_tunnel_was_up_is_tried_again_slowly(
    start_sshd: Callable[..., Sshd], site: Site, tunnels: Tunnels
) -> None:
    sshd = start_sshd()
    port = free_port()
    tunnels.write(work={**sshd.login(), "local": [f"{port}:{site.far.echo}"]})
    tunnels.up("work")
    authorized = (sshd.folder / "authorized_keys").read_text()
    (sshd.folder / "authorized_keys").write_text("")
    sshd.stop()
    sshd.start()
    tunnels.wait_tunnel(
        "work", lambda it: it["error"] and it["error"]["code"] == "login-refused", what="a refusal", within=30
    )
    tries = len(re.findall("Connection from", sshd.log))
    for_seconds(4)
    assert len(re.findall("Connection from", sshd.log)) - tries <= 1
    assert tunnels.tunnel("work")["state"] != "up"
    (sshd.folder / "authorized_keys").write_text(authorized)
    tunnels.run("restart", "work", expect=0)
    traffic.check_echo(dialing(port), 1000)


def test_a_key_file_that_is_not_there_is_named(tunnels: Tunnels, site: Site, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    login = {**site.login(), "identity_file": str(missing)}
    tunnels.write(work={**login, "local": [f"{free_port()}:{site.far.echo}"]})
    result = tunnels.up("work", expect=NOT_AS_ASKED)
    assert missing.name in result.words
    assert tunnels.tunnel("work")["state"] == "failed"


def test_keys_come_from_the_agent(tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    login = {key: value for key, value in site.login().items() if key != "identity_file"}
    tunnels.write(work={**login, "local": [f"{port}:{site.far.echo}"]})
    with ssh_agent(tunnels.home / "agent") as socket:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(
            ["ssh-add", "-q", str(site.identity)], env=environment, check=True, capture_output=True
        )
        tunnels.env["SSH_AUTH_SOCK"] = str(socket)
        tunnels.up("work")
        traffic.check_echo(dialing(port), 1000)


def test_a_host_of_ssh_config_is_resolved_as_ssh_does(tunnels: Tunnels, site: Site) -> None:
    config = tunnels.home / "ssh_config"
    config.write_text(
        f"Host gate*\n  HostName {site.host}\n  Port {site.port}\n"
        f"Match host {site.host}\n  User {site.user}\n  IdentityFile {site.identity}\n"
        f"  UserKnownHostsFile {site.known_hosts}\n  StrictHostKeyChecking yes\n"
    )
    port = free_port()
    tunnels.write(work={"host": "gateway", "ssh_config": str(config), "local": [f"{port}:{site.far.echo}"]})
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
    assert tunnels.tunnel("work")["host"] == "gateway"


def test_the_profiles_own_keys_win_over_ssh_config(tunnels: Tunnels, site: Site) -> None:
    config = tunnels.home / "ssh_config"
    config.write_text("Host *\n  Port 1\n  User nobody\n  IdentityFile /nowhere\n")
    port = free_port()
    tunnels.write(work={**site.login(), "ssh_config": str(config), "local": [f"{port}:{site.far.echo}"]})
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
