"""``tunnels add``: the line of ssh in somebody's notes becomes a profile, once, and says so."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import FILE, profile_file
from tunnels import paths, profiles

LINE = "ssh -N -L 5432:db:5432 -R '*:2222:localhost:22' me@bastion"


def test_a_line_in_quotes_is_written_and_said_with_what_others_can_reach() -> None:
    path = profile_file()
    result = tunnels("add", "new", LINE)
    assert result.code == 0
    assert result.out.splitlines() == [
        f"new: written to {path}",
        "    -L 5432:db:5432",
        "    -R *:2222:localhost:22  other machines can reach this port on the server's side",
    ]
    assert "tunnels up new" in result.err
    assert path.read_text().startswith(FILE)
    profile = profiles.load(path).profiles["new"]
    assert (profile.user, profile.host) == ("me", "bastion")


@pytest.mark.parametrize(
    "words",
    [
        ["--", "ssh", "-N", "-L", "5432:db:5432", "h"],
        ["ssh", "-N", "-L5432:db:5432", "h"],
        ["autossh", "-M", "0", "-f", "-N", "h", "-L", "5432:db:5432"],
    ],
)
def test_a_line_without_quotes_is_as_good(words: list[str]) -> None:
    path = profile_file()
    assert tunnels("add", "new", *words).code == 0
    assert [str(forward) for forward in profiles.load(path).profiles["new"].forwards] == ["5432:db:5432"]


def test_a_line_can_be_piped_in() -> None:
    path = profile_file()
    assert tunnels("add", "new", "-", typed=LINE.replace(" -R", " \\\n -R")).code == 0
    assert "new" in profiles.load(path).profiles


def test_without_a_file_a_private_one_is_made() -> None:
    path = paths.config_file()
    assert tunnels("add", "new", LINE).code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_dry_run_prints_toml_and_writes_nothing() -> None:
    path = profile_file()
    result = tunnels("add", "new", "--dry-run", LINE)
    assert result.code == 0
    assert path.read_text() == FILE
    printed = profiles.parse(result.out, "printed").profiles
    assert printed["new"].host == "bastion"


def test_a_host_between_colons_is_no_picture() -> None:
    profile_file()
    line = "ssh -L 5432:a:5432 -L 8080:ghost:80 h"
    printed = profiles.parse(tunnels("add", "new", "--dry-run", line).out, "printed").profiles
    assert [str(forward) for forward in printed["new"].forwards] == ["5432:a:5432", "8080:ghost:80"]
    assert "    -L 5432:a:5432\n    -L 8080:ghost:80\n" in tunnels("add", "new", line).out


def test_a_profile_that_is_there_is_not_overwritten_unless_it_is_said() -> None:
    path = profile_file()
    result = tunnels("add", "home", LINE)
    assert (result.code, result.out) == (2, "")
    assert "--replace" in result.err
    assert path.read_text() == FILE
    assert tunnels("add", "--replace", "home", LINE).code == 0
    assert profiles.load(path).profiles["home"].host == "bastion"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ssh -G -L 1:a:1 h", "-G"),
        ("ssh h", "nothing to forward"),
        ("ssh root@h", "-L 5432:db.internal:5432 forwards"),
        ("ssh -o NoSuchOpt=1 -L 1:a:1 h", "man ssh_config"),
        ("ssh -o IdentitiesOnly=yes -L 1:a:1 h", "write IdentitiesOnly below `Host h`"),
        ("ssh -D '*:1080' h", "anybody"),
        ("mosh h", "mosh"),
        ("", "no command"),
    ],
)
def test_what_cannot_be_carried_over_is_refused_and_nothing_is_written(line: str, said: str) -> None:
    path = profile_file()
    result = tunnels("add", "new", line)
    assert (result.code, result.out) == (2, "")
    assert said in result.words
    assert path.read_text() == FILE


@pytest.mark.parametrize("arguments", [["a b", LINE], ["new"]])
def test_a_bad_name_or_no_line_is_refused(arguments: list[str]) -> None:
    assert tunnels("add", *arguments).code == 2


def test_a_key_without_a_folder_is_looked_for_where_the_line_was_typed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = profile_file()
    monkeypatch.chdir(home)
    tunnels("add", "new", "ssh -i key -L 1:a:1 h")
    assert profiles.load(path).profiles["new"].identity_file == (f"{home}/key",)


def test_what_check_prints_can_be_added_again() -> None:
    path = profile_file()
    tunnels("add", "new", LINE)
    printed = tunnels("check", "new", "--ssh").out
    assert tunnels("add", "again", printed).code == 0
    assert tunnels("check", "again", "--ssh").out == printed
    assert len(profiles.load(path).profiles) == 5
