"""Several factors: keys, passwords and one-time codes in the orders that servers ask for; and what is asked again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.bed import leaks, traffic
from tests.e2e.bed.accounts import Account, AccountSshd
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import NEEDS_PERSON, NOT_AS_ASKED, OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import make_key
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually, for_seconds

pytestmark = pytest.mark.long

Start = Callable[..., AccountSshd]

EVERYTHING = (
    "PubkeyAuthentication yes",
    "PasswordAuthentication yes",
    "KbdInteractiveAuthentication yes",
)


def asking_for(*methods: str) -> tuple[str, ...]:
    """Return the configuration of a server that wants all of these methods, in this order."""
    return (*EVERYTHING, f"AuthenticationMethods {','.join(methods)}")


WAYS = [
    # what the server wants, its PAM stack, what the person is asked first, and again after a drop
    pytest.param(asking_for("keyboard-interactive"), "both", "pc", "c", id="password and code"),
    pytest.param(asking_for("publickey", "keyboard-interactive"), "code", "c", "c", id="key, then code"),
    pytest.param(asking_for("publickey", "password"), None, "p", "", id="key, then password"),
    pytest.param(
        asking_for("publickey", "keyboard-interactive"), "both", "pc", "c", id="key, then password and code"
    ),
    pytest.param(asking_for("password", "keyboard-interactive"), "password", "p", "", id="password twice"),
    pytest.param(asking_for("password", "publickey"), None, "p", "", id="password, then key"),
]


@pytest.fixture
def work(tunnels: Tunnels, site: Site) -> Callable[..., int]:
    """Say how to have a profile ``work`` that leads through a server, and on which port it listens."""

    def write(sshd: AccountSshd, **keys: object) -> int:
        port = free_port()
        tunnels.write(work={**sshd.login(), "local": [f"{port}:{site.far.echo}"], **keys})
        return port

    return write


def up_with(tunnels: Tunnels, account: Account, questions: str) -> None:
    """``tunnels up work`` on a terminal, which asks for a password (``p``) or a code (``c``), in this order."""
    with tunnels.terminal("up", "work") as terminal:
        for question in questions:
            terminal.expect("password:" if question == "p" else "verification code:")
            terminal.send_hidden(account.password if question == "p" else account.code())
        assert terminal.wait(within=20) == OK, terminal.text
        assert leaks.in_text(terminal.text) == []


@pytest.mark.parametrize(("config", "stack", "first", "again"), WAYS)
def test_every_factor_is_asked_for_once_and_after_a_drop_only_what_changes(
    config: tuple[str, ...],
    stack: str | None,
    first: str,
    again: str,
    account: Account,
    start_account_sshd: Start,
    tunnels: Tunnels,
    work: Callable[..., int],
) -> None:
    sshd = start_account_sshd(*config, stack=stack)
    port = work(sshd)
    up_with(tunnels, account, first)
    traffic.check_echo(dialing(port), 1000)
    sshd.drop_sessions()
    if again:
        tunnels.wait_state("work", "needs-input")
        assert "Verification code:" in tunnels.tunnel("work")["question"]["prompt"]
        up_with(tunnels, account, again)
    tunnels.wait_tunnel("work", lambda it: it["state"] == "up" and it["reconnects"] == 1, what="a reconnect")
    traffic.check_echo(dialing(port), 1000)
    assert "Failed password" not in sshd.log
    assert "Failed keyboard-interactive" not in sshd.log


@pytest.mark.parametrize(("config", "stack", "first", "again"), WAYS)
def test_without_a_terminal_the_first_question_waits(
    config: tuple[str, ...],
    stack: str | None,
    first: str,
    again: str,
    account: Account,
    start_account_sshd: Start,
    tunnels: Tunnels,
    work: Callable[..., int],
) -> None:
    sshd = start_account_sshd(*config, stack=stack)
    port = work(sshd)
    tunnels.up("work", expect=NEEDS_PERSON)
    tunnel = tunnels.tunnel("work")
    assert tunnel["state"] == "needs-input"
    assert tunnel["question"]["kind"] == ("password" if first[0] == "p" else "challenge")
    assert tunnel["question"]["secret"]
    up_with(tunnels, account, first)
    traffic.check_echo(dialing(port), 1000)


def test_two_keys_are_two_factors_and_neither_is_offered_for_ever(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int], tmp_path: Path
) -> None:
    sshd = start_account_sshd(*asking_for("publickey", "publickey"))
    second = make_key(tmp_path / "second")
    with account.authorized_keys.open("a") as keys:
        keys.write(f"{second}\n")
    port = work(sshd, identity_file=[str(sshd.identity), str(tmp_path / "second")])
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
    tunnels.down("work")
    work(sshd)
    result = tunnels.up("work", expect=NOT_AS_ASKED)
    assert "publickey accepted, and more wanted" in result.words
    for_seconds(1)
    assert sshd.log.count("Partial publickey") == 2


def test_a_wrong_code_is_asked_again_and_the_third_one_ends_it(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(*asking_for("publickey", "keyboard-interactive"), stack="code")
    port = work(sshd)
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect("verification code:")
        terminal.send_hidden(account.wrong_code())
        terminal.expect("the last answer was not accepted")
        terminal.expect("verification code:")
        terminal.send_hidden(account.code())
        assert terminal.wait() == OK
    traffic.check_echo(dialing(port), 1000)
    tunnels.down("work")
    with tunnels.terminal("up", "work") as terminal:
        for _ in range(3):
            terminal.expect("verification code:")
            terminal.send_hidden(account.wrong_code())
        assert terminal.wait() == NOT_AS_ASKED
    said = tunnels.tunnel("work")["error"]
    assert said["code"] == "login-refused"
    assert "publickey accepted, and more wanted; keyboard-interactive refused 3 times" in said["message"]


def test_password_command_answers_the_password_and_the_person_the_code(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    store = tunnels.home / "store"
    store.write_text(account.password)
    tunnels.may_have_secrets.append(store)
    sshd = start_account_sshd(*asking_for("keyboard-interactive"), stack="both")
    port = work(sshd, password_command=f"cat {store}")
    up_with(tunnels, account, "c")
    traffic.check_echo(dialing(port), 1000)


def test_a_code_that_nobody_types_in_time_is_asked_anew_and_the_password_with_it_is_not_lost(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(*asking_for("keyboard-interactive"), "LoginGraceTime 3", stack="both")
    port = work(sshd)
    up_with(tunnels, account, "pc")
    sshd.drop_sessions()
    tunnels.wait_state("work", "needs-input")
    eventually(lambda: sshd.sessions() == 0, within=10, what="the end of the server's patience")
    for_seconds(2)
    assert tunnels.tunnel("work")["state"] == "needs-input"
    assert sshd.connections == 2  # the one that was cut, and the one that waited
    up_with(tunnels, account, "c")
    traffic.check_echo(dialing(port), 1000)


def test_openssh_is_asked_the_same(account: Account, start_account_sshd: Start, tmp_path: Path) -> None:
    """The bed itself: if this fails, it is not the product."""
    sshd = start_account_sshd(*asking_for("publickey", "keyboard-interactive"), stack="both")
    askpass = tmp_path / "askpass"
    askpass.write_text(
        f"#!/bin/sh\ncase \"$1\" in *Verification*) echo {account.code()};; *) echo '{account.password}';; esac\n"
    )
    askpass.chmod(0o700)
    done = subprocess.run(
        [
            *("ssh", "-F", "none", "-p", str(sshd.port), "-i", str(sshd.identity)),
            *("-o", f"UserKnownHostsFile={sshd.known_hosts}", f"{sshd.user}@{sshd.host}", "true"),
        ],
        env={"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
