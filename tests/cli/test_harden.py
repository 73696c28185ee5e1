"""What ``tunnels harden`` prints; that sshd does what it says is in tests/e2e/test_harden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import profile_file

FILE = """
[profiles.home]
host = "me@vps.example.com"
ssh_config = "none"
identity_file = "/nowhere/id"
jump = "ops@bastion.example.com"
remote = ["2222:localhost:22"]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_every_server_on_the_way_gets_its_line_and_its_block() -> None:
    profile_file(FILE)
    said = tunnels("harden", "home")
    assert said.code == 0
    lines = said.out.splitlines()
    keys = [line for line in lines if line.startswith("restrict,")]
    assert 'permitopen="vps.example.com:22"' in keys[0]
    assert 'permitlisten="localhost:2222"' in keys[1]
    assert [line for line in lines if line.startswith("Match User")] == ["Match User ops", "Match User me"]
    assert "no public key was found for this login" in " ".join(said.err.split())


def test_as_json_it_is_one_document() -> None:
    profile_file(FILE)
    said = tunnels("harden", "home", "--json", "--new-key")
    assert said.code == 0
    document = json.loads(said.out)
    assert [server["hop"] for server in document["servers"]] == [True, False]
    assert document["new_key"]["public_key"] in document["servers"][1]["authorized_keys"]


def test_a_new_key_can_lie_anywhere(home: Path) -> None:
    profile_file(FILE)
    said = tunnels("harden", "home", "--new-key", "--key-file", str(home / "k"))
    assert said.code == 0
    assert f'identity_file = "{home / "k"}"' in said.err
    assert (home / "k.pub").read_text().endswith("tunnels home\n")


@pytest.mark.parametrize("words", [["--test", "--new-key"], ["--key-file", "k"]])
def test_what_makes_no_sense_is_a_wrong_command_line(words: list[str]) -> None:
    profile_file(FILE)
    said = tunnels("harden", "home", *words)
    assert said.code == 2
    assert "error" in said.err
