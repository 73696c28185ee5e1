"""Logging in with a password: on a terminal, without one, again after a drop, and when it is the wrong one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.bed import leaks, traffic
from tests.e2e.bed.accounts import Account, AccountSshd
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import NEEDS_PERSON, NOT_AS_ASKED, OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually, for_seconds

pytestmark = pytest.mark.long

Start = Callable[..., AccountSshd]

PASSWORD_ONLY = ("PasswordAuthentication yes", "KbdInteractiveAuthentication no", "PubkeyAuthentication no")
CHALLENGE_ONLY = ("PasswordAuthentication no", "KbdInteractiveAuthentication yes", "PubkeyAuthentication no")
WAYS = [
    pytest.param(PASSWORD_ONLY, None, id="password"),
    pytest.param(PASSWORD_ONLY, "password", id="password with PAM"),
    pytest.param(CHALLENGE_ONLY, "password", id="keyboard-interactive"),
]


@pytest.fixture
def work(tunnels: Tunnels, site: Site) -> Callable[..., int]:
    """Say how to have a profile ``work`` that leads through a server, and on which port it listens."""

    def write(sshd: AccountSshd, **keys: object) -> int:
        port = free_port()
        tunnels.write(work={**sshd.login(), "local": [f"{port}:{site.far.echo}"], **keys})
        return port

    return write


def up_with(tunnels: Tunnels, *answers: str, expect: int = OK) -> str:
    """``tunnels up work`` on a terminal; type these answers, and return what was shown."""
    with tunnels.terminal("up", "work") as terminal:
        for answer in answers:
            terminal.expect("password:|code:")
            terminal.send_hidden(answer)
        assert terminal.wait(within=20) == expect, terminal.text
        assert leaks.in_text(terminal.text) == []
        return " ".join(terminal.text.split())


@pytest.mark.parametrize(("config", "stack"), WAYS)
def test_a_password_is_asked_on_the_terminal_once_and_a_reconnect_is_silent(
    config: tuple[str, ...],
    stack: str | None,
    account: Account,
    start_account_sshd: Start,
    tunnels: Tunnels,
    work: Callable[..., int],
) -> None:
    sshd = start_account_sshd(*config, stack=stack)
    port = work(sshd)
    up_with(tunnels, account.password)
    traffic.check_echo(dialing(port), 1000)
    sshd.drop_sessions()
    tunnels.wait_tunnel("work", lambda it: it["state"] == "up" and it["reconnects"] == 1, what="a reconnect")
    traffic.check_echo(dialing(port), 1000)


@pytest.mark.parametrize(("config", "stack"), WAYS)
def test_without_a_terminal_the_tunnel_waits_and_any_terminal_answers(
    config: tuple[str, ...],
    stack: str | None,
    account: Account,
    start_account_sshd: Start,
    tunnels: Tunnels,
    work: Callable[..., int],
) -> None:
    sshd = start_account_sshd(*config, stack=stack)
    port = work(sshd)
    result = tunnels.up("work", expect=NEEDS_PERSON)
    assert f"{sshd.user}@" in result.words
    assert "asks for the password" in result.words
    assert tunnels.tunnel("work")["state"] == "needs-input"
    assert "asks for the password" in tunnels.run("status").words
    up_with(tunnels, account.password)
    traffic.check_echo(dialing(port), 1000)


@pytest.mark.parametrize(("config", "stack"), WAYS)
def test_a_wrong_password_is_asked_again_and_the_third_one_ends_it(
    config: tuple[str, ...],
    stack: str | None,
    start_account_sshd: Start,
    tunnels: Tunnels,
    work: Callable[..., int],
) -> None:
    sshd = start_account_sshd(*config, stack=stack)
    work(sshd)
    wrong = [leaks.secret("a wrong password") for _ in range(3)]
    shown = up_with(tunnels, *wrong, expect=NOT_AS_ASKED)
    assert "the last answer was not accepted" in shown
    tunnel = tunnels.tunnel("work")
    assert (tunnel["state"], tunnel["error"]["code"]) == ("failed", "login-refused")
    method = "password" if config is PASSWORD_ONLY else "keyboard-interactive"
    assert f"{method} refused 3 times" in tunnel["error"]["message"]
    assert f"the server takes {method}" in tunnel["error"]["message"]
    connections = sshd.connections
    for_seconds(2)
    assert sshd.connections == connections == 1


def test_a_wrong_password_and_then_the_right_one(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(*PASSWORD_ONLY)
    port = work(sshd)
    up_with(tunnels, leaks.secret("a wrong password"), account.password)
    traffic.check_echo(dialing(port), 1000)
    sshd.drop_sessions()
    tunnels.wait_tunnel("work", lambda it: it["state"] == "up" and it["reconnects"] == 1, what="a reconnect")
    assert (sshd.logins("Failed", "password"), sshd.logins("Accepted", "password")) == (1, 2)


def test_a_server_that_hangs_up_after_wrong_passwords_has_refused_the_login(
    start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(*PASSWORD_ONLY, "MaxAuthTries 2")
    work(sshd)
    shown = up_with(tunnels, *(leaks.secret("a wrong password") for _ in range(2)), expect=NOT_AS_ASKED)
    assert "after too many tries" in shown
    assert tunnels.tunnel("work")["error"]["code"] == "login-refused"


def test_number_of_password_prompts_and_the_order_of_methods_are_those_of_ssh_config(
    start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(*PASSWORD_ONLY[:1], "KbdInteractiveAuthentication yes", stack="password")
    config = tunnels.home / "ssh_config"
    config.write_text("NumberOfPasswordPrompts 1\nPreferredAuthentications password,keyboard-interactive\n")
    work(sshd, ssh_config=str(config))
    up_with(tunnels, *(leaks.secret("a wrong password") for _ in range(2)), expect=NOT_AS_ASKED)
    said = tunnels.tunnel("work")["error"]["message"]
    assert "password refused; keyboard-interactive refused; " in said


def test_with_batch_mode_nobody_is_asked(
    start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(*PASSWORD_ONLY)
    config = tunnels.home / "ssh_config"
    config.write_text("BatchMode yes\n")
    work(sshd, ssh_config=str(config))
    assert "BatchMode" in up_with(tunnels, expect=NOT_AS_ASKED)


def test_a_remembered_password_that_is_refused_is_tried_once_and_then_asked_for(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(*PASSWORD_ONLY)
    port = work(sshd)
    up_with(tunnels, account.password)
    new = account.new_password()
    sshd.drop_sessions()
    tunnels.wait_state("work", "needs-input")
    assert "was not accepted" in tunnels.run("status").words
    for_seconds(3)
    assert sshd.logins("Failed", "password") == 1
    assert sshd.connections == 2
    up_with(tunnels, new)
    traffic.check_echo(dialing(port), 1000)
    assert sshd.logins("Failed", "password") == 1


def test_a_question_that_outlives_the_patience_of_the_server_is_asked_anew_when_somebody_comes(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(*PASSWORD_ONLY, "LoginGraceTime 2")
    port = work(sshd)
    tunnels.up("work", expect=NEEDS_PERSON)
    eventually(lambda: sshd.sessions() == 0, within=10, what="the end of the server's patience")
    for_seconds(2)
    assert tunnels.tunnel("work")["state"] == "needs-input"
    assert "asks for the password" in tunnels.run("status").words
    assert sshd.connections == 1  # it did not go on without anybody
    up_with(tunnels, account.password)
    assert sshd.connections == 2
    traffic.check_echo(dialing(port), 1000)


def test_a_password_that_has_expired_is_said_to_be_and_what_to_do(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    sshd = start_account_sshd(*CHALLENGE_ONLY, stack="expiring")
    work(sshd)
    account.expire_password()
    try:
        shown = up_with(tunnels, account.password, expect=NOT_AS_ASKED)
    finally:
        account.expire_password(expired=False)
    assert "wants a new password to be chosen" in shown
    assert "ssh " in shown


def test_two_tunnels_to_the_same_account_ask_once(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, site: Site
) -> None:
    sshd = start_account_sshd(*PASSWORD_ONLY)
    ports = [free_port(), free_port()]
    tunnels.write(
        work={**sshd.login(), "local": [f"{ports[0]}:{site.far.echo}"]},
        other={**sshd.login(), "local": [f"{ports[1]}:{site.far.echo}"]},
    )
    tunnels.up("work", "other", expect=NEEDS_PERSON)
    up_with(tunnels, account.password)
    tunnels.wait_state("other", "up")
    traffic.check_echo(dialing(ports[1]), 1000)


def test_what_was_typed_is_forgotten_by_down(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    work(start_account_sshd(*PASSWORD_ONLY))
    up_with(tunnels, account.password)
    tunnels.down("work")
    assert "asks for the password" in tunnels.up("work", expect=NEEDS_PERSON).words


def test_in_the_foreground_it_is_asked_on_the_same_terminal(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, work: Callable[..., int]
) -> None:
    port = work(start_account_sshd(*PASSWORD_ONLY))
    with tunnels.terminal("up", "-f", "work") as terminal:
        terminal.expect("password:")
        terminal.send_hidden(account.password)
        terminal.expect("work up")
        traffic.check_echo(dialing(port), 1000)
        terminal.interrupt()
        terminal.wait()
        assert leaks.in_text(terminal.text) == []


def test_what_the_server_says_before_the_login_is_shown_with_its_question(
    account: Account, start_account_sshd: Start, tunnels: Tunnels, tmp_path: Path, work: Callable[..., int]
) -> None:
    (tmp_path / "banner").write_text("Maintenance at five.\n")
    work(start_account_sshd(*PASSWORD_ONLY, f"Banner {tmp_path / 'banner'}"))
    assert "Maintenance at five." in up_with(tunnels, account.password)
