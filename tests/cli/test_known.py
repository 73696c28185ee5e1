"""A command may name a profile of the file, and a tunnel that was opened without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import profile_file
from tunnels import desired_state, paths
from tunnels.cli import known
from tunnels.desired_state import DesiredState
from tunnels.errors import ProfileError

TABLE = {"host": "vps", "dynamic": ["1080"]}


def opened(config: Path) -> None:
    state = DesiredState(("vps",), running=False, config=str(config), opened={"vps": TABLE})
    desired_state.save(paths.state_file(), state)


def test_what_was_opened_with_this_file_is_known() -> None:
    path = profile_file()
    assert "vps" not in known.load(path).profiles
    opened(path)
    assert list(known.load(path).profiles)[-1] == "vps"


def test_what_was_opened_with_another_file_is_not(home: Path) -> None:
    opened(home / "other.toml")
    assert "vps" not in known.load(profile_file()).profiles


def test_without_any_file_the_missing_one_is_said() -> None:
    with pytest.raises(ProfileError):
        known.load(paths.config_file())
    opened(paths.config_file())
    assert list(known.load(paths.config_file()).profiles) == ["vps"]


@pytest.mark.parametrize("is_there", [True, False])
def test_it_can_be_checked_and_hardened_also_without_a_file(*, is_there: bool) -> None:
    path = profile_file()
    opened(path)
    if not is_there:
        path.unlink()
    assert tunnels("check", "vps", "--ssh").out.startswith("ssh ")
    checked = tunnels("check", "vps")
    assert (checked.code, checked.out.split()[0]) == (0, "vps")
    assert ("3 profiles, no problem" in checked.words) == is_there
    assert "-D" not in tunnels("check", "--ssh").out
    hardened = tunnels("harden", "vps", "--new-key")
    assert hardened.code == 0
    assert "tunnels open -i" in hardened.words
    assert "[profiles.vps]" not in hardened.words


@pytest.mark.parametrize("command", ["up", "down", "logs", "doctor"])
def test_beside_what_was_opened_a_missing_file_is_said_to_be_missing(command: str) -> None:
    opened(paths.config_file())
    result = tunnels(command, "work-db")
    assert result.code == 4
    assert f'no profile "work-db": {paths.config_file()}: there is no such file' in result.words


@pytest.mark.parametrize("command", [["logs"], ["why"]])
def test_its_history_can_be_asked_for(command: list[str]) -> None:
    opened(profile_file())
    assert tunnels(*command, "vps").code == 0
    assert tunnels(*command, "vsp").code == 4
