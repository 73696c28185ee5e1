"""Tunnels from the flags of ssh, through the command line and a real sshd."""

from __future__ import annotations

import shlex
import stat

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import free_port, in_use
from tests.e2e.bed.product import NO_SUCH_PROFILE, NOT_AS_ASKED, NOT_RUNNING, OK, USAGE, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.traffic import dialing


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def flags(site: Site, port: int) -> list[str]:
    """What a person would type after ssh to have the echo of the far side here."""
    return [
        "-F",
        "none",
        "-N",
        f"-L{port}:{site.far.echo}",
        "-i",
        str(site.identity),
        "-oUserKnownHostsFile=" + str(site.known_hosts),
        f"{site.user}@{site.host}",
        "-p",
        str(site.port),
    ]


@pytest.fixture
def name(site: Site) -> str:
    """What such a tunnel is called."""
    return site.host


def test_the_flags_of_ssh_make_a_tunnel_that_is_there_until_down(
    tunnels: Tunnels, flags: list[str], port: int, name: str
) -> None:
    result = tunnels.run("open", *flags, expect=OK)
    assert str(port) in result.out
    traffic.check_echo(dialing(port), 1000)
    assert tunnels.tunnel(name)["state"] == "up"
    assert tunnels.run("open", *flags, expect=OK).out
    assert len(tunnels.status_json()["tunnels"]) == 1
    tunnels.run("restart", name, expect=OK)
    traffic.check_echo(dialing(port), 1000)
    tunnels.down(name)
    assert not in_use(port)
    assert tunnels.run("up", name).code in {USAGE, NO_SUCH_PROFILE}


@pytest.mark.loopback_site
def test_it_comes_back_after_a_drop(
    tunnels: Tunnels, flags: list[str], port: int, name: str, site: Site
) -> None:
    tunnels.run("open", *flags, expect=OK)
    site.stop()
    tunnels.wait_state(name, "backoff", "connecting")
    site.start()
    tunnels.wait_state(name, "up", within=20)
    traffic.check_echo(dialing(port), 1000)


def test_it_comes_back_with_the_daemon_and_its_flags_are_for_its_user_alone(
    tunnels: Tunnels, flags: list[str], port: int, name: str
) -> None:
    tunnels.run("open", *flags, expect=OK)
    assert stat.S_IMODE((tunnels.state / "state.json").stat().st_mode) == 0o600
    tunnels.kill_daemon()
    tunnels.run("status", name)
    tunnels.wait_state(name, "up", within=20)
    traffic.check_echo(dialing(port), 1000)
    tunnels.run("daemon", "stop", expect=OK)
    assert not in_use(port)
    tunnels.write()
    tunnels.run("daemon", "stop")
    other = free_port()
    again = [flag.replace(str(port), str(other)) if flag.startswith("-L") else flag for flag in flags]
    tunnels.run("open", "--name", "second", *again, expect=OK)
    tunnels.wait_state(name, "up", within=20)
    traffic.check_echo(dialing(port), 1000)
    traffic.check_echo(dialing(other), 1000)


def test_a_reload_leaves_it_alone_and_a_profile_of_its_name_takes_its_place(
    tunnels: Tunnels, flags: list[str], port: int, name: str, site: Site
) -> None:
    tunnels.write(other={**site.login(), "local": [f"{free_port()}:{site.far.echo}"]})
    tunnels.run("open", *flags, "--name", "mine", expect=OK)
    before = tunnels.tunnel("mine")["since"]
    tunnels.run("reload", expect=OK)
    assert tunnels.tunnel("mine")["since"] == before
    moved = free_port()
    tunnels.write(mine={**site.login(), "local": [f"{moved}:{site.far.echo}"]})
    tunnels.run("reload", expect=OK)
    tunnels.wait_state("mine", "up")
    traffic.check_echo(dialing(moved), 1000)
    assert not in_use(port)


def test_save_keeps_it_as_a_profile(tunnels: Tunnels, flags: list[str], port: int) -> None:
    tunnels.run("open", "--save", "work", *flags, expect=OK)
    traffic.check_echo(dialing(port), 1000)
    tunnels.down("work")
    assert tunnels.run("status", "work").code == NOT_RUNNING
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)


def test_a_port_that_is_taken_is_said_as_with_up(tunnels: Tunnels, flags: list[str], port: int) -> None:
    tunnels.run("open", *flags, expect=OK)
    again = tunnels.run("open", "--name", "second", *flags, expect=NOT_AS_ASKED)
    assert str(port) in again.err


def test_in_the_foreground_it_ends_with_its_command(tunnels: Tunnels, flags: list[str], port: int) -> None:
    import signal

    with tunnels.spawn("open", "--foreground", *flags) as running:
        running.expect(r"\bup\b")
        traffic.check_echo(dialing(port), 1000)
        running.signal(signal.SIGHUP)
        running.expect("nothing to reload")
        traffic.check_echo(dialing(port), 1000)
        running.signal(signal.SIGTERM)
        assert running.wait() == OK
    assert not in_use(port)


def test_a_line_from_the_notes_is_added_and_works(tunnels: Tunnels, flags: list[str], port: int) -> None:
    tunnels.write_profiles("# mine\n")
    line = "$ autossh -M 0 " + shlex.join(["-f", *flags]) + " &"
    tunnels.run("add", "work", line, expect=OK)
    assert tunnels.profiles.read_text().startswith("# mine\n")
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
    printed = tunnels.run("check", "work", "--ssh", expect=OK).out
    tunnels.run("add", "again", printed, expect=OK)
    assert tunnels.run("check", "again", "--ssh", expect=OK).out == printed


def test_what_ssh_config_forwards_is_imported_and_works(tunnels: Tunnels, port: int, site: Site) -> None:
    config = tunnels.home / ".ssh" / "config"
    config.write_text(
        f"Host far\n HostName {site.host}\n Port {site.port}\n User {site.user}\n IdentityFile {site.identity}\n"
        f" UserKnownHostsFile {site.known_hosts}\n LocalForward {port} {site.far.echo}\n"
    )
    result = tunnels.run("import", "--ssh-config", str(config), expect=OK)
    assert result.out == f"far: -L {port}:{site.far.echo}\n"
    tunnels.up("far")
    traffic.check_echo(dialing(port), 1000)


def test_an_unknown_server_is_asked_about_on_the_terminal(
    tunnels: Tunnels, flags: list[str], port: int, name: str
) -> None:
    mine = [flag for flag in flags if not flag.startswith("-oUser")]
    known_hosts = tunnels.home / ".ssh" / "known_hosts"
    with tunnels.terminal("open", *mine, f"-oUserKnownHostsFile={known_hosts}") as terminal:
        terminal.expect(r"yes")
        terminal.send("yes")
        assert terminal.wait() == OK
    traffic.check_echo(dialing(port), 1000)
    assert known_hosts.read_text()
    tunnels.down(name)
