from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import FILE, daemon_thread, profile_file, tunnel
from tunnels.core.forward import ForwardKind, parse_forward
from tunnels.core.state import TunnelState
from tunnels.errors import ControlError

MORE = (
    FILE
    + """\
autostart = true
description = "Reverse [tunnel] to the box at home"

[profiles.all]
host = "vps"
local = [{ name = "redis", listen = "127.0.0.1:6379", connect = "cache.internal:6379" }]
dynamic = ["[::1]:1080"]
"""
)


def test_every_profile_is_listed_in_the_order_of_the_file_with_what_it_is() -> None:
    profile_file(MORE)
    assert tunnels("list").out.splitlines() == [
        "○ work-db   bastion · #work",
        "    -L 5432:db.internal:5432",
        "○ work-web  bastion · #work · #web",
        "    -L 8080:web.internal:80",
        "○ home      vps.example.com · Reverse [tunnel] to the box at home · starts with the daemon",
        "    -R 2222:localhost:22",
        "○ all       vps",
        "    -L 127.0.0.1:6379:cache.internal:6379  redis",
        "    -D [::1]:1080",
    ]


def test_what_is_listed_as_a_flag_is_what_ssh_takes() -> None:
    profile_file(MORE)
    flags = [line.split()[:2] for line in tunnels("list").out.splitlines() if line.startswith("    -")]
    kinds = {"-L": ForwardKind.LOCAL, "-R": ForwardKind.REMOTE, "-D": ForwardKind.DYNAMIC}
    for flag, text in flags:
        assert str(parse_forward(kinds[flag], text)) == text


def test_what_runs_has_its_mark() -> None:
    profile_file()
    with daemon_thread(tunnel("work-db"), tunnel("home", TunnelState.FAILED)):
        marks = [line[0] for line in tunnels("list").out.splitlines() if line[0] != " "]
    assert marks == ["●", "○", "✗"]


def test_as_json_it_is_one_document_with_states() -> None:
    profile_file(MORE)
    with daemon_thread(tunnel("home", TunnelState.BACKOFF)):
        document = tunnels("list", "--json").json
    assert document["version"] == 1
    assert [(it["name"], it["state"]) for it in document["profiles"]] == [
        ("work-db", "stopped"),
        ("work-web", "stopped"),
        ("home", "backoff"),
        ("all", "stopped"),
    ]
    assert document["profiles"][2] == {
        "name": "home",
        "host": "vps.example.com",
        "description": "Reverse [tunnel] to the box at home",
        "tags": [],
        "autostart": True,
        "forwards": [{"kind": "remote", "forward": "2222:localhost:22", "name": None}],
        "state": "backoff",
    }
    assert document["profiles"][3]["forwards"][0]["name"] == "redis"


def test_a_daemon_that_is_broken_does_not_keep_the_profiles_from_being_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    profile_file()
    monkeypatch.setattr("tunnels.cli.listing.Client.connect", broken_client)
    assert "work-db" in tunnels("list").out


def broken_client() -> object:
    raise ControlError("the daemon hung up")


def test_an_empty_file_is_no_failure_and_leads_on() -> None:
    profile_file("")
    result = tunnels("list")
    assert (result.code, result.out) == (0, "")
    assert "tunnels edit" in result.err
    assert tunnels("list", "--json").json == {"version": 1, "profiles": []}


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_missing_file_is_2_and_leads_to_init(arguments: list[str]) -> None:
    result = tunnels("list", *arguments)
    assert result.code == 2
    assert "tunnels init" in result.out + result.err


def test_who_has_only_opened_tunnels_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNNELS_CONFIG")
    result = tunnels("list")
    assert (result.code, result.out) == (0, "")
    assert "tunnels init" in result.err
    assert tunnels("list", "--json").json == {"version": 1, "profiles": []}
    assert tunnels("list", "--config", "/nowhere.toml").code == 2


def test_a_warning_goes_to_stderr() -> None:
    profile_file(FILE.replace("8080", "5432"))
    result = tunnels("list")
    assert result.code == 0
    assert "warning:" in result.err
    assert "warning" not in result.out


def test_another_file_is_listed_when_it_is_named(home: Path) -> None:
    other = home / "other.toml"
    other.write_text('[profiles.elsewhere]\nhost = "h"\ndynamic = ["1080"]\n')
    other.chmod(0o600)
    assert "elsewhere" in tunnels("list", "--config", str(other)).out


def test_on_a_narrow_terminal_nothing_is_cut_off() -> None:
    profile_file(FILE + f'description = "{"word " * 40}"\n')
    shown = io.StringIO(tunnels("list", is_terminal=True).out).read()
    assert shown.count("word") == 40
