from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tunnels.core.profile import Profile
from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination, LocalMachine, with_known_hosts, with_profile, with_timing

MACHINE = LocalMachine("/home/me", "/home/me", "me", 1000, "laptop")
FOUND = Destination(
    "work",
    "10.0.0.5",
    2222,
    "admin",
    identity_files=("/home/me/.ssh/id_rsa",),
    user_known_hosts_files=("/home/me/.ssh/known_hosts",),
    proxy_jump=("bastion",),
)


def found(**keys: Any) -> Destination:
    return with_profile(FOUND, Profile("work", "work", **keys), MACHINE)


def test_a_profile_that_says_nothing_changes_nothing() -> None:
    assert found() == FOUND


def test_the_identity_of_the_profile_stands_in_the_place_of_all_others() -> None:
    got = found(identity_file=("~/.ssh/work", "/k/100%"), certificate_file=("~/c",))

    assert got.identity_files == ("/home/me/.ssh/work", "/k/100%")
    assert got.identity_files_configured
    assert got.certificate_files == ("/home/me/c",)


def test_the_profile_says_how_long_to_wait() -> None:
    got = found(keepalive=0.0, keepalive_count=5, connect_timeout=7.5)

    assert (got.server_alive_interval, got.server_alive_count_max, got.connect_timeout) == (0.0, 5, 7.5)
    assert with_timing(FOUND, Profile("w", "w")) == FOUND


def test_known_hosts_none_is_no_file() -> None:
    profile = Profile("work", "work", known_hosts=("none",))

    assert with_known_hosts(FOUND, profile, MACHINE).user_known_hosts_files == ()


def test_ciphers_and_compression_of_the_profile_win() -> None:
    got = found(ciphers=("aes256-gcm@openssh.com",), compression=True)

    assert (got.ciphers, got.compression) == (("aes256-gcm@openssh.com",), True)


@pytest.mark.parametrize(
    ("keys", "jump", "command"),
    [
        ({"jump": ("a", "b")}, ("a", "b"), None),
        ({"jump": ()}, (), None),
        ({"proxy_command": "nc %h %p"}, (), "nc 10.0.0.5 2222"),
        ({"proxy_command": "none"}, (), None),
        ({"proxy_command": "none", "jump": ("a",)}, ("a",), None),
        ({"proxy_command": "nc %h %p", "jump": ()}, (), "nc 10.0.0.5 2222"),
    ],
)
def test_the_profiles_own_way_keeps_the_one_of_ssh_config_out(
    keys: dict[str, Any], jump: tuple[str, ...], command: str | None
) -> None:
    got = found(**keys)

    assert (got.proxy_jump, got.proxy_command) == (jump, command)


def test_a_token_that_does_not_exist_is_said_with_what_to_write_instead() -> None:
    with pytest.raises(BadSetting, match="%q is not a token") as caught:
        found(proxy_command="nc %q")
    assert caught.value.hint is not None
    assert "%%" in caught.value.hint


@pytest.mark.parametrize(
    ("destination", "text"),
    [
        (Destination("a", "h", 22, "u"), "u@h"),
        (Destination("a", "h", 2222, "u"), "u@h:2222"),
        (Destination("a", "::1", 2222, "u"), "u@[::1]:2222"),
    ],
)
def test_a_destination_prints_as_it_is_typed(destination: Destination, text: str) -> None:
    assert str(destination) == text


@pytest.mark.parametrize(("before", "after"), [("yes", "no"), ("no", "no"), ("ask", "ask")])
def test_files_of_ones_own_turn_the_learning_of_host_keys_off_as_in_ssh(before: Any, after: str) -> None:
    work = replace(FOUND, update_host_keys=before)
    own = Profile("test", "work", known_hosts=("~/kh",))
    assert with_profile(work, own, MACHINE).update_host_keys == after
    assert with_profile(work, Profile("test", "work"), MACHINE).update_host_keys == before


def test_a_jump_host_is_called_what_the_user_calls_it_or_by_its_address() -> None:
    assert Destination("bastion", "10.0.0.1", 2222, "me").jump_name == "jump host bastion"
    assert Destination("10.0.0.1", "10.0.0.1", 2222, "me").jump_name == "jump host me@10.0.0.1:2222"
