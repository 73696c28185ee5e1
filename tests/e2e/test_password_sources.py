"""Passwords that nobody types: from ``password_command`` and from the keyring."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.bed import leaks, traffic
from tests.e2e.bed.accounts import Account, AccountSshd
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import NEEDS_PERSON, NOT_AS_ASKED, OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import for_seconds
from tests.e2e.test_passwords import PASSWORD_ONLY, WAYS, Start, up_with


@pytest.fixture
def work(tunnels: Tunnels, site: Site) -> Callable[..., int]:
    """Say how to have a profile ``work`` that leads through a server, and on which port it listens."""

    def write(sshd: AccountSshd, **keys: object) -> int:
        port = free_port()
        tunnels.write(work={**sshd.login(), "local": [f"{port}:{site.far.echo}"], **keys})
        return port

    return write


@pytest.mark.parametrize(("config", "stack"), WAYS)
def test_password_command_logs_in_without_anybody_first_and_after_a_drop(
    config: tuple[str, ...],
    stack: str | None,
    account: Account,
    start_account_sshd: Start,
    tunnels: Tunnels,
    work: Callable[..., int],
) -> None:
    sshd = start_account_sshd(*config, stack=stack)
    port = work(sshd, password_command=kept(tunnels, account.password))
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
    sshd.drop_sessions()
    tunnels.wait_tunnel("work", lambda it: it["state"] == "up" and it["reconnects"] == 1, what="a reconnect")


def kept(tunnels: Tunnels, secret: str) -> str:
    """Put a secret into a file, and return the command that prints it."""
    store = tunnels.home / "store"
    store.write_text(f"{secret}\nme\n")
    if store not in tunnels.may_have_secrets:
        tunnels.may_have_secrets.append(store)
    return f"cat {store}"


def test_a_wrong_password_of_password_command_is_a_refused_login_and_tried_once(
    start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(
        *PASSWORD_ONLY[:1], "KbdInteractiveAuthentication yes", "PubkeyAuthentication no", stack="password"
    )
    work(sshd, password_command=kept(tunnels, leaks.secret("a wrong password")))
    tunnels.up("work", expect=NOT_AS_ASKED)
    tunnel = tunnels.tunnel("work")
    assert (tunnel["state"], tunnel["error"]["code"]) == ("failed", "login-refused")
    assert "the password of password_command" in tunnel["error"]["message"]
    for_seconds(2)
    assert sshd.connections == 1
    assert sshd.logins("Failed", "password") + sshd.logins("Failed", "keyboard-interactive/pam") == 1


def test_a_password_that_changes_while_the_tunnel_is_up_comes_from_the_command_again(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(*PASSWORD_ONLY)
    work(sshd, password_command=kept(tunnels, account.password))
    tunnels.up("work")
    kept(tunnels, account.new_password())
    sshd.drop_sessions()
    tunnels.wait_tunnel("work", lambda it: it["state"] == "up" and it["reconnects"] == 1, what="a reconnect")


def test_a_password_command_that_fails_is_named_and_somebody_may_answer_instead(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    port = work(start_account_sshd(*PASSWORD_ONLY), password_command="exit 3")
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect("password_command ended with status 3")
        terminal.expect("password:")
        terminal.send_hidden(account.password)
        assert terminal.wait() == OK
    traffic.check_echo(dialing(port), 1000)


def test_the_command_is_for_the_target_and_not_for_the_servers_before_it(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, site: Site
) -> None:
    bastion = start_account_sshd(*PASSWORD_ONLY)
    target = start_account_sshd(*PASSWORD_ONLY)
    port = free_port()
    tunnels.write(
        work={
            **target.login(),
            "jump": [f"{bastion.user}@{bastion.host}:{bastion.port}"],
            "known_hosts": [str(bastion.known_hosts), str(target.known_hosts)],
            "password_command": kept(tunnels, account.password),
            "local": [f"{port}:{site.far.echo}"],
        }
    )
    waiting = tunnels.up("work", expect=NEEDS_PERSON)
    assert f"{bastion.user}@{bastion.host}:{bastion.port} asks for the password" in waiting.words
    up_with(tunnels, account.password)
    traffic.check_echo(dialing(port), 1000)
    assert target.logins("Accepted", "password") == 1


# --- the keyring ----------------------------------------------------------------------------------

BACKEND = """
import json, os, pathlib
from keyring.backend import KeyringBackend

class InAFile(KeyringBackend):
    priority = 1
    _file = pathlib.Path(os.environ["HOME"]) / "keyring.json"

    def _all(self):
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def get_password(self, service, username):
        return self._all().get(f"{service} {username}")

    def set_password(self, service, username, password):
        self._file.write_text(json.dumps({**self._all(), f"{service} {username}": password}))

    def delete_password(self, service, username):
        self._file.write_text(json.dumps({k: v for k, v in self._all().items() if k != f"{service} {username}"}))
"""

ANSWER = """
import asyncio, sys
from tunnels import client

with client.Client.connect() as daemon:
    status = daemon.status()
    question = next(tunnel.question for tunnel in status.tunnels if tunnel.name == "work")
    daemon.answer("work", question.id, sys.stdin.read(), save=True)
"""


@pytest.fixture
def keyring(tunnels: Tunnels) -> Path:
    """A keyring in a file, which the product finds as it finds any other."""
    pytest.importorskip("keyring", reason="no keyring: install the extra of that name")
    modules = tunnels.home / "modules"
    modules.mkdir()
    (modules / "in_a_file.py").write_text(BACKEND)
    tunnels.env["PYTHONPATH"] = os.pathsep.join((str(modules), tunnels.env["PYTHONPATH"]))
    tunnels.env["PYTHON_KEYRING_BACKEND"] = "in_a_file.InAFile"
    file = tunnels.home / "keyring.json"
    tunnels.may_have_secrets.append(file)
    return file


def answer_and_save(tunnels: Tunnels, secret: str) -> subprocess.CompletedProcess[str]:
    """Answer the question of ``work`` and have the answer saved."""
    return subprocess.run(
        [sys.executable, "-c", ANSWER],
        input=secret,
        env=tunnels.env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_saved_password_is_good_for_the_next_daemon_too(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int], keyring: Path
) -> None:
    sshd = start_account_sshd(*PASSWORD_ONLY)
    port = work(sshd)
    tunnels.up("work", expect=NEEDS_PERSON)
    answered = answer_and_save(tunnels, account.password)
    assert answered.returncode == 0, answered.stderr
    tunnels.wait_state("work", "up")
    assert account.password in keyring.read_text()
    tunnels.run("daemon", "stop", expect=OK)
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
    assert sshd.logins("Failed", "password") == 0


def test_a_wrong_password_is_not_saved_and_an_outdated_one_is_removed(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int], keyring: Path
) -> None:
    sshd = start_account_sshd(*PASSWORD_ONLY)
    work(sshd)
    tunnels.up("work", expect=NEEDS_PERSON)
    answer_and_save(tunnels, leaks.secret("a wrong password"))
    tunnels.wait_tunnel("work", lambda _: sshd.logins("Failed", "password") == 1, what="a refusal")
    tunnels.wait_state("work", "needs-input")
    assert not keyring.exists()
    assert answer_and_save(tunnels, account.password).returncode == 0
    tunnels.wait_state("work", "up")
    outdated = account.password
    tunnels.run("daemon", "stop", expect=OK)
    account.new_password()
    up_with(tunnels, account.password)
    assert sshd.logins("Failed", "password") == 2  # the outdated one was tried once
    assert outdated not in keyring.read_text()


def test_without_a_keyring_saving_is_an_error_that_takes_nothing(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int], keyring: Path
) -> None:
    tunnels.env["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    work(start_account_sshd(*PASSWORD_ONLY))
    tunnels.up("work", expect=NEEDS_PERSON)
    answered = answer_and_save(tunnels, account.password)
    assert "this machine has no keyring" in answered.stderr
    assert tunnels.tunnel("work")["state"] == "needs-input"
    up_with(tunnels, account.password)
