"""A tunnel that was opened without a profile counts as if it were in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunnels import opened, profiles
from tunnels.errors import NoSuchProfile, ProfileError, UsageError
from tunnels.profiles import ProfileFile

TABLE = {"host": "me@vps", "dynamic": ["1080"]}
FILE = '[defaults]\nkeepalive = "7s"\n\n[profiles.a]\nhost = "h"\nlocal = ["1:a:1"]\n'


def file(text: str = FILE) -> ProfileFile:
    return profiles.parse(text, "profiles.toml")


def test_it_inherits_the_defaults_of_the_file_as_a_profile_does() -> None:
    profile = opened.profile_of("vps", TABLE, file())
    assert (profile.name, profile.host, profile.user, profile.keepalive) == ("vps", "vps", "me", 7)


def test_every_problem_of_a_table_is_said() -> None:
    with pytest.raises(UsageError) as refused:
        opened.profile_of("vps", {"host": "a b", "local": ["x"], "hosst": 1}, file())
    for word in ("host:", "local[0]:", "hosst:"):
        assert word in refused.value.message


@pytest.mark.parametrize(
    "table", [{}, {"host": "h"}, {"host": None}, {"host": "h", "local": None}, {"host": {}}]
)
def test_whatever_a_client_sends_is_a_profile_or_refused(table: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        opened.profile_of("vps", table, file())


def test_without_a_forward_the_hint_speaks_of_flags_as_the_command_line_did() -> None:
    with pytest.raises(UsageError, match="nothing to forward") as refused:
        opened.profile_of("vps", {"host": "root@gate"}, file())
    assert (refused.value.hint or "").startswith("-L 5432:db.internal:5432 ")


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError):
        opened.profile_of("a b", TABLE, file())


def test_it_can_be_selected_like_a_profile_of_the_file() -> None:
    both = opened.with_opened(file(), {"vps": TABLE})
    assert list(both.profiles) == ["a", "vps"]
    assert [profile.name for profile in profiles.select(both, ["v*"])] == ["vps"]


def test_a_profile_of_the_file_wins_over_one_of_its_name() -> None:
    assert opened.with_opened(file(), {"a": TABLE}).profiles["a"].host == "h"


def test_one_that_the_defaults_have_made_impossible_is_left_out_and_the_others_are_there() -> None:
    text = '[defaults]\non_demand = true\n\n[profiles.a]\nhost = "h"\nlocal = ["1:a:1"]\n'
    remote = {"host": "h", "remote": ["2222:localhost:22"]}
    assert list(opened.with_opened(file(text), {"x": remote, "y": TABLE}).profiles) == ["a", "y"]


def test_a_file_is_not_needed_for_what_was_opened(home: Path) -> None:
    path = home / "no.toml"
    assert list(opened.load(path, {"vps": TABLE}).profiles) == ["vps"]
    with pytest.raises(ProfileError):
        opened.load(path, {})
    with pytest.raises(NoSuchProfile):
        profiles.select(opened.load(path, {"vps": TABLE}), ["a"])


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("bastion", "bastion"),
        ("me@vps.example.com:2222", "vps.example.com"),
        ("ssh://me@vps", "vps"),
        ("::1", "1"),
        ("2001:db8::1", "2001-db8--1"),
        ("_x", "x"),
        ("büro", "b-ro"),
        ("h" * 100, "h" * 56),
    ],
)
def test_a_tunnel_is_called_as_its_host(host: str, name: str) -> None:
    assert opened.choose_name(host, ()) == name


def test_a_name_is_given_once() -> None:
    assert opened.choose_name("h", {"h"}) == "h-2"
    assert opened.choose_name("h", {"h", "h-2"}) == "h-3"


def test_all_of_them_together_are_bounded() -> None:
    opened.check_size({"vps": TABLE})
    with pytest.raises(UsageError, match="too many"):
        opened.check_size({"vps": {"host": "h" * opened.MOST_BYTES}})
