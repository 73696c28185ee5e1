"""A bastion that asks for a password, and several tunnels that go over it: it is asked for once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually

PASSWORD = "b4stion-h0rse"

pytestmark = [
    pytest.mark.loopback_site,
    pytest.mark.skipif(os.geteuid() != 0, reason="accounts with passwords are made by root"),
]

NAMES = ("one", "two", "three")


@pytest.fixture(scope="module")
def account() -> Iterator[str]:
    """Make an account with a password; it goes with the module."""
    name = f"tunw{os.getpid()}"
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=PASSWORD, capture_output=True, text=True, check=True
    ).stdout.strip()

    def change(*command: str) -> bool:
        """Succeed as soon as nobody else changes accounts."""
        return subprocess.run([*command, name], capture_output=True, check=False).returncode == 0

    eventually(
        lambda: change("useradd", "-M", "-d", "/nonexistent", "-s", "/bin/sh", "-p", hashed),
        within=20,
        what="an account",
    )
    yield name
    eventually(lambda: change("userdel"), within=20, what="the end of the account")


@pytest.fixture
def bastion(start_sshd: Callable[..., Sshd]) -> Sshd:
    return start_sshd("PasswordAuthentication yes", "LoginGraceTime 120")


@pytest.fixture
def ports(
    bastion: Sshd,
    start_sshd: Callable[..., Sshd],
    account: str,
    tunnels: Tunnels,
    site: Site,
    tmp_path: Path,
) -> list[int]:
    """Write three profiles that lead over the bastion; returns their ports."""
    target = start_sshd()
    known_hosts = tmp_path / "all_known_hosts"
    known_hosts.write_text(f"{bastion.known_hosts_line}\n{target.known_hosts_line}\n")
    config = tmp_path / "config"
    config.write_text(
        f"Host bastion\n HostName {bastion.host}\n Port {bastion.port}\n User {account}\n"
        f" UserKnownHostsFile {known_hosts}\n PubkeyAuthentication no\n"
    )
    ports = [free_port() for _ in NAMES]
    way = {
        **target.login(),
        "ssh_config": str(config),
        "jump": "bastion",
        "known_hosts": str(known_hosts),
        "keepalive": "1s",
    }
    tunnels.write(
        **{
            name: {**way, "local": [f"{port}:{site.far.echo}"]}
            for name, port in zip(NAMES, ports, strict=True)
        }
    )
    return ports


def accepted(bastion: Sshd) -> int:
    return bastion.log.count("Accepted password")


def connections(bastion: Sshd) -> int:
    """How many have connected; the bed itself looks only whether anybody answers."""
    return bastion.log.count("Connection from") - bastion.log.count("kex_exchange_identification")


def test_one_answer_on_the_terminal_brings_all_of_them_up(
    bastion: Sshd, ports: list[int], tunnels: Tunnels
) -> None:
    with tunnels.terminal("up", *NAMES) as terminal:
        terminal.expect("password:")
        terminal.send_hidden(PASSWORD)
        assert terminal.wait() == OK
        assert terminal.text.count("assword:") == 1
    for port in ports:
        traffic.check_echo(dialing(port), 1000)
    assert (accepted(bastion), connections(bastion)) == (1, 1)
    assert PASSWORD not in tunnels.log


def test_the_question_is_shown_for_each_of_them_and_outlives_the_one_that_began(
    bastion: Sshd, ports: list[int], tunnels: Tunnels
) -> None:
    tunnels.run("up", "--no-wait", *NAMES)
    for name in NAMES:
        tunnels.wait_state(name, "needs-input")
    questions = [tunnels.tunnel(name)["question"] for name in NAMES]
    assert questions[0] == questions[1] == questions[2]
    assert str(bastion.port) in questions[0]["text"] + questions[0]["prompt"], "it names the hop"
    tunnels.down("one")
    assert connections(bastion) == 1
    with tunnels.terminal("up", "three") as terminal:
        terminal.expect("password:")
        terminal.send_hidden(PASSWORD)
        assert terminal.wait() == OK
    tunnels.wait_state("two", "up")
    for port in ports[1:]:
        traffic.check_echo(dialing(port), 1000)
    assert (accepted(bastion), connections(bastion)) == (1, 1)
    tunnels.up("one")
    traffic.check_echo(dialing(ports[0]), 1000)
    assert connections(bastion) == 1, "who comes later is not asked at all"


def test_after_a_drop_they_come_back_with_one_login_and_no_question(
    bastion: Sshd, ports: list[int], tunnels: Tunnels
) -> None:
    with tunnels.terminal("up", *NAMES) as terminal:
        terminal.expect("password:")
        terminal.send_hidden(PASSWORD)
        assert terminal.wait() == OK
    bastion.drop_sessions()
    for name, port in zip(NAMES, ports, strict=True):
        tunnels.wait_tunnel(
            name, lambda it: it["reconnects"] == 1 and it["state"] == "up", what="a new connection"
        )
        traffic.check_echo(dialing(port), 1000)
    assert accepted(bastion) == 2


def test_the_last_one_taken_down_takes_the_question_along(
    bastion: Sshd, ports: list[int], tunnels: Tunnels
) -> None:
    assert ports
    tunnels.run("up", "--no-wait", *NAMES)
    for name in NAMES:
        tunnels.wait_state(name, "needs-input")
    tunnels.down(*NAMES)
    eventually(lambda: bastion.sessions() == 0, within=2, what="the end of the attempt")
    assert tunnels.status_json()["tunnels"] == []
