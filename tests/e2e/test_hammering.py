"""How often a server is told what it does not take, where several tunnels go through it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.bed import leaks
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.wait import eventually

NAMES = ("one", "two", "three", "four", "five")

pytestmark = [
    pytest.mark.loopback_site,
    pytest.mark.skipif(os.geteuid() != 0, reason="accounts with passwords are made by root"),
]


def change_password(user: str, password: str) -> None:
    def change() -> bool:
        """Succeed as soon as nobody else changes accounts."""
        done = subprocess.run(
            ["chpasswd"], input=f"{user}:{password}\n", text=True, capture_output=True, check=False
        )
        return done.returncode == 0

    eventually(change, within=20, what="another password")


@pytest.fixture
def user() -> Iterator[str]:
    """Make an account; it goes with the test."""
    name = f"tunh{os.getpid()}"

    def change(*command: str) -> bool:
        return subprocess.run([*command, name], capture_output=True, check=False).returncode == 0

    eventually(
        lambda: change("useradd", "-M", "-d", "/nonexistent", "-s", "/bin/sh"), within=20, what="an account"
    )
    yield name
    eventually(lambda: change("userdel"), within=20, what="the end of the account")


def test_a_password_that_was_changed_is_told_once_whoever_remembers_it(
    start_sshd: Callable[..., Sshd], user: str, tunnels: Tunnels, site: Site
) -> None:
    password = leaks.secret("password")
    change_password(user, password)
    server = start_sshd("PasswordAuthentication yes", "PubkeyAuthentication no")
    way = {**server.login(), "user": user}
    tunnels.write(**{name: {**way, "local": [f"{free_port()}:{site.far.echo}"]} for name in NAMES})
    with tunnels.terminal("up", *NAMES) as terminal:
        terminal.expect("password:")
        terminal.send_hidden(password)
        assert terminal.wait() == OK
    assert server.log.count("Accepted password") == len(NAMES)
    change_password(user, leaks.secret("password"))
    server.drop_sessions()
    for name in NAMES:
        tunnels.wait_state(name, "needs-input")
    assert server.log.count("Failed password") == 1
    new = leaks.secret("password")
    change_password(user, new)
    with tunnels.terminal("up", *NAMES) as terminal:
        terminal.expect("password:")
        terminal.send_hidden(new)
        assert terminal.wait() == OK
    server.drop_sessions()
    for name in NAMES:
        tunnels.wait_tunnel(
            name, lambda it: it["state"] == "up" and it["reconnects"] == 2, what="a silent reconnect"
        )
    assert server.log.count("Failed password") == 1
