"""The profile file: read with care, and everything that is wrong with it is said at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tunnels import profiles
from tunnels.core.forward import ForwardKind
from tunnels.errors import ProfileError
from tunnels.profiles import ProfileFile

GOOD = """\
[defaults]
keepalive = "15s"

[profiles.work-db]
host = "bastion"
tags = ["work"]
local = ["5432:db.internal:5432"]

[profiles.work-web]
host = "bastion"
tags = ["work", "web"]
local = ["8080:web.internal:80"]

[profiles.home]
host = "me@vps.example.com"
tags = ["web"]
remote = ["2222:localhost:22"]
"""


def parse(text: str) -> ProfileFile:
    return profiles.parse(text, "profiles.toml")


def problems(text: str) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        parse(text)
    assert caught.value.path == "profiles.toml"
    return [str(problem) for problem in caught.value.problems]


def written(tmp_path: Path, content: str | bytes = GOOD, mode: int = 0o600) -> Path:
    path = tmp_path / "profiles.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


# ---- reading a file --------------------------------------------------------------------------------


def test_profiles_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    file = profiles.load(path)

    assert list(file.profiles) == ["work-db", "work-web", "home"]
    assert file.profiles["home"].user == "me"
    assert file.profiles["home"].keepalive == 15.0
    assert file.path == path
    assert file.warnings == ()


def test_what_was_read_cannot_be_changed() -> None:
    loaded: Any = parse(GOOD).profiles

    with pytest.raises(TypeError):
        loaded["new"] = None


def test_an_empty_file_has_no_profiles() -> None:
    assert dict(parse("").profiles) == {}


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    assert len(profiles.load(written(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())).profiles) == 3


def test_a_missing_file_is_told_apart_and_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        profiles.load(tmp_path / "none.toml")

    assert profiles.is_missing(caught.value)
    assert caught.value.exit_code == 2
    assert "tunnels init" in (caught.value.hint or "")


def unreadable(path: Path) -> str:
    with pytest.raises(ProfileError) as caught:
        profiles.load(path)
    assert not profiles.is_missing(caught.value)
    assert str(path) in str(caught.value)
    return f"{caught.value} {caught.value.hint}"


def test_a_folder_is_not_a_profile_file(tmp_path: Path) -> None:
    assert "is a directory" in unreadable(tmp_path)


def test_a_named_pipe_does_not_make_anybody_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert "not a regular file" in unreadable(tmp_path / "pipe")


def test_a_file_below_a_file_cannot_be_read(tmp_path: Path) -> None:
    assert "Not a directory" in unreadable(written(tmp_path) / "x.toml")


def test_a_name_that_no_file_can_have_cannot_be_read() -> None:
    assert "null byte" in unreadable(Path("a\0b"))


def test_a_file_that_is_not_for_us_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)

    assert "cannot be read: Permission denied" in unreadable(tmp_path / "x.toml")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    said = unreadable(written(tmp_path, mode=mode))

    assert f"{mode:04o}" in said
    assert "chmod go-w" in said


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o444, 0o755])
def test_a_file_that_others_may_read_is_fine(tmp_path: Path, mode: int) -> None:
    assert profiles.load(written(tmp_path, mode=mode)).profiles


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    if os.getuid() == 0:
        os.chown(path, 12_345, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12_345)

    assert "belongs to another user" in unreadable(path)


def test_the_file_behind_a_link_is_the_one_that_is_checked(tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(written(tmp_path, mode=0o666))

    assert "others may write" in unreadable(link)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    assert "1024 KiB" in unreadable(written(tmp_path, b"#" * (1024 * 1024 + 1)))


def test_a_file_that_is_not_utf_8_names_the_line(tmp_path: Path) -> None:
    assert "line 2: not UTF-8" in unreadable(written(tmp_path, b'# \xc3\xbc\nx = "\xfc"\n'))


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    path = written(tmp_path)
    file = profiles.load(path)
    assert file.fingerprint == profiles.fingerprint(path)

    written(tmp_path, GOOD + "# more\n")
    assert file.fingerprint != profiles.fingerprint(path)

    path.unlink()
    assert profiles.fingerprint(path) is None
    assert parse(GOOD).fingerprint is None


# ---- what is wrong ---------------------------------------------------------------------------------


def test_every_problem_of_a_file_is_reported_at_once_with_its_line() -> None:
    text = """\
[defaults]
keepalive = 15

[profiles.work-db]
host = "bastion"
keepalvie = "15s"
local = [
  "5432:db.internal:5432",
  # a comment
  { name = "redis", listen = "6379", connect = "6379" },
]

[profiles."bad name"]
host = "vps"
dynamic = "*:1080"

[profiles.empty]

[profile.home]
host = "vps"
"""
    assert problems(text) == [
        'line 2: defaults.keepalive: expected a duration, found the integer 15 (keepalive = "15s")',
        'line 6: profiles.work-db.keepalvie: unknown key (did you mean "keepalive"?)',
        (
            'line 10: profiles.work-db.local[1].connect: "6379" is a port without a host '
            '(for example "localhost:6379")'
        ),
        (
            'line 13: profiles."bad name": "bad name" is not a name '
            "(up to 64 letters, digits, dots, dashes and underscores, and a letter or digit first)"
        ),
        (
            'line 15: profiles."bad name".dynamic: anybody who reaches this port could use the proxy '
            '(leave out the bind address, or use a table with auth = { username = "me", '
            'password_command = "pass show proxy" } or with expose = true)'
        ),
        (
            "line 17: profiles.empty: no host: where should the tunnel go? "
            '(for example host = "me@vps.example.com")'
        ),
        (
            'line 17: profiles.empty: nothing to forward (add local = ["5432:db.internal:5432"], remote or '
            "dynamic)"
        ),
        'line 19: profile: unknown key (did you mean "profiles"?)',
    ]


def test_the_error_lists_every_problem() -> None:
    with pytest.raises(ProfileError) as caught:
        parse("x = 1\ny = 2\n")

    assert str(caught.value).splitlines()[0] == "profiles.toml: 2 problems"
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('host = "x"', "line 1: host: unknown key (it belongs below [profiles.NAME] or [defaults])"),
        ("[work-db]", "line 1: work-db: unknown key (a profile begins with [profiles.work-db])"),
        ("[default]", 'line 1: default: unknown key (did you mean "defaults"?)'),
        ("zzz = 1", "line 1: zzz: unknown key (a file has [defaults] and [profiles.NAME])"),
        (
            "[[profiles]]",
            (
                "line 1: profiles: expected a table for each profile, found a list "
                "(for example [profiles.work-db])"
            ),
        ),
        (
            "defaults = 1",
            "line 1: defaults: expected a table, found the integer 1 (for example [profiles.work-db])",
        ),
    ],
)
def test_what_stands_in_the_wrong_place_is_told_the_right_one(text: str, said: str) -> None:
    assert problems(text) == [said]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[profiles.x]\nhost = bastion\n", "line 2: not TOML: Invalid value"),
        ("[profiles.x]\nhost\n", "line 2: not TOML: "),
        ('x = """\n\n', "line 1: not TOML: "),
        ("a = 1\na = 2\n", "line 2: not TOML: "),
        ("x = [\n1,\n\n", "line 2: not TOML: "),
    ],
)
def test_a_text_that_is_not_toml_is_reported_with_its_line(text: str, said: str) -> None:
    (problem,) = problems(text)

    assert problem.startswith(said)


def test_a_text_without_quotes_gets_them_in_the_hint() -> None:
    (problem,) = problems("host = bastion")

    assert 'host = "bastion"' in problem


@pytest.mark.parametrize("text", ["x = " + "[" * 100_000, "x = " + "1" * 5_000, "x = 0x" + "f" * 5_000])
def test_toml_that_no_person_writes_is_an_ordinary_problem(text: str) -> None:
    assert len(problems(text)) == 1


def test_problems_of_the_defaults_are_not_repeated_by_each_profile() -> None:
    text = GOOD.replace('"15s"', '"15"')

    assert [problem.partition(": ")[0] for problem in problems(text)] == ["line 2"]


# ---- what is allowed, and likely not meant ---------------------------------------------------------


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in parse(text).warnings]


def test_two_profiles_on_one_local_port_are_warned_of_and_not_refused() -> None:
    text = """\
[profiles.a]
host = "x"
local = ["80:web:80", "8000-8002:web:8000-8002"]

[profiles.b]
host = "y"
local = [
  "8001-8002:web:8001-8002",
]
dynamic = "*:80"
""".replace("*:80", "[::1]:80")

    assert warnings(text) == [
        "line 8: profiles.b.local[0]: a and b both listen on localhost:8001 (only one of them can be up)",
        "line 10: profiles.b.dynamic: a and b both listen on [::1]:80 (only one of them can be up)",
    ]


def test_a_remote_port_is_taken_only_on_its_own_server() -> None:
    profile = '[profiles.{}]\nhost = "{}"\nremote = "80:web:80"\n'

    assert warnings(profile.format("a", "x") + profile.format("b", "y")) == []
    assert len(warnings(profile.format("a", "x") + profile.format("b", "x"))) == 1


def test_what_has_no_effect_is_warned_of() -> None:
    text = '[profiles.a]\nhost = "x"\nremote = "80:web:80"\n'

    assert "line 4" in warnings(text + 'idle_timeout = "1m"')[0]
    assert "line 4" in warnings(text + 'on_demand = true\nlocal = "81:web:81"')[0]


def test_a_tunnel_that_nobody_can_demand_is_refused() -> None:
    with pytest.raises(ProfileError, match="line 4.*nobody can demand this tunnel"):
        parse('[profiles.a]\nhost = "x"\nremote = "80:web:80"\non_demand = true\n')


def test_every_kind_of_forward_comes_through() -> None:
    file = parse('[profiles.x]\nhost = "h"\nlocal = "1:a:1"\nremote = "2:a:2"\ndynamic = 3\n')

    assert [(one.kind, str(one)) for one in file.profiles["x"].forwards] == [
        (ForwardKind.LOCAL, "1:a:1"),
        (ForwardKind.REMOTE, "2:a:2"),
        (ForwardKind.DYNAMIC, "3"),
    ]
