"""``tunnels import``: forwards move from ssh_config into profiles, and everything else stays there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import FILE, profile_file
from tests.ssh.test_resolve import real_ssh
from tunnels import paths, profiles

pytestmark = real_ssh

CONFIG = """\
Host db
  HostName db.example.com
  User ann
  LocalForward 5432 db.internal:5432
  ExitOnForwardFailure yes

Host way-home
  RemoteForward 2222 localhost:22

Host plain
  Port 2222
"""


@pytest.fixture
def config(home: Path) -> Path:
    path = home / "ssh_config"
    path.write_text(CONFIG)
    return path


def test_every_host_with_forwards_becomes_a_profile_and_is_said_on_a_line(config: Path) -> None:
    path = profile_file()
    result = tunnels("import", "--ssh-config", str(config))
    assert result.code == 0
    assert result.out == "db: -L 5432:db.internal:5432\nway-home: -R 2222:localhost:22\n"
    assert path.read_text().startswith(FILE)
    found = profiles.load(path).profiles
    assert list(found)[-2:] == ["db", "way-home"]
    assert (found["db"].host, found["db"].user, found["db"].exit_on_forward_failure) == ("db", None, True)
    assert found["db"].ssh_config == str(config)


def test_check_does_not_complain_of_forwards_that_have_been_taken(config: Path) -> None:
    config.write_text(CONFIG + "Host more\n GatewayPorts yes\n LocalForward 1 a:1\n RemoteForward 1080\n")
    tunnels("import", "--ssh-config", str(config))
    result = tunnels("check")
    assert result.code == 0
    assert "are not taken" not in result.words
    path = paths.config_file()
    path.write_text(path.read_text().replace("5432:db.internal:5432", "5433:db.internal:5432"))
    assert "`tunnels import`" in tunnels("check").words


def test_named_hosts_alone_are_taken(config: Path) -> None:
    result = tunnels("import", "way-home", "--ssh-config", str(config))
    assert (result.code, result.out) == (0, "way-home: -R 2222:localhost:22\n")
    assert list(profiles.load(paths.config_file()).profiles) == ["way-home"]


def test_a_dry_run_prints_the_profiles_and_writes_nothing(config: Path) -> None:
    result = tunnels("import", "--dry-run", "--ssh-config", str(config))
    assert result.code == 0
    assert list(profiles.parse(result.out, "printed").profiles) == ["db", "way-home"]
    assert not paths.config_file().exists()


def test_a_second_time_nothing_is_touched(config: Path) -> None:
    tunnels("import", "--ssh-config", str(config))
    before = paths.config_file().read_bytes()
    result = tunnels("import", "--ssh-config", str(config))
    assert (result.code, result.out) == (0, "")
    assert "db: there is such a profile already" in result.err
    assert paths.config_file().read_bytes() == before


def test_a_named_host_that_is_a_profile_already_is_refused_unless_it_is_said(config: Path) -> None:
    profile_file(FILE.replace("work-db", "db"))
    result = tunnels("import", "db", "--ssh-config", str(config))
    assert (result.code, result.out) == (2, "")
    assert "--replace" in result.err
    assert tunnels("import", "db", "--replace", "--ssh-config", str(config)).code == 0
    assert profiles.load(paths.config_file()).profiles["db"].host == "db"


def test_a_named_host_without_forwards_is_said(config: Path) -> None:
    result = tunnels("import", "plain", "--ssh-config", str(config))
    assert result.code == 2
    assert "plain has no forward" in result.err
    assert "tunnels add plain" in result.err


def test_one_that_cannot_be_a_profile_does_not_keep_the_others_from_becoming_one(config: Path) -> None:
    config.write_text(CONFIG + "Host open\n GatewayPorts yes\n DynamicForward 1080\n")
    result = tunnels("import", "--ssh-config", str(config))
    assert result.code == 2
    assert "open: DynamicForward *:1080: anybody" in result.words
    assert list(profiles.load(paths.config_file()).profiles) == ["db", "way-home"]


def test_one_odd_forward_is_said_with_its_host_and_the_good_ones_are_taken(config: Path) -> None:
    config.write_text(
        'Host bastion\n LocalForward "/tmp/with space.sock" /run/x.sock\n LocalForward /a /b\n'
        ' LocalForward 80 a:80\n DynamicForward *:1080\n LocalForward "/s 1" "/s 2 /s"\n'
    )
    result = tunnels("import", "--ssh-config", str(config))
    assert result.code == 2
    assert "bastion: LocalForward /s 1 /s 2 /s: " in result.words
    assert "bastion: DynamicForward *:1080: anybody" in result.words
    found = profiles.load(paths.config_file()).profiles["bastion"].forwards
    assert list(map(str, found)) == ["/tmp/with space.sock:/run/x.sock", "/a:/b", "80:a:80"]


def test_patterns_are_left_out_with_one_note(config: Path) -> None:
    config.write_text(CONFIG + "Host *.lan gate-?\n DynamicForward 1080\n")
    result = tunnels("import", "--dry-run", "--ssh-config", str(config))
    assert result.code == 0
    assert "*.lan, gate-?" in result.words
    assert "patterns" not in tunnels("import", "db", "--dry-run", "--ssh-config", str(config)).words


def test_what_ssh_refuses_is_passed_on(config: Path) -> None:
    config.write_text(CONFIG + "Nonsense yes\n")
    result = tunnels("import", "--ssh-config", str(config))
    assert result.code != 0
    assert "nonsense" in result.err.lower()
    assert not paths.config_file().exists()


def test_without_any_forward_that_is_said(config: Path) -> None:
    config.write_text("Host a\n Port 2\n")
    result = tunnels("import", "--ssh-config", str(config))
    assert (result.code, result.out) == (0, "")
    assert "LocalForward" in result.err
