"""Profiles: what a destination and a name may be, and what makes two profiles the same tunnel."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.forward import ForwardKind, parse_forward
from tunnels.core.profile import (
    HostSpec,
    Profile,
    Retry,
    check_name,
    check_user,
    parse_host_spec,
    parse_jump,
)
from tunnels.errors import UsageError


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("bastion", HostSpec("bastion")),
        ("prod/db", HostSpec("prod/db")),  # a Host of ssh_config may be called so
        ("me@vps.example.com", HostSpec("vps.example.com", "me")),
        ("vps.example.com:2222", HostSpec("vps.example.com", None, 2222)),
        ("me@vps.example.com:2222", HostSpec("vps.example.com", "me", 2222)),
        ("me@corp.example@vps", HostSpec("vps", "me@corp.example")),
        ("::1", HostSpec("::1")),
        ("me@2001:db8::1", HostSpec("2001:db8::1", "me")),
        ("[::1]", HostSpec("::1")),
        ("me@[fe80::1%eth0]:22", HostSpec("fe80::1%eth0", "me", 22)),
        ("ssh://vps", HostSpec("vps")),
        ("ssh://me@vps:2222", HostSpec("vps", "me", 2222)),
        ("SSH://me@vps/", HostSpec("vps", "me")),
        ("ssh://me%40corp@[::1]:22", HostSpec("::1", "me@corp", 22)),
        (" bastion\n", HostSpec("bastion")),
    ],
)
def test_a_destination_is_what_ssh_takes(text: str, spec: HostSpec) -> None:
    assert parse_host_spec(text) == spec
    assert parse_host_spec(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the host is missing"),
        ("me@", "the host is missing"),
        ("@vps", "the user before @ is missing"),
        ("-oProxyCommand=sh", "does not begin with a dash"),
        ("-x@vps", "does not begin with a dash"),
        ("me@-vps", "does not begin with a dash"),
        ("ssh://-x", "does not begin with a dash"),
        ("a b", "a host has no"),
        ("a b@vps", "a user has no"),
        ("v\tps", "a host has no"),
        ("v\x00ps", "a host has no"),
        ("$(id)", "a host has no"),
        ("`id`@vps", "a user has no"),
        ("me:secret@vps", "a password does not belong"),
        ("ssh://me:secret@vps", "a password does not belong"),
        ("vps:", "the port is missing"),
        ("vps:ssh", '"ssh" is not a port'),
        ("vps:0", "port 0"),
        ("vps:22-23", "one port"),
        ("a:b:c", "neither a name nor an IPv6 address"),
        ("[::1", "bracket"),
        ("[::1]22", "bracket"),
        ("ssh://vps/path", "a path"),
        ("x" * 256, "at most 255"),
    ],
)
def test_a_destination_that_ssh_would_refuse_or_misunderstand_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_host_spec(text)

    assert said in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.message.isprintable()


@given(st.text(alphabet="ab1:@[]/.-%ssh ", max_size=20) | st.text(max_size=30))
def test_any_text_is_a_destination_or_a_usage_error(text: str) -> None:
    for written in (text, f"ssh://{text}"):
        try:
            spec = parse_host_spec(written)
        except UsageError:
            continue

        assert not spec.host.startswith("-")
        assert not (spec.user or "").startswith("-")
        assert not any(char.isspace() for char in spec.host + (spec.user or ""))


def test_jumps_are_in_the_order_they_are_passed() -> None:
    assert parse_jump("gate, me@bastion:2222") == ("gate", "me@bastion:2222")


@pytest.mark.parametrize("text", ["none", "None", " none "])
def test_no_jump_is_said_as_in_ssh_config(text: str) -> None:
    assert parse_jump(text) == ()


@pytest.mark.parametrize("text", ["", "gate,", "gate,none", "gate,-oProxyCommand=x", "a b"])
def test_a_jump_that_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_jump(text)


@pytest.mark.parametrize("name", ["work-db", "a", "7", "home.v2", "x" * 64, "A_b-c.d"])
def test_a_name_is_letters_digits_and_three_marks(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-x", ".x", "work*", "a?", "a b", "ü", "a/b", "x" * 65, "a\n", "[a]"])
def test_a_name_that_a_shell_or_a_glob_would_touch_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a name"):
        check_name(name)


def test_a_password_is_not_taken_with_the_user() -> None:
    with pytest.raises(UsageError) as caught:
        check_user("me:secret")

    assert "secret" not in str(caught.value)
    assert "password_command" in (caught.value.hint or "")


PROFILE = Profile(
    "work-db", "bastion", forwards=parse_forward(ForwardKind.LOCAL, "5432:db.internal:5432").spread()
)


def test_a_tunnel_goes_on_when_only_its_description_tags_or_autostart_change() -> None:
    assert PROFILE.same_tunnel(replace(PROFILE, description="new", tags=("work",), autostart=True))


def test_a_tunnel_goes_on_when_only_what_is_to_be_done_about_it_changes() -> None:
    changed = replace(PROFILE, on_up=("a",), on_down=("b",), on_failed=("c",), notify=False)
    assert PROFILE.same_tunnel(changed)


def test_a_tunnel_does_not_go_on_when_its_meaning_changes() -> None:
    other = parse_forward(ForwardKind.LOCAL, "5433:db.internal:5432").spread()

    assert not PROFILE.same_tunnel(replace(PROFILE, host="other"))
    assert not PROFILE.same_tunnel(replace(PROFILE, forwards=other))
    assert not PROFILE.same_tunnel(replace(PROFILE, retry=Retry(max=30.0)))
