"""A profile file that is wrong: every problem is named at once, and nothing is started."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.bed.ports import free_port, in_use
from tests.e2e.bed.product import NO_SUCH_PROFILE, OK, USAGE, Tunnels

EXAMPLE = Path(__file__).resolve().parents[2] / "profiles.example.toml"


@dataclass(frozen=True)
class Bad:
    """A file, and what must be said about it: for each problem a line (0: any) and words."""

    text: str
    problems: list[tuple[int, list[str]]]


BAD = {
    "misspelt keys": Bad(
        """\
[profiles.work-db]
host = "bastion"
keepalivee = "15s"
local = ["PORT:db.internal:5432"]

[profiles.home]
hosst = "vps.example.com"
remote = ["2222:localhost:22"]
""",
        [
            (3, ["work-db", "keepalivee", "keepalive"]),
            (7, ["home", "hosst", "host"]),
        ],
    ),
    "wrong types": Bad(
        """\
[profiles.work-db]
host = "bastion"
port = "22"
autostart = "yes"
local = { 5432 = "PORT" }
""",
        [
            (3, ["work-db", "port"]),
            (4, ["work-db", "autostart"]),
            (5, ["work-db", "local"]),
        ],
    ),
    "two forwards on one port": Bad(
        """\
[profiles.work-db]
host = "bastion"
local = [
  "PORT:db.internal:5432",
  "localhost:PORT:other.internal:5432",
]
""",
        [(5, ["work-db", "local", "PORT"])],
    ),
    "bad durations": Bad(
        """\
[defaults]
keepalive = "15 parsecs"

[profiles.work-db]
host = "bastion"
hold = "-1s"
connect_timeout = "soon"
local = ["PORT:db.internal:5432"]
""",
        [
            (2, ["defaults", "keepalive", "15 parsecs"]),
            (6, ["work-db", "hold"]),
            (7, ["work-db", "connect_timeout", "soon"]),
        ],
    ),
    "bad forwards": Bad(
        """\
[profiles.work-db]
host = "bastion"
local = [
  "PORT:db.internal:5432",
  "99999:db.internal:5432",
  "5433",
  "8000-8010:web:8000-8009",
  { listen = "127.0.0.1:6379", conect = "cache.internal:6379" },
]
dynamic = ["*:1080"]
""",
        [
            (5, ["local", "99999"]),
            (6, ["local", "5433"]),
            (7, ["local", "8000-8010"]),
            (8, ["local", "conect", "connect"]),
            (10, ["dynamic", "expose"]),
        ],
    ),
    "not TOML": Bad(
        """\
[profiles.work-db]
host = "bastion
local = ["PORT:db.internal:5432"]
""",
        [(2, ["profiles.toml"])],
    ),
    "no host": Bad(
        """\
[profiles.work-db]
local = ["PORT:db.internal:5432"]

[profile.home]
host = "vps.example.com"
""",
        [
            (0, ["work-db", "host"]),
            (4, ["profile", "profiles"]),
        ],
    ),
}


@pytest.mark.parametrize("command", ["up", "check"])
@pytest.mark.parametrize("kind", BAD)
def test_every_problem_of_a_bad_file_is_named_and_nothing_is_started(
    kind: str, command: str, tunnels: Tunnels
) -> None:
    port = free_port()
    bad = BAD[kind]
    tunnels.write_profiles(bad.text.replace("PORT", str(port)))
    result = tunnels.run(*(["up", "--all"] if command == "up" else ["check"]), expect=USAGE)
    assert tunnels.profiles.name in result.err
    for line, words in bad.problems:
        if line:
            assert re.search(rf"(?:line |:){line}\b", result.err), f"line {line} is not named:\n{result}"
        for word in words:
            assert word.replace("PORT", str(port)) in result.err, f"{word} is not named:\n{result}"
    assert tunnels.processes() == []
    assert not in_use(port)


def test_a_file_that_others_may_write_is_refused(tunnels: Tunnels) -> None:
    tunnels.write_profiles('[profiles.work-db]\nhost = "bastion"\nlocal = ["5432:db:5432"]\n')
    tunnels.profiles.chmod(0o666)
    result = tunnels.run("up", "work-db", expect=USAGE)
    assert str(tunnels.profiles) in result.words.replace(" ", "") or tunnels.profiles.name in result.err
    assert "chmod" in result.err
    assert tunnels.processes() == []


def test_a_file_that_is_not_there_is_said_with_the_command_that_makes_one(tunnels: Tunnels) -> None:
    result = tunnels.run("up", "work-db")
    assert result.code in {USAGE, NO_SUCH_PROFILE}
    assert "tunnels init" in result.words
    assert tunnels.processes() == []


def test_init_makes_a_file_that_is_valid_and_private_and_never_overwrites_one(tunnels: Tunnels) -> None:
    tunnels.run("init", expect=OK)
    assert tunnels.profiles.stat().st_mode & 0o077 == 0
    tunnels.run("check", expect=OK)
    tunnels.profiles.write_text(written := "# mine\n" + tunnels.profiles.read_text())
    assert tunnels.run("init").code != OK
    assert tunnels.profiles.read_text() == written


def test_the_example_in_the_repository_is_valid(tunnels: Tunnels) -> None:
    tunnels.write_profiles(EXAMPLE.read_text())
    tunnels.run("check", expect=OK)
    listed = tunnels.run("list", expect=OK).out
    assert "work-db" in listed


def test_another_file_is_taken_from_the_command_line(tunnels: Tunnels) -> None:
    other = tunnels.home / "other.toml"
    other.write_text('[profiles.elsewhere]\nhost = "bastion"\nlocal = ["5432:db:5432"]\n')
    other.chmod(0o600)
    assert "elsewhere" in tunnels.run("--config", str(other), "list", expect=OK).out


def test_list_shows_the_profiles_without_starting_anything(tunnels: Tunnels) -> None:
    tunnels.write(
        work_db={"host": "bastion", "description": "Postgres", "local": ["5432:db:5432"]},
        cafe={"host": "vps", "dynamic": ["1080"]},
    )
    listed = tunnels.run("list", expect=OK).out
    assert "work-db" in listed
    assert "cafe" in listed
    assert tunnels.processes() == []


def test_check_shows_how_a_profile_resolves(tunnels: Tunnels) -> None:
    config = tunnels.home / "ssh_config"
    config.write_text("Host bastion\n  HostName 192.0.2.7\n  Port 2200\n  User alice\n")
    tunnels.write(work={"host": "bastion", "ssh_config": str(config), "local": ["15432:db:5432"]})
    shown = tunnels.run("check", "work", expect=OK).text
    for word in ("192.0.2.7", "2200", "alice", "15432", "db:5432"):
        assert word in shown


def test_check_says_that_a_listener_can_be_reached_from_other_machines(tunnels: Tunnels) -> None:
    tunnels.write(work={"host": "bastion", "ssh_config": "none", "local": ["*:15432:db:5432"]})
    assert "open to everyone on your networks" in tunnels.run("check", expect=OK).words


def test_edit_takes_a_good_change_and_refuses_a_bad_one(tunnels: Tunnels) -> None:
    tunnels.write(work={"host": "bastion", "local": ["15432:db:5432"]})
    before = tunnels.profiles.read_text()

    def editor(sed: str) -> dict[str, str]:
        script = tunnels.home / "editor"
        script.write_text(
            f'#!/bin/sh\nsed "{sed}" "$1" > "$1.edited" && cat "$1.edited" > "$1" && rm "$1.edited"\n'
        )
        script.chmod(0o700)
        return {"EDITOR": str(script), "VISUAL": str(script)}

    refused = tunnels.run("edit", env=editor("s/host/hosst/"))
    assert refused.code == USAGE
    assert "hosst" in refused.err
    assert tunnels.profiles.read_text() == before
    tunnels.run("edit", env=editor("s/bastion/gateway/"), expect=OK)
    assert 'host = "gateway"' in tunnels.profiles.read_text()
