"""Ways to a server that are not a plain TCP connection: proxy commands, jump hosts, and jump hosts that are shared."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.e2e.bed import netcat, traffic
from tests.e2e.bed.clients import End, Talk, talk
from tests.e2e.bed.faults import ECHO, Laptop
from tests.e2e.bed.netns import SERVER_6
from tests.e2e.bed.ports import LOOPBACK, free_port, in_use
from tests.e2e.bed.product import NOT_AS_ASKED, OK, Tunnels
from tests.e2e.bed.site import NOWHERE, Site
from tests.e2e.bed.sshd import Sshd, make_key
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually, for_seconds

pytestmark = [pytest.mark.loopback_site, pytest.mark.long]

StartSshd = Callable[..., Sshd]

NC = f"{shlex.quote(sys.executable)} {shlex.quote(netcat.__file__)}"

BACK_WITHIN = 2.0
"""Seconds that may pass until the port carries data again (the contract, section 5)."""


def logins(sshd: Sshd) -> int:
    """How often somebody has logged in so far."""
    return sshd.log.count("Accepted publickey")


def proxies(tunnels: Tunnels) -> list[psutil.Process]:
    """What the product has started besides daemons."""
    daemons = set(tunnels.daemon_pids())
    return [process for process in tunnels.processes() if process.pid not in daemons]


def no_proxies(tunnels: Tunnels, *, within: float = 5) -> None:
    eventually(lambda: not proxies(tunnels), within=within, what="the end of the proxy command")


# --- proxy commands -------------------------------------------------------------------------------


@pytest.fixture
def through(tunnels: Tunnels, site: Site, start_sshd: StartSshd) -> Callable[..., int]:
    """Write a profile that goes through a command; returns its local port."""

    def write(command: str, **keys: object) -> int:
        port = free_port()
        sshd = start_sshd()
        tunnels.write(
            work={**sshd.login(), "proxy_command": command, "local": [f"{port}:{site.far.echo}"], **keys}
        )
        return port

    return write


@pytest.mark.parametrize(
    "command",
    [
        f"{NC} %h %p",
        f"""sh -c '{NC} "$1" "$2" | cat' sh "%h" '%p'""",
        f"{NC} %h %p 2>/dev/null || echo never",
    ],
)
def test_a_proxy_command_carries_everything_and_ends_with_the_tunnel(
    command: str, through: Callable[..., int], tunnels: Tunnels
) -> None:
    port = through(command)
    tunnels.up("work")
    traffic.check_echo(dialing(port))
    assert proxies(tunnels)
    assert tunnels.tunnel("work")["rtt_ms"] is not None
    tunnels.down("work")
    no_proxies(tunnels)


def test_ssh_with_stdio_forwarding_is_a_proxy_command(
    tunnels: Tunnels, site: Site, start_sshd: StartSshd
) -> None:
    bastion, target = start_sshd(), start_sshd()
    config = tunnels.home / "ssh_config"
    config.write_text(
        f"Host target\n HostName {target.host}\n Port {target.port}\n IdentityFile {target.identity}\n"
        f" UserKnownHostsFile {target.known_hosts}\n"
        f" ProxyCommand ssh -F {config} -W %h:%p bastion\n"
        f"Host bastion\n HostName {bastion.host}\n Port {bastion.port}\n IdentityFile {bastion.identity}\n"
        f" UserKnownHostsFile {bastion.known_hosts}\n"
    )
    port = free_port()
    tunnels.write(
        work={
            "host": "target",
            "ssh_config": str(config),
            "keepalive": "1s",
            "local": [f"{port}:{site.far.echo}"],
        }
    )
    tunnels.up("work")
    traffic.check_echo(dialing(port))
    assert (logins(bastion), logins(target)) == (1, 1)
    bastion.drop_sessions()
    tunnels.wait_tunnel(
        "work", lambda it: it["reconnects"] == 1 and it["state"] == "up", what="a new connection"
    )
    traffic.check_echo(dialing(port), 1000)
    # A login that the bastion refuses is not tried again and again.
    (bastion.folder / "authorized_keys").write_text("")
    tunnels.down("work")
    result = tunnels.up("work", expect=NOT_AS_ASKED)
    assert "Permission denied" in result.words
    assert tunnels.tunnel("work")["error"]["code"] == "login-refused"


def test_what_a_proxy_command_says_on_stderr_is_in_the_log_and_never_in_the_stream(
    through: Callable[..., int], tunnels: Tunnels
) -> None:
    noise = "i=0; while sleep 0.02; do i=$((i+1)); echo warning $i >&2; done"
    port = through(f"sh -c '({noise}) & exec {NC} %h %p'")
    tunnels.up("work")
    for _ in range(5):
        traffic.check_echo(dialing(port))
    assert tunnels.tunnel("work")["reconnects"] == 0
    said = tunnels.run("logs", "work").out
    assert re.search(r"proxy command of .*: warning 1$", said, re.MULTILINE)
    assert said.count("warning") <= 60, "a command that never stops talking does not fill the log"
    tunnels.down("work")
    no_proxies(tunnels)


@pytest.mark.parametrize(
    ("command", "words", "state"),
    [
        ("sh -c 'echo the door is shut >&2; exit 3'", "exit code 3; it said: the door is shut", "backoff"),
        ("no-such-program %h %p", "the proxy command was not found", "failed"),
        ("sh -c 'kill -9 $$'", "the proxy command ended by SIGKILL", "backoff"),
    ],
)
def test_a_proxy_command_that_ends_before_the_login_is_the_reason(
    command: str, words: str, state: str, through: Callable[..., int], tunnels: Tunnels
) -> None:
    through(command)
    result = tunnels.run("up", "--timeout", "2s", "work", expect=NOT_AS_ASKED)
    assert words in result.words
    assert tunnels.wait_state("work", state)["error"]["message"].count("proxy command") == 1
    tunnels.down("work")


def test_a_proxy_command_that_does_not_want_to_end_is_killed(
    through: Callable[..., int], tunnels: Tunnels
) -> None:
    through(f"""sh -c 'trap "" TERM HUP INT; {NC} %h %p; while :; do sleep 0.1; done'""")
    tunnels.up("work")
    tunnels.down("work")
    no_proxies(tunnels)


def test_a_proxy_command_ends_with_the_daemon(through: Callable[..., int], tunnels: Tunnels) -> None:
    through(f"sh -c '{NC} %h %p; sleep 1000'")
    tunnels.up("work")
    tunnels.run("daemon", "stop", expect=OK)
    assert tunnels.processes() == []


def test_a_proxy_command_that_never_connects_ends_with_the_attempt(
    through: Callable[..., int], tunnels: Tunnels
) -> None:
    through("sleep 1000")
    tunnels.run("up", "--no-wait", "work")
    eventually(lambda: proxies(tunnels), within=10, what="the command")
    tunnels.down("work")
    no_proxies(tunnels)


def test_a_dead_link_behind_a_proxy_command_is_found_by_the_keepalives(
    tunnels: Tunnels, site: Site, start_sshd: StartSshd
) -> None:
    sshd = start_sshd()
    port = free_port()
    command = f"{NC} %h %p"
    tunnels.write(
        work={
            **sshd.login(),
            "keepalive_count": 1,
            "proxy_command": command,
            "local": [f"{port}:{site.far.echo}"],
        }
    )
    tunnels.up("work")
    sshd.pause_sessions()
    tunnels.wait_tunnel("work", lambda it: it["reconnects"] == 1, within=10, what="a new connection")
    traffic.check_echo(dialing(port), 1000)
    assert not tunnels.tunnel("work")["offline"]


def test_a_proxy_command_gets_what_openssh_would_give_it(
    tunnels: Tunnels, site: Site, tmp_path: Path
) -> None:
    command = """sh -c 'printf "%%s|" "$@" >{}' sh "%h" '%p' %r %n 100%% "$SHELL" "$HOW" """
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\nHOW="$1 ${2%% *}" exec /bin/sh "$@"\n')
    shell.chmod(0o755)
    tunnels.env["SHELL"] = str(shell)
    config = tmp_path / "config"
    texts = []
    for file, run in (
        (
            tmp_path / "theirs",
            lambda: subprocess.run(
                ["ssh", "-F", str(config), "inner"],
                check=False,
                capture_output=True,
                env=tunnels.env,
            ),
        ),
        (tmp_path / "ours", lambda: tunnels.run("up", "--timeout", "1s", "work")),
    ):
        config.write_text(
            f"Host inner\n HostName in.example.com\n Port 2200\n User ann\n ProxyCommand {command.format(file)}\n"
        )
        tunnels.write(
            work={
                "host": "inner",
                "ssh_config": str(config),
                "local": [f"{free_port()}:{site.far.echo}"],
            }
        )
        run()
        texts.append(file.read_text())
    assert texts[0] == texts[1]
    assert texts[1] == f"in.example.com|2200|ann|inner|100%|{shell}|-c exec|"
    tunnels.down("work")


def test_a_command_that_hands_over_a_socket_is_refused_by_name(
    tunnels: Tunnels, site: Site, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(f"Host inner\n ProxyCommand {NC} %h %p\n ProxyUseFdpass yes\n")
    tunnels.write(
        work={"host": "inner", "ssh_config": str(config), "local": [f"{free_port()}:{site.far.echo}"]}
    )
    assert "ProxyUseFdpass" in tunnels.up("work", expect=NOT_AS_ASKED).words
    assert tunnels.tunnel("work")["error"]["code"] == "bad-setting"


# --- chains ---------------------------------------------------------------------------------------


class Chain:
    """Three servers, each with its own key, known_hosts, user and way to be known, and the ssh_config for them."""

    def __init__(self, folder: Path, start_sshd: StartSshd) -> None:
        # The middle one knows nobody's key, but an authority; so any account will do.
        make_key(folder / "ca")
        other = "nobody" if os.geteuid() == 0 else None
        self.a, self.c = start_sshd(), start_sshd()
        self.b = start_sshd(f"TrustedUserCAKeys {folder}/ca.pub", "AuthorizedKeysFile none")
        self.user_of_b = other or self.b.user
        subprocess.run(
            [
                *("ssh-keygen", "-q", "-s", str(folder / "ca"), "-I", "test", "-n", self.user_of_b),
                *("-V", "-1m:+1h", f"{self.b.identity}.pub"),
            ],
            check=True,
        )
        self.config = folder / "chain_config"
        self.write()

    def write(self, target: str = "") -> None:
        """Write ssh_config; ``target`` is in the place of the last server's address."""
        blocks = []
        for name, server, user, more in (
            ("a", self.a, self.a.user, "StrictHostKeyChecking yes"),
            ("b", self.b, self.user_of_b, f"ProxyJump a\n CertificateFile {self.b.identity}-cert.pub"),
            ("c", self.c, self.c.user, "ProxyJump b\n ServerAliveInterval 1"),
        ):
            host = target if target and name == "c" else server.host
            blocks.append(
                f"Host {name}\n HostName {host}\n Port {server.port}\n User {user}\n"
                f" IdentityFile {server.identity}\n IdentitiesOnly yes\n"
                f" UserKnownHostsFile {server.known_hosts}\n {more}\n"
            )
        self.config.write_text("".join(blocks))

    def profile(self, port: int, site: Site, **keys: object) -> dict[str, object]:
        """The keys of a profile that leads to the last one."""
        return {
            "host": "c",
            "ssh_config": str(self.config),
            "keepalive": "1s",
            "local": [f"{port}:{site.far.echo}"],
            **keys,
        }


@pytest.fixture
def chain(tmp_path: Path, start_sshd: StartSshd) -> Chain:
    return Chain(tmp_path, start_sshd)


def test_a_chain_of_three_is_passed_with_a_key_a_user_and_a_known_hosts_file_for_each(
    chain: Chain, tunnels: Tunnels, site: Site
) -> None:
    port = free_port()
    tunnels.write(work=chain.profile(port, site))
    tunnels.up("work")
    traffic.check_echo(dialing(port))
    for server, user in ((chain.a, chain.a.user), (chain.b, chain.user_of_b), (chain.c, chain.c.user)):
        assert f"Accepted publickey for {user}" in server.log
    tunnels.down("work")
    eventually(
        lambda: not any(server.sessions() for server in (chain.a, chain.b, chain.c)),
        within=5,
        what="the end of all connections",
    )


def test_the_hop_that_refuses_the_login_is_named(chain: Chain, tunnels: Tunnels, site: Site) -> None:
    text = chain.config.read_text().replace(f"CertificateFile {chain.b.identity}-cert.pub", "")
    chain.config.write_text(text.replace(str(chain.b.identity), str(chain.c.identity)))
    tunnels.write(work=chain.profile(free_port(), site))
    words = tunnels.up("work", expect=NOT_AS_ASKED).words
    assert "jump host b refused the login" in words
    assert "jump host b" in tunnels.run("status", "work").words


def test_the_hop_whose_host_key_is_unknown_is_named(chain: Chain, tunnels: Tunnels, site: Site) -> None:
    chain.b.known_hosts.write_text("")
    tunnels.write(work=chain.profile(free_port(), site, host_key_policy="strict"))
    words = tunnels.up("work", expect=NOT_AS_ASKED).words
    assert f"{chain.b.port}" in words
    assert chain.b.fingerprint in words


def test_the_hop_that_may_not_connect_us_onwards_is_named(
    tmp_path: Path, start_sshd: StartSshd, tunnels: Tunnels, site: Site
) -> None:
    strict, target = start_sshd("PermitOpen 127.0.0.1:1"), start_sshd()
    both = tmp_path / "both"
    both.write_text(f"{strict.known_hosts_line}\n{target.known_hosts_line}\n")
    (tmp_path / "config").write_text(
        f"Host strict\n HostName {strict.host}\n Port {strict.port}\n IdentityFile {strict.identity}\n"
        f" UserKnownHostsFile {both}\n"
    )
    tunnels.write(
        work={
            **target.login(),
            "ssh_config": str(tmp_path / "config"),
            "jump": "strict",
            "local": [f"{free_port()}:{site.far.echo}"],
        }
    )
    words = tunnels.up("work", expect=NOT_AS_ASKED).words
    assert "jump host strict does not allow connections" in words
    assert "PermitOpen" in words
    assert tunnels.tunnel("work")["error"]["code"] == "jump-refused"


def test_a_name_that_the_last_hop_does_not_know_is_said_so(
    chain: Chain, tunnels: Tunnels, site: Site
) -> None:
    chain.write(target=NOWHERE)
    tunnels.write(work=chain.profile(free_port(), site))
    words = tunnels.run("up", "--timeout", "4s", "work", expect=NOT_AS_ASKED).words
    assert "jump host b does not know the name" in words
    tunnels.down("work")


@pytest.mark.parametrize("which", ["a", "b"])
def test_a_hop_that_dies_takes_the_tunnel_down_by_name_and_it_comes_back(
    which: str, chain: Chain, tunnels: Tunnels, site: Site
) -> None:
    port = free_port()
    tunnels.write(work=chain.profile(port, site))
    tunnels.up("work")
    getattr(chain, which).drop_sessions()
    tunnels.wait_tunnel("work", lambda it: it["reconnects"] == 1, what="a new connection")
    traffic.check_echo(dialing(port), 1000)
    assert f"jump host {which} closed the connection" in tunnels.run("logs", "work").words


def test_a_hop_that_is_frozen_is_found_by_its_keepalives(chain: Chain, tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    tunnels.write(work=chain.profile(port, site, keepalive_count=1))
    tunnels.up("work")
    chain.a.pause_sessions()
    tunnels.wait_tunnel("work", lambda it: it["reconnects"] == 1, what="a new connection")
    traffic.check_echo(dialing(port), 1000)
    assert "did not answer the keepalives" in tunnels.run("logs", "work").words


def test_the_first_hop_may_have_a_proxy_command(chain: Chain, tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    text = chain.config.read_text()
    chain.config.write_text(text.replace("Host a\n", f"Host a\n ProxyCommand {NC} %h %p\n"))
    tunnels.write(work=chain.profile(port, site))
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
    assert len(proxies(tunnels)) == 1
    tunnels.down("work")
    no_proxies(tunnels)


# --- a shared bastion -----------------------------------------------------------------------------


class Bastion:
    """A bastion, and two servers behind it."""

    def __init__(self, folder: Path, start_sshd: StartSshd) -> None:
        self.sshd = start_sshd()
        self.targets = [start_sshd(identity=self.sshd.identity) for _ in range(2)]
        self.known_hosts = folder / "all_known_hosts"
        self.known_hosts.write_text("".join(f"{it.known_hosts_line}\n" for it in (self.sshd, *self.targets)))

    def profile(self, number: int, port: int, site: Site, **keys: object) -> dict[str, object]:
        """The keys of a profile that goes over it."""
        return {
            **self.targets[number].login(),
            "jump": f"{self.sshd.user}@{self.sshd.host}:{self.sshd.port}",
            "known_hosts": str(self.known_hosts),
            "local": [f"{port}:{site.far.echo}"],
            **keys,
        }


@pytest.fixture
def bastion(tmp_path: Path, start_sshd: StartSshd) -> Bastion:
    return Bastion(tmp_path, start_sshd)


def test_tunnels_over_the_same_bastion_log_in_there_once(
    bastion: Bastion, tunnels: Tunnels, site: Site
) -> None:
    one, two = free_port(), free_port()
    tunnels.write(one=bastion.profile(0, one, site), two=bastion.profile(1, two, site))
    tunnels.up("one", "two")  # both dial at the same time
    for port in (one, two):
        traffic.check_echo(dialing(port))
    assert logins(bastion.sshd) == 1
    tunnels.down("one")
    assert not in_use(one)
    traffic.check_echo(dialing(two))
    tunnels.up("one")
    traffic.check_echo(dialing(one))
    assert logins(bastion.sshd) == 1
    tunnels.down("one", "two")
    eventually(
        lambda: bastion.sshd.sessions() == 0, within=1, what="the end of the connection to the bastion"
    )


@pytest.mark.parametrize("keys", [{"share_jump": False}, {"keepalive": "2s"}])
def test_those_that_do_not_want_to_share_or_go_another_way_do_not(
    keys: dict[str, object], bastion: Bastion, tunnels: Tunnels, site: Site
) -> None:
    tunnels.write(
        one=bastion.profile(0, free_port(), site), two=bastion.profile(1, free_port(), site, **keys)
    )
    tunnels.up("one", "two")
    assert logins(bastion.sshd) == 2


def test_a_target_that_goes_leaves_the_others_alone(bastion: Bastion, tunnels: Tunnels, site: Site) -> None:
    one, two = free_port(), free_port()
    tunnels.write(one=bastion.profile(0, one, site), two=bastion.profile(1, two, site))
    tunnels.up("one", "two")
    bastion.targets[0].drop_sessions()
    tunnels.wait_tunnel("one", lambda it: it["reconnects"] == 1, what="a new connection")
    traffic.check_echo(dialing(one), 1000)
    assert tunnels.tunnel("two")["reconnects"] == 0
    assert logins(bastion.sshd) == 1


def test_a_bastion_that_goes_is_dialled_once_for_both(bastion: Bastion, tunnels: Tunnels, site: Site) -> None:
    one, two = free_port(), free_port()
    tunnels.write(one=bastion.profile(0, one, site), two=bastion.profile(1, two, site))
    tunnels.up("one", "two")
    bastion.sshd.stop()
    for name in ("one", "two"):
        tunnels.wait_state(name, "backoff", "connecting")
    bastion.sshd.start()
    for name, port in (("one", one), ("two", two)):
        tunnels.wait_tunnel(name, lambda it: it["reconnects"] == 1, what="a new connection", within=30)
        traffic.check_echo(dialing(port), 1000)
    assert logins(bastion.sshd) == 2


def test_a_connection_that_may_be_dead_is_not_handed_out_again(
    bastion: Bastion, tunnels: Tunnels, site: Site
) -> None:
    """The keepalives would find out after a minute; a tunnel that comes new does not wait for that."""
    one, two = free_port(), free_port()
    slow = {"keepalive": "15s"}
    tunnels.write(
        one=bastion.profile(0, one, site, **slow),
        two=bastion.profile(1, two, site, **slow),
    )
    tunnels.up("one")
    bastion.sshd.pause_sessions()
    began = time.monotonic()
    tunnels.up("two")
    traffic.check_echo(dialing(two), 1000)
    assert time.monotonic() - began <= 5
    assert tunnels.tunnel("one")["state"] == "up", "it keeps what it has until it finds out itself"
    bastion.sshd.resume()
    traffic.check_echo(dialing(one), 1000)
    assert (tunnels.tunnel("one")["reconnects"], logins(bastion.sshd)) == (0, 2)


def test_taking_down_who_began_an_attempt_does_not_end_it_for_the_other(
    bastion: Bastion, tunnels: Tunnels, site: Site
) -> None:
    one, two = free_port(), free_port()
    tunnels.write(one=bastion.profile(0, one, site), two=bastion.profile(1, two, site))
    bastion.sshd.pause()
    tunnels.run("up", "--no-wait", "one", "two")
    for_seconds(1)
    tunnels.down("one")
    bastion.sshd.resume()
    tunnels.wait_state("two", "up", within=25)
    traffic.check_echo(dialing(two), 1000)
    assert logins(bastion.sshd) == 1


def test_an_unknown_bastion_is_asked_about_once(bastion: Bastion, tunnels: Tunnels, site: Site) -> None:
    bastion.known_hosts.write_text("".join(f"{it.known_hosts_line}\n" for it in bastion.targets))
    ask = {"host_key_policy": "ask"}
    one, two = free_port(), free_port()
    tunnels.write(one=bastion.profile(0, one, site, **ask), two=bastion.profile(1, two, site, **ask))
    tunnels.run("up", "--no-wait", "one", "two")
    for name in ("one", "two"):
        tunnels.wait_state(name, "needs-input")
    with tunnels.terminal("up", "one") as terminal:
        terminal.expect(re.escape(bastion.sshd.fingerprint))
        terminal.expect(r"yes|\[y")
        terminal.send("yes")
        assert terminal.wait() == OK
    tunnels.wait_state("two", "up")
    for port in (one, two):
        traffic.check_echo(dialing(port), 1000)
    assert bastion.known_hosts.read_text().count(bastion.sshd.known_hosts_line) == 1


def test_the_daemon_ends_in_time_while_a_shared_bastion_is_frozen(
    bastion: Bastion, tunnels: Tunnels, site: Site
) -> None:
    tunnels.write(one=bastion.profile(0, free_port(), site), two=bastion.profile(1, free_port(), site))
    tunnels.up("one", "two")
    bastion.sshd.pause()
    began = time.monotonic()
    tunnels.run("daemon", "stop", expect=OK)
    assert time.monotonic() - began <= 10
    assert tunnels.processes() == []
    bastion.sshd.resume()


# --- a shared bastion and a network that changes ----------------------------------------------------


FORWARDS = (5000, 5001, 5002)
"""In a namespace every port is free."""


def three_over_a_bastion(laptop: Laptop, tunnels: Tunnels, **keys: object) -> None:
    """Have three tunnels up, through the server and from there to its other address."""
    host = laptop.sshd.host if keys else SERVER_6
    way = {**laptop.login(host=host), "jump": f"{laptop.sshd.user}@{laptop.sshd.host}", **keys}
    tunnels.write(**{f"t{port}": {**way, "local": [f"{port}:{ECHO}"]} for port in FORWARDS})
    tunnels.up("--all")


def bastion_logins(laptop: Laptop) -> int:
    """How many logins came from the laptop's side of the network; the others come from the server itself."""
    return len(re.findall(r"Accepted publickey for \S+ from 10\.77\.1\.", laptop.sshd.log))


def all_are_served(laptop: Laptop, since: float) -> float:
    """Be a client of each; return how long it took from a moment on."""
    for port in FORWARDS:
        answer = laptop.client.call(partial(talk, LOOPBACK, port, b"hello", timeout=20), within=25)
        assert answer == Talk(b"hello", End.EOF)
    return time.monotonic() - since


def test_after_roaming_all_tunnels_come_back_over_one_new_connection_to_the_bastion(
    laptop: Laptop, travelling: Tunnels
) -> None:
    three_over_a_bastion(laptop, travelling)
    assert bastion_logins(laptop) == 1
    with laptop.new_address():
        pass
    changed = time.monotonic()
    assert all_are_served(laptop, changed) <= BACK_WITHIN
    assert {travelling.tunnel(f"t{port}")["reconnects"] for port in FORWARDS} == {1}
    assert bastion_logins(laptop) == 2


def test_a_short_interruption_takes_the_bastion_from_nobody(laptop: Laptop, travelling: Tunnels) -> None:
    three_over_a_bastion(laptop, travelling)
    with laptop.route_withdrawn():
        for_seconds(1.5)
    all_are_served(laptop, time.monotonic())
    assert {travelling.tunnel(f"t{port}")["reconnects"] for port in FORWARDS} == {0}
    assert bastion_logins(laptop) == 1


def test_after_roaming_a_tunnel_through_a_proxy_command_is_back_as_soon(
    laptop: Laptop, travelling: Tunnels
) -> None:
    """Nobody knows the address that the command uses: it is asked whether it works still."""
    three_over_a_bastion(laptop, travelling, jump="none", proxy_command=f"{NC} %h %p")
    with laptop.new_address():
        pass
    assert all_are_served(laptop, time.monotonic()) <= 2 * BACK_WITHIN
    assert {travelling.tunnel(f"t{port}")["reconnects"] for port in FORWARDS} == {1}


def test_without_a_default_route_a_proxy_command_is_run_all_the_same(
    laptop: Laptop, travelling: Tunnels
) -> None:
    """It may lead to a neighbour, or to a device on this machine; here a route of its own leads there."""
    laptop.client.ip("route", "add", f"{laptop.sshd.host}/32", "via", "10.77.1.1")
    with laptop.route_withdrawn():
        three_over_a_bastion(laptop, travelling, jump="none", proxy_command=f"{NC} %h %p")
        assert not travelling.tunnel("t5000")["offline"]
        laptop.sshd.drop_sessions()
        all_are_served(laptop, time.monotonic())
        assert not travelling.tunnel("t5000")["offline"]
