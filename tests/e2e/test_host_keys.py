"""Host keys are always checked, asked about when they are unknown, and never ignored."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import free_port, in_use
from tests.e2e.bed.product import NEEDS_PERSON, NOT_AS_ASKED, OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd, fingerprint, known_hosts_line, make_key
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import for_seconds


@pytest.fixture
def known_hosts(tunnels: Tunnels) -> Path:
    """Have a known_hosts file of this test's own, which does not exist yet."""
    return tunnels.home / ".ssh" / "known_hosts"


@pytest.fixture
def with_policy(tunnels: Tunnels, site: Site, known_hosts: Path) -> Callable[[str], int]:
    """Say how to have a profile ``work`` with a policy for unknown host keys."""

    def write(policy: str) -> int:
        port = free_port()
        login = {**site.login(), "known_hosts": str(known_hosts), "host_key_policy": policy}
        tunnels.write(work={**login, "local": [f"{port}:{site.far.echo}"]})
        return port

    return write


def server_key(site: Site) -> str:
    """Return the server's line in known_hosts."""
    return next(line for line in site.known_hosts.read_text().splitlines() if f":{site.port} " in line)


def test_an_unknown_host_key_is_refused_where_the_policy_is_strict(
    with_policy: Callable[[str], int], known_hosts: Path, tunnels: Tunnels, site: Site
) -> None:
    port = with_policy("strict")
    result = tunnels.up("work", expect=NOT_AS_ASKED)
    assert fingerprint(server_key(site).split(" ", 1)[1]) in result.words
    tunnel = tunnels.tunnel("work")
    assert (tunnel["state"], tunnel["error"]["code"]) == ("failed", "host-key-unknown")
    assert not in_use(port)
    assert not known_hosts.exists() or known_hosts.read_text() == ""


def test_accept_new_takes_an_unknown_host_key_and_writes_it_down(
    with_policy: Callable[[str], int], known_hosts: Path, tunnels: Tunnels, site: Site
) -> None:
    known_hosts.write_text("# a file whose last line has no end")
    port = with_policy("accept-new")
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
    lines = known_hosts.read_text().splitlines()
    assert lines[0] == "# a file whose last line has no end"
    assert server_key(site) in lines
    tunnels.down("work")
    port = with_policy("strict")
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
    assert known_hosts.read_text().splitlines() == lines


def test_openssh_understands_what_was_written_down(
    with_policy: Callable[[str], int], known_hosts: Path, tunnels: Tunnels, site: Site
) -> None:
    with_policy("accept-new")
    tunnels.up("work")
    found = subprocess.run(
        ["ssh-keygen", "-F", f"[{site.host}]:{site.port}", "-f", str(known_hosts)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_without_a_terminal_an_unknown_host_key_is_exit_code_5(
    with_policy: Callable[[str], int], known_hosts: Path, tunnels: Tunnels
) -> None:
    with_policy("ask")
    result = tunnels.up("work", expect=NEEDS_PERSON)
    assert "host key" in result.words
    assert not known_hosts.exists() or known_hosts.read_text() == ""


def test_on_a_terminal_an_unknown_host_key_is_asked_about_and_yes_is_remembered(
    with_policy: Callable[[str], int], known_hosts: Path, tunnels: Tunnels, site: Site
) -> None:
    port = with_policy("ask")
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect(r"SHA256:")
        assert fingerprint(server_key(site).split(" ", 1)[1]) in terminal.text
        terminal.expect(r"yes|\[y")
        terminal.send("yes")
        assert terminal.wait() == OK
    traffic.check_echo(dialing(port), 1000)
    assert server_key(site) in known_hosts.read_text().splitlines()


def test_on_a_terminal_no_means_no(
    with_policy: Callable[[str], int], known_hosts: Path, tunnels: Tunnels
) -> None:
    with_policy("ask")
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect(r"SHA256:")
        terminal.expect(r"yes|\[y")
        terminal.send("no")
        assert terminal.wait() == NOT_AS_ASKED
    assert not known_hosts.exists() or known_hosts.read_text() == ""
    assert tunnels.status_json()["tunnels"] == []


def test_a_changed_host_key_fails_with_both_fingerprints_and_is_not_tried_again(
    with_policy: Callable[[str], int], known_hosts: Path, tunnels: Tunnels, site: Site, tmp_path: Path
) -> None:
    old = make_key(tmp_path / "old")
    known_hosts.write_text(known_hosts_line(site.host, site.port, old) + "\n")
    before = known_hosts.read_text()
    port = with_policy("accept-new")
    result = tunnels.up("work", expect=NOT_AS_ASKED)
    assert fingerprint(old) in result.words
    assert fingerprint(server_key(site).split(" ", 1)[1]) in result.words
    assert known_hosts.name in result.words
    assert known_hosts.read_text() == before
    tunnel = tunnels.tunnel("work")
    assert (tunnel["state"], tunnel["error"]["code"]) == ("failed", "host-key-rejected")
    assert not in_use(port)
    connections = site.connections
    for_seconds(2)
    assert site.connections == connections


def test_a_revoked_host_key_is_refused(
    with_policy: Callable[[str], int], known_hosts: Path, tunnels: Tunnels, site: Site
) -> None:
    known_hosts.write_text(f"{server_key(site)}\n@revoked * {server_key(site).split(' ', 1)[1]}\n")
    with_policy("accept-new")
    tunnels.up("work", expect=NOT_AS_ASKED)
    tunnel = tunnels.tunnel("work")
    assert (tunnel["state"], tunnel["error"]["code"]) == ("failed", "host-key-rejected")


def test_a_hashed_known_hosts_file_is_understood(
    with_policy: Callable[[str], int], known_hosts: Path, tunnels: Tunnels, site: Site
) -> None:
    known_hosts.write_text(f"{server_key(site)}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known_hosts)], check=True, capture_output=True)
    assert str(site.port) not in known_hosts.read_text()
    with_policy("strict")
    tunnels.up("work")


@pytest.mark.loopback_site
def test_a_host_key_that_changes_while_the_tunnel_is_up_stops_it_at_the_next_connection(
    start_sshd: Callable[..., Sshd], site: Site, tunnels: Tunnels
) -> None:
    sshd = start_sshd()
    old = sshd.fingerprint
    port = free_port()
    tunnels.write(work={**sshd.login(), "local": [f"{port}:{site.far.echo}"]})
    tunnels.up("work")
    sshd.stop()
    sshd.new_host_key()
    sshd.start()
    tunnel = tunnels.wait_state("work", "failed", within=30)
    assert tunnel["error"]["code"] == "host-key-rejected"
    said = tunnel["error"]["message"] + (tunnel["error"]["hint"] or "")
    assert old in said
    assert sshd.fingerprint in said
    assert not in_use(port)


def test_in_the_foreground_the_question_is_asked_on_the_terminal(
    with_policy: Callable[[str], int], known_hosts: Path, tunnels: Tunnels, site: Site
) -> None:
    port = with_policy("ask")
    with tunnels.terminal("up", "-f", "work") as terminal:
        terminal.expect(re.escape(fingerprint(server_key(site).split(" ", 1)[1])))
        terminal.expect("yes/no")
        terminal.send("perhaps")
        terminal.expect("please answer yes")
        terminal.expect("yes/no")
        terminal.send("yes")
        terminal.expect(" up")
        traffic.check_echo(dialing(port), 1000)
        terminal.interrupt()
        assert terminal.wait() == OK
    assert server_key(site) in known_hosts.read_text()


def test_in_the_foreground_without_a_terminal_a_question_ends_it_with_5(
    with_policy: Callable[[str], int], tunnels: Tunnels
) -> None:
    port = with_policy("ask")
    result = tunnels.run("up", "-f", "work", expect=NEEDS_PERSON)
    assert "tunnels up work" in result.words
    assert not in_use(port)


def two_tunnels(tunnels: Tunnels, site: Site, known_hosts: Path) -> None:
    login = {**site.login(), "known_hosts": str(known_hosts), "host_key_policy": "ask"}
    tunnels.write(
        one={**login, "local": [f"{free_port()}:{site.far.echo}"]},
        two={**login, "local": [f"{free_port()}:{site.far.echo}"]},
    )


def test_a_key_that_was_trusted_once_serves_every_tunnel_that_asked_for_it(
    known_hosts: Path, tunnels: Tunnels, site: Site
) -> None:
    two_tunnels(tunnels, site, known_hosts)
    tunnels.up("one", "two", expect=NEEDS_PERSON)
    with tunnels.terminal("up", "one") as terminal:
        terminal.expect("yes/no")
        terminal.send("yes")
        assert terminal.wait() == OK
    tunnels.wait_state("two", "up")


def test_a_known_hosts_file_that_was_mended_by_hand_is_looked_at_after_a_reload(
    known_hosts: Path, tunnels: Tunnels, site: Site
) -> None:
    two_tunnels(tunnels, site, known_hosts)
    tunnels.up("one", "two", expect=NEEDS_PERSON)
    known_hosts.write_text(server_key(site) + "\n")
    tunnels.run("reload", expect=OK)
    tunnels.wait_state("one", "up")
    tunnels.wait_state("two", "up")
