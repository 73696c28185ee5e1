"""The keys of a profile, and how the defaults and a profile's own values become one."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from tunnels.core.forward import ForwardKind
from tunnels.core.profile import HostKeyPolicy, Profile, Retry
from tunnels.core.profile_fields import PROFILE_FIELDS, make_profile, read_profile
from tunnels.core.reading import Notes, dotted

PATH = ("profiles", "x")


def build(own: dict[str, Any], defaults: dict[str, Any], notes: Notes) -> Profile | None:
    inherited = read_profile(defaults, ("defaults",), notes)
    placed = make_profile("x", read_profile(own, PATH, notes), inherited, PATH, notes)
    return placed.profile if placed else None


def profile(own: dict[str, Any], **defaults: Any) -> Profile:
    notes = Notes()
    made = build({"host": "vps", "local": "80:web:80"} | own, defaults, notes)
    assert not list(notes)
    assert made is not None
    return made


def problems(own: dict[str, Any], **defaults: Any) -> list[tuple[str, str]]:
    notes = Notes()
    build({"host": "vps", "local": "80:web:80"} | own, defaults, notes)
    return [(dotted(note.path), f"{note.message} ({note.hint})") for note in notes]


def test_every_field_of_a_profile_can_be_written() -> None:
    kinds = {kind.value for kind in ForwardKind}

    assert {field.name for field in fields(Profile)} - {"name", "forwards"} == PROFILE_FIELDS.keys() - kinds


def test_what_is_not_written_is_left_to_ssh_config_or_the_default() -> None:
    assert profile({}) == Profile("x", "vps", forwards=profile({}).forwards)


@pytest.mark.parametrize(
    ("key", "written", "meant"),
    [
        ("user", "me", "me"),
        ("port", 22, 22),
        ("on_up", "notify 'it is' up", ("notify", "it is", "up")),
        ("on_down", ["sh", "-c", "echo a\necho b", ""], ("sh", "-c", "echo a\necho b", "")),
        ("on_failed", [], ()),
        ("notify", False, False),
        ("identity_file", "~/.ssh/id", ("~/.ssh/id",)),
        ("certificate_file", ["/a", "~/b"], ("/a", "~/b")),
        ("known_hosts", ["/a, b"], ("/a, b",)),
        ("jump", "gate,me@bastion:2222", ("gate", "me@bastion:2222")),
        ("jump", ["gate", "ssh://bastion"], ("gate", "ssh://bastion")),
        ("jump", "none", ()),
        ("jump", ["none"], ()),
        ("jump", [], ()),
        ("proxy_command", "nc %h %p", "nc %h %p"),
        ("host_key_policy", "accept-new", HostKeyPolicy.ACCEPT_NEW),
        ("password_command", "a\nb", "a\nb"),
        ("ssh_config", "none", "none"),
        ("keepalive", "15s", 15.0),
        ("keepalive", "0s", 0.0),
        ("keepalive_count", 5, 5),
        ("connect_timeout", "10s", 10.0),
        ("hold", "0", 0.0),
        ("hold", "1m", 60.0),
        ("idle_timeout", "10m", 600.0),
        ("idle_timeout", "0s", None),
        ("on_demand", True, True),
        ("autostart", True, True),
        ("exit_on_forward_failure", True, True),
        ("remote_unlink", True, True),
        ("tags", ["a", "b"], ("a", "b")),
        ("tags", "a", ("a",)),
        ("description", "", ""),
        ("description", "Größe 🚇", "Größe 🚇"),
        ("ciphers", "aes128-ctr,aes256-ctr", ("aes128-ctr", "aes256-ctr")),
        ("ciphers", ["aes128-gcm@openssh.com"], ("aes128-gcm@openssh.com",)),
        ("ciphers", "+aes128-cbc,3des-cbc", ("+aes128-cbc", "3des-cbc")),
        ("ciphers", ["^aes256-ctr"], ("^aes256-ctr",)),
        ("ciphers", "-chacha20*", ("-chacha20*",)),
        ("compression", False, False),
        ("retry", {"max": "30s"}, Retry(max=30.0)),
        ("retry", {"initial": "2m"}, Retry(initial=120.0, max=120.0)),
        ("retry", {"max": "500ms"}, Retry(initial=0.5, max=0.5)),
        ("retry", {"give_up_after": "0s"}, Retry()),
        ("retry", {"give_up_after": "1h"}, Retry(give_up_after=3600.0)),
    ],
)
def test_a_key_takes_what_people_write(key: str, written: Any, meant: Any) -> None:
    assert getattr(profile({key: written}), key) == meant


@pytest.mark.parametrize(
    ("own", "path", "said"),
    [
        ({"host": 5}, "host", "expected a text, found the integer 5"),
        ({"host": "-x"}, "host", "begin with a dash"),
        ({"user": "-x"}, "user", "begin with a dash"),
        ({"user": ""}, "user", "empty"),
        ({"port": "22"}, "port", 'expected an integer, found the text "22" (for example port = 22)'),
        ({"port": 70000}, "port", "not from 1 to 65535"),
        ({"port": True}, "port", "found true"),
        ({"identity_file": ["/a", 5]}, "identity_file[1]", "found the integer 5"),
        ({"jump": "gate,-x"}, "jump", "begin with a dash"),
        ({"jump": ["gate", "a,b"]}, "jump[1]", "not one host"),
        ({"jump": ["gate", "none"]}, "jump[1]", "not one host"),
        ({"jump": 5}, "jump", "expected a text"),
        ({"host_key_policy": "ignore"}, "host_key_policy", "none of ask, strict and accept-new"),
        ({"host_key_policy": "acceptnew"}, "host_key_policy", 'did you mean "accept-new"?'),
        ({"keepalive": 15}, "keepalive", 'keepalive = "15s"'),
        ({"keepalive": "15"}, "keepalive", '"15s" for seconds'),
        ({"keepalive": "10ms"}, "keepalive", '"0s" turns it off'),
        ({"connect_timeout": "0s"}, "connect_timeout", "not from 1s to 1h"),
        ({"hold": "2h"}, "hold", "not from 1ms to 1h"),
        ({"autostart": "yes"}, "autostart", "expected true or false"),
        ({"tags": ["a b"]}, "tags[0]", "not a name"),
        ({"description": "\x1b[2J"}, "description", "control character"),
        ({"ciphers": "+"}, "ciphers", "not the name of a cipher"),
        ({"ciphers": "aes128-ctr,+aes256-ctr"}, "ciphers", "only the first cipher"),
        ({"ciphers": ["aes*"]}, "ciphers", "not the name of a cipher"),
        ({"ciphers": ["aes/"]}, "ciphers[0]", "not the name of a cipher"),
        ({"compression": 1}, "compression", "expected true or false"),
        ({"retry": "5s"}, "retry", "expected a table"),
        ({"retry": {"initial": 1}}, "retry.initial", 'retry.initial = "1s"'),
        ({"retry": {"intial": "1s"}}, "retry.intial", 'did you mean "initial"?'),
        ({"retry": {"initial": "2m", "max": "1m"}}, "retry", "longer than max"),
        ({"keepalvie": "15s"}, "keepalvie", 'unknown key (did you mean "keepalive"?)'),
        ({"ServerAliveInterval": 15}, "ServerAliveInterval", 'did you mean "keepalive"?'),
        ({"ProxyJump": "x"}, "ProxyJump", 'did you mean "jump"?'),
        ({"zzz": 1}, "zzz", "unknown key (None)"),
        ({"db": {"host": "x"}}, "db", '[profiles."x.db"]'),
        ({"host": "me@vps", "user": "you"}, "user", "user is you, and host says me"),
        ({"host": "vps:22", "port": 2222}, "port", "port is 2222, and host says 22"),
        ({"jump": "gate", "proxy_command": "nc"}, "proxy_command", "not both"),
        ({"on_demand": True, "hold": "0s"}, "hold", 'hold cannot be 0 (hold = "20s")'),
    ],
)
def test_what_is_wrong_with_a_key_is_said_where_it_is(own: dict[str, Any], path: str, said: str) -> None:
    found = problems(own)

    assert len(found) == 1, found
    assert found[0][0] == f"profiles.x.{path}"
    assert said in found[0][1]


def test_a_profile_needs_a_host_and_a_forward() -> None:
    notes = Notes()
    assert build({}, {}, notes) is None

    assert [note.message for note in notes] == ["no host: where should the tunnel go?", "nothing to forward"]


def test_a_forward_that_is_wrong_is_not_also_called_missing() -> None:
    assert [path for path, _ in problems({"local": ["80"]})] == ["profiles.x.local[0]"]


def test_a_misspelt_key_is_not_also_called_missing() -> None:
    notes = Notes()
    build({"hots": "vps", "LocalForward": "80:web:80"}, {}, notes)

    assert [dotted(note.path) for note in notes] == ["profiles.x.hots", "profiles.x.LocalForward"]


def test_a_profile_that_is_no_table_is_one_problem() -> None:
    notes = Notes()
    make_profile("x", read_profile("vps", PATH, notes), {}, PATH, notes)

    assert [note.message for note in notes] == ['expected a table, found the text "vps"']


def test_the_same_user_twice_is_no_contradiction() -> None:
    assert profile({"host": "me@vps", "user": "me"}).user == "me"


def test_a_profile_wins_over_the_defaults() -> None:
    made = profile({"hold": "5s", "tags": ["own"]}, hold="9s", keepalive="30s", tags=["default"])

    assert (made.hold, made.keepalive, made.tags) == (5.0, 30.0, ("own",))


def test_retry_is_inherited_key_by_key() -> None:
    made = profile({"retry": {"initial": "5s"}}, retry={"initial": "1s", "max": "30s"})

    assert made.retry == Retry(initial=5.0, max=30.0)


def test_forwards_of_the_defaults_are_replaced_by_kind() -> None:
    made = profile({"local": [], "remote": "22:localhost:22"}, local="80:web:80", dynamic=1080)

    assert [(one.kind.value, str(one)) for one in made.forwards] == [
        ("remote", "22:localhost:22"),
        ("dynamic", "1080"),
    ]


def test_a_user_in_the_host_of_the_defaults_belongs_to_that_host() -> None:
    assert profile({"host": "other"}, host="me@vps").user is None
    assert profile({"host": "other"}, user="me").user == "me"
    assert profile({"host": "you@other"}, user="me").user == "you"
    assert profile({"host": "you@other:22"}, host="me@vps:23", user="me", port=23).port == 22


def test_an_own_way_to_the_server_replaces_the_inherited_one() -> None:
    assert profile({"proxy_command": "nc"}, jump="gate").jump is None
    assert profile({"jump": "gate"}, proxy_command="nc").proxy_command is None
    assert profile({"jump": "none"}, proxy_command="nc").proxy_command == "nc"


def test_a_problem_of_the_defaults_is_reported_once_and_there() -> None:
    notes = Notes()
    defaults = read_profile(
        {"keepalive": 15, "local": ["80:a:1", "80:b:1"], "retry": {"initial": "2m", "max": "1m"}},
        ("defaults",),
        notes,
    )
    for name in ("a", "b"):
        path = ("profiles", name)
        make_profile(name, read_profile({"host": "vps"}, path, notes), defaults, path, notes)

    assert [dotted(note.path) for note in notes] == [
        "defaults.keepalive",
        "defaults.local[1]",
        "defaults.retry",
    ]


def test_forwards_know_where_they_were_written() -> None:
    notes = Notes()
    own = read_profile({"host": "vps", "local": ["80-81:web:80-81"]}, PATH, notes)
    placed = make_profile("x", own, read_profile({"dynamic": 1080}, ("defaults",), notes), PATH, notes)

    assert placed is not None
    assert [dotted(path) for path in placed.places] == [
        "profiles.x.local[0]",
        "profiles.x.local[0]",
        "defaults.dynamic",
    ]


# --- on demand ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "seconds"),
    [
        ({"on_demand": True}, 600.0),
        ({"on_demand": True, "idle_timeout": "1m"}, 60.0),
        ({"on_demand": True, "idle_timeout": "0s"}, None),  # connected by the first client, and kept
        ({"on_demand": False}, None),
        ({}, None),
        ({"idle_timeout": "1m"}, 60.0),
    ],
)
def test_on_demand_hangs_up_after_ten_minutes_unless_it_is_said_otherwise(
    own: dict[str, Any], seconds: float | None
) -> None:
    assert profile(own).idle_timeout == seconds


def test_on_demand_and_its_time_can_come_from_the_defaults() -> None:
    assert profile({}, on_demand=True).idle_timeout == 600.0
    assert profile({}, on_demand=True, idle_timeout="1m").idle_timeout == 60.0
    assert profile({"on_demand": False}, on_demand=True).idle_timeout is None


def test_on_demand_somebody_must_be_able_to_wait_wherever_it_is_said() -> None:
    assert [where for where, _ in problems({"on_demand": True}, hold="0s")] == ["profiles.x.hold"]
    assert [where for where, _ in problems({"hold": "0s"}, on_demand=True)] == ["profiles.x.hold"]
    assert problems({"on_demand": True, "hold": "1s"}, hold="0s") == []
    assert problems({"hold": "0s"}) == []


# --- probes ---------------------------------------------------------------------------------------


def test_a_forward_says_itself_how_often_its_destination_is_asked_or_its_profile_does() -> None:
    forwards = profile(
        {
            "probe": "1m",
            "local": [
                "1:a:1",
                {"listen": "2", "connect": "b:2", "probe": "30s"},
                {"listen": "3", "connect": "c:3", "probe": "0s"},
            ],
            "dynamic": ["1080"],
        }
    ).forwards
    assert [forward.probe for forward in forwards] == [60.0, 30.0, None, None]
