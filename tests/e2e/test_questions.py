"""Questions reach the person: on the terminal of `up`, on any other, and in a script; and each is answered once."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import COMMAND, NEEDS_PERSON, NOT_AS_ASKED, NOT_RUNNING, OK, USAGE, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.terminal import Terminal
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually, for_seconds

PASSWORD = "corr3ct-h0rse"
WRONG = "n0t-the-h0rse"

pytestmark = [
    pytest.mark.long,
    pytest.mark.loopback_site,
    pytest.mark.skipif(os.geteuid() != 0, reason="accounts with passwords are made by root"),
]


@pytest.fixture(scope="module")
def account() -> Iterator[str]:
    """Make an account with a password; it goes with the module."""
    name = f"tunq{os.getpid()}"
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
    assert pwd.getpwnam(name)
    yield name
    eventually(lambda: change("userdel"), within=20, what="the end of the account")


@pytest.fixture
def server(start_sshd: Callable[..., Sshd]) -> Sshd:
    """Have a server that takes passwords, and is as patient as one usually is."""
    return start_sshd("PasswordAuthentication yes", "LoginGraceTime 120")


@pytest.fixture
def impatient(start_sshd: Callable[..., Sshd]) -> Sshd:
    """Have a server that soon stops waiting."""
    return start_sshd("PasswordAuthentication yes", "LoginGraceTime 3")


@pytest.fixture
def profile(account: str, tunnels: Tunnels, site: Site) -> Callable[..., int]:
    """Write a profile ``work`` for a server that asks for a password; returns its port."""

    def write(server: Sshd, **more: object) -> int:
        port = free_port()
        login = {key: value for key, value in server.login().items() if key != "identity_file"}
        tunnels.write(work={**login, "user": account, "local": [f"{port}:{site.far.echo}"], **more})
        return port

    return write


def connections(server: Sshd) -> int:
    """How many there were, without the one that has found the server ready."""
    return len(re.findall("Connection from", server.log)) - 1


def waits(tunnels: Tunnels) -> None:
    """Have ``work`` wait for its password, with nobody there."""
    tunnels.up("work", expect=NEEDS_PERSON)
    tunnels.wait_state("work", "needs-input")


# --- one terminal ---------------------------------------------------------------------------------


def test_without_a_terminal_the_question_stays_and_status_says_what_to_type(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int], account: str
) -> None:
    profile(server)
    result = tunnels.up("work", expect=NEEDS_PERSON)
    assert "tunnels auth work" in result.words
    assert account in result.words
    status = tunnels.run("status").words
    assert f"{account}@" in status
    assert "password:" in status
    assert "→ tunnels auth work" in status
    question = tunnels.tunnel("work")["question"]
    assert (question["secret"], question["lasting"], question["stale"]) == (True, True, False)


def test_auth_answers_from_another_terminal_and_says_what_came_of_it(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int], account: str
) -> None:
    port = profile(server)
    waits(tunnels)
    with tunnels.terminal("auth") as terminal:
        terminal.expect(f"work: {account}@")
        terminal.expect("password:")
        assert not terminal.echoes()
        terminal.send(PASSWORD)
        terminal.expect("work  up")
        assert terminal.wait() == OK
        assert terminal.echoes()
        assert PASSWORD not in terminal.text
    traffic.check_echo(dialing(port), 1000)
    assert connections(server) == 1, "the answer went to the login that had asked"
    assert "goes on with an answer" in tunnels.run("logs", "work").text


def test_a_wrong_password_is_asked_for_again_in_the_same_login(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int]
) -> None:
    profile(server)
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect("password:")
        terminal.send(WRONG)
        terminal.expect("password:")
        terminal.send(PASSWORD)
        assert terminal.wait() == OK
        assert WRONG not in terminal.text
    assert connections(server) == 1


def test_ctrl_c_and_ctrl_d_leave_the_question_to_others_and_the_terminal_as_it_was(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int]
) -> None:
    profile(server)
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect("password:")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert terminal.echoes()
    with tunnels.terminal("auth", "work") as terminal:
        terminal.expect("password:")
        terminal.press("\x04")
        assert terminal.wait() == NEEDS_PERSON
        assert terminal.echoes()
    tunnels.run("auth", "work", "--stdin", input=f"{PASSWORD}\n", expect=OK)
    assert connections(server) == 1


def test_a_command_that_is_killed_at_a_question_gives_the_terminal_back(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int]
) -> None:
    profile(server)
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect("password:")
        assert not terminal.echoes()
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 128 + signal.SIGTERM
        assert terminal.echoes()
    assert tunnels.tunnel("work")["state"] == "needs-input"


def test_a_shell_that_suspends_a_question_can_be_typed_in_and_has_it_back_with_fg(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int]
) -> None:
    profile(server)
    env = {**tunnels.env, "PS1": "shell> "}
    with Terminal(["bash", "--norc", "--noediting", "-i"], env=env, cwd=str(tunnels.home)) as terminal:
        terminal.expect("shell>")
        terminal.send(f"{' '.join(COMMAND)} up work")
        terminal.expect("password:")
        eventually(lambda: not terminal.echoes(), within=5, what="a terminal that shows nothing")
        terminal.press("half\x1a")
        terminal.expect("Stopped")
        terminal.expect("shell>")
        assert terminal.echoes()
        terminal.send("fg")
        terminal.expect("password:")
        eventually(lambda: not terminal.echoes(), within=5, what="a terminal that shows nothing again")
        terminal.send(PASSWORD)
        terminal.expect("work  up")
        terminal.expect("shell>")
        assert terminal.echoes()
        assert PASSWORD not in terminal.text
        assert "half" not in terminal.text


def test_what_is_typed_before_the_question_is_neither_shown_nor_an_answer(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int]
) -> None:
    profile(server)
    tunnels.run("status")
    server.pause()
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect("connecting")
        terminal.send(WRONG)
        server.resume()
        terminal.expect("password:")
        terminal.send(PASSWORD)
        assert terminal.wait() == OK
        assert WRONG not in terminal.text
    assert "Failed password" not in server.log


# --- two terminals --------------------------------------------------------------------------------


def test_of_two_terminals_that_ask_the_one_that_is_not_answered_goes_on_without_a_keystroke(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int]
) -> None:
    profile(server)
    with tunnels.terminal("up", "work") as first:
        first.expect("password:")
        with tunnels.terminal("auth", "work") as second:
            second.expect("password:")
            second.send(PASSWORD)
            assert second.wait() == OK
        first.expect("answered on another terminal")
        first.expect("work  up")
        assert first.wait() == OK
        assert first.echoes()


def test_an_up_on_a_second_terminal_has_a_host_key_asked_about_on_both(tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    login = {**site.login(), "known_hosts": str(tunnels.home / "known"), "host_key_policy": "ask"}
    tunnels.write(work={**login, "local": [f"{port}:{site.far.echo}"]})
    with tunnels.terminal("up", "work") as first:
        first.expect("yes/no")
        with tunnels.terminal("up", "work") as second:
            second.expect("yes/no")
            first.send("yes")
            assert first.wait() == OK
            second.expect("answered on another terminal")
            assert second.wait() == OK
        assert first.text.count("yes/no") == 1, "it was asked twice"
    traffic.check_echo(dialing(port), 1000)


def test_a_tunnel_that_is_taken_down_while_a_person_thinks_is_over(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int]
) -> None:
    profile(server)
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect("password:")
        tunnels.down("work")
        terminal.expect("it was taken down")
        assert terminal.wait() == NOT_AS_ASKED
        assert terminal.echoes()
    assert tunnels.status_json()["tunnels"] == []


# --- a server that does not wait for ever ---------------------------------------------------------


def test_a_server_that_has_stopped_waiting_asks_again_for_somebody_who_is_there_and_for_nobody_else(
    tunnels: Tunnels, impatient: Sshd, profile: Callable[..., int]
) -> None:
    profile(impatient)
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect("password:")
        terminal.press("half of a passw")
        terminal.expect("The server has stopped waiting")
        assert "asks again then" in tunnels.run("status").words
        for_seconds(2)
        assert connections(impatient) == 1
        terminal.send("ord")
        terminal.expect("password:")
        terminal.send(PASSWORD)
        assert terminal.wait() == OK
        assert "half" not in terminal.text
    assert connections(impatient) == 2


def test_auth_has_a_question_asked_anew_that_nobody_waits_for_any_more(
    tunnels: Tunnels, impatient: Sshd, profile: Callable[..., int]
) -> None:
    port = profile(impatient)
    waits(tunnels)
    tunnels.wait_tunnel("work", lambda it: it["question"]["stale"], what="a stale question")
    with tunnels.terminal("auth", "work") as terminal:
        terminal.expect("password:")
        terminal.send(PASSWORD)
        assert terminal.wait() == OK
    traffic.check_echo(dialing(port), 1000)


# --- scripts --------------------------------------------------------------------------------------


def test_a_script_answers_from_standard_input_also_when_the_server_has_stopped_waiting(
    tunnels: Tunnels, impatient: Sshd, profile: Callable[..., int]
) -> None:
    profile(impatient)
    waits(tunnels)
    tunnels.wait_tunnel("work", lambda it: it["question"]["stale"], what="a stale question")
    result = tunnels.run("auth", "work", "--stdin", "--json", input=f"{WRONG}\n{PASSWORD}\n", expect=OK)
    assert result.json["tunnels"][0]["state"] == "up"
    assert PASSWORD not in result.text
    nothing = tunnels.run("auth", "work", "--stdin", input=f"{PASSWORD}\n", expect=OK)
    assert "waits for no answer" in nothing.words


def test_without_a_terminal_or_a_line_auth_is_5_and_without_a_tunnel_3(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int]
) -> None:
    profile(server)
    tunnels.run("auth", "work", expect=NOT_RUNNING)
    waits(tunnels)
    tunnels.run("auth", "work", expect=NEEDS_PERSON)
    tunnels.run("auth", "work", "--stdin", expect=NEEDS_PERSON)
    assert tunnels.tunnel("work")["state"] == "needs-input"
    tunnels.down("work")
    tunnels.run("auth", "work", expect=NOT_RUNNING)
    assert "no tunnel waits" in tunnels.run("auth", expect=OK).words


# --- the foreground -------------------------------------------------------------------------------


def test_the_foreground_asks_on_its_terminal_and_again_when_the_server_has_stopped_waiting(
    tunnels: Tunnels, impatient: Sshd, profile: Callable[..., int]
) -> None:
    port = profile(impatient)
    with tunnels.terminal("up", "-f", "work") as terminal:
        terminal.expect("password:")
        assert not terminal.echoes()
        terminal.expect("The server has stopped waiting")
        for_seconds(1)
        assert connections(impatient) == 1
        terminal.send("")
        terminal.expect("password:")
        terminal.send(PASSWORD)
        terminal.expect("INFO work up|work.* up")
        traffic.check_echo(dialing(port), 1000)
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == OK
        assert terminal.echoes()
        assert PASSWORD not in terminal.text


def test_the_foreground_writes_no_json(tunnels: Tunnels, server: Sshd, profile: Callable[..., int]) -> None:
    profile(server)
    assert tunnels.run("up", "-f", "work", "--json", expect=USAGE).json["error"]["code"] == "usage"


# --- secrets --------------------------------------------------------------------------------------


def test_an_answer_is_in_no_log_and_no_file(
    tunnels: Tunnels, server: Sshd, profile: Callable[..., int]
) -> None:
    profile(server)
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect("password:")
        terminal.send(WRONG)
        terminal.expect("password:")
        terminal.send(PASSWORD)
        assert terminal.wait() == OK
    said = tunnels.run("status", "--json").text + tunnels.run("why", "work").text + tunnels.run("logs").text
    files = b"".join(path.read_bytes() for path in Path(tunnels.home).rglob("*") if path.is_file())
    assert b"goes on with an answer" in files
    for secret in (PASSWORD, WRONG):
        assert secret not in said
        assert secret.encode() not in files
