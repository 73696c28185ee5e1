"""The profile file is changed so that its author would not notice: only what was asked for is different."""

from __future__ import annotations

import stat
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.test_ssh_command import tables
from tunnels import profile_writer, profiles
from tunnels.errors import ProfileError, UsageError

TABLE = {"host": "me@vps", "dynamic": ["1080"]}

TEXT = """\
# mine

[defaults]   # for all
keepalive    =   "15s"

[profiles.a] # first
host = 'h'   # a host
local = [ "1:a:1",   # one
          "2:b:2" ]

# the last line has no profile
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.toml"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def leftovers(path: Path) -> list[Path]:
    return [other for other in path.parent.iterdir() if other != path]


def test_a_new_profile_is_put_at_the_end_and_every_byte_before_it_stays(path: Path) -> None:
    profile_writer.add(path, {"vps": TABLE})
    assert path.read_text() == TEXT + '\n[profiles.vps]\nhost = "me@vps"\ndynamic = ["1080"]\n'
    assert leftovers(path) == []


def test_a_file_without_an_end_of_line_gets_one(path: Path) -> None:
    path.write_text(TEXT.rstrip())
    profile_writer.add(path, {"vps": TABLE})
    assert path.read_text().startswith(TEXT.rstrip() + "\n\n[profiles.vps]\n")


def test_the_line_ends_of_windows_stay(path: Path) -> None:
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    profile_writer.add(path, {"vps": TABLE})
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")
    assert list(profiles.load(path).profiles) == ["a", "vps"]


def test_a_byte_order_mark_stays(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    profile_writer.add(path, {"vps": TABLE})
    assert path.read_bytes().startswith(b"\xef\xbb\xbf# mine")
    assert list(profiles.load(path).profiles) == ["a", "vps"]


def test_without_a_file_a_private_one_is_made(tmp_path: Path) -> None:
    path = tmp_path / "config" / "tunnels" / "profiles.toml"
    profile_writer.add(path, {"vps": TABLE})
    assert list(profiles.load(path).profiles) == ["vps"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_name_with_a_dot_stands_in_quotes(path: Path) -> None:
    profile_writer.add(path, {"a.b": TABLE})
    assert '[profiles."a.b"]' in path.read_text()
    assert list(profiles.load(path).profiles) == ["a", "a.b"]


@pytest.mark.parametrize(
    "text",
    [
        'profiles = { a = { host = "h", local = "1:a:1" } } # all\n',
        'profiles.a.host = "h" # one\nprofiles.a.local = "1:a:1"\n',
        '[profiles]\na = { host = "h", local = "1:a:1" } # all\n[defaults] # x\nkeepalive = "5s"\n',
        '[profiles.a]\nhost = "h" # y\nlocal = "1:a:1"\n[defaults]\n[profiles.b] # z\nhost = "h"\nlocal = "2:a:1"\n',
    ],
)
def test_however_the_file_is_laid_out_the_profile_is_in_it_and_the_comments_are_too(
    path: Path, text: str
) -> None:
    path.write_text(text)
    before = tomllib.loads(text)
    profile_writer.add(path, {"vps": TABLE})
    after = tomllib.loads(path.read_text())
    assert after["profiles"].pop("vps") == TABLE
    assert after == before
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert all(f"#{comment}" in path.read_text() for comment in comments)


def test_a_profile_that_is_there_is_not_overwritten(path: Path) -> None:
    with pytest.raises(UsageError, match="has a profile a already") as refused:
        profile_writer.add(path, {"vps": TABLE, "a": TABLE})
    assert "--replace" in (refused.value.hint or "")
    assert path.read_text() == TEXT


def test_unless_it_is_said_and_then_the_rest_stays(path: Path) -> None:
    profile_writer.add(path, {"a": TABLE}, replace=True)
    file = profiles.load(path)
    assert file.profiles["a"].host == "vps"
    assert file.profiles["a"].keepalive == 15
    assert path.read_text().startswith("# mine\n\n[defaults]   # for all\n")


def test_what_would_be_a_bad_file_never_lands(path: Path) -> None:
    for table in ({"host": "h"}, {"host": "a b", "dynamic": ["1"]}, {"host": "h", "dynamic": ["x"]}):
        with pytest.raises(ProfileError):
            profile_writer.add(path, {"vps": table})
    with pytest.raises(UsageError):
        profile_writer.add(path, {"a b": TABLE})
    assert path.read_text() == TEXT
    assert leftovers(path) == []


def test_a_file_with_problems_is_left_alone_and_its_problems_are_said(path: Path) -> None:
    path.write_text(TEXT + "hosst = 1\n")
    with pytest.raises(ProfileError, match="hosst"):
        profile_writer.add(path, {"vps": TABLE})
    assert path.read_text() == TEXT + "hosst = 1\n"


def test_a_file_that_others_may_write_is_refused(path: Path) -> None:
    path.chmod(0o666)
    with pytest.raises(ProfileError, match="others may write"):
        profile_writer.add(path, {"vps": TABLE})


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_mode_stays(path: Path, mode: int) -> None:
    path.chmod(mode)
    profile_writer.add(path, {"vps": TABLE})
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles" / "p.toml"
    target.parent.mkdir()
    path.rename(target)
    path.symlink_to(target)
    profile_writer.add(path, {"vps": TABLE})
    assert path.is_symlink()
    assert "vps" in profiles.load(target).profiles


def test_many_that_add_at_once_lose_nothing(path: Path) -> None:
    names = [f"n{number}" for number in range(12)]
    threads = [
        threading.Thread(target=profile_writer.add, args=(path, {name: TABLE_OF[name]})) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert set(profiles.load(path).profiles) == {"a", *names}


TABLE_OF = {f"n{number}": {"host": "h", "dynamic": [str(2000 + number)]} for number in range(12)}


def test_who_holds_the_folder_for_ever_is_not_waited_for_for_ever(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_writer, "PATIENCE", 0.0)
    with profile_writer._alone(path.parent), pytest.raises(UsageError, match="another command"):
        profile_writer.add(path, {"vps": TABLE})


def test_a_text_is_put_only_where_nobody_has_written_meanwhile(path: Path) -> None:
    profile_writer.put(path, TEXT + "# more\n", before=TEXT)
    assert path.read_text() == TEXT + "# more\n"
    for before in (TEXT, None):
        with pytest.raises(UsageError, match="somebody else"):
            profile_writer.put(path, "", before=before)
    path.unlink()
    with pytest.raises(UsageError, match="somebody else"):
        profile_writer.put(path, "", before=TEXT)
    profile_writer.put(path, TEXT, before=None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        profile_writer.put(tmp_path / "file" / "profiles.toml", TEXT, before=None)


@settings(max_examples=60, deadline=None)
@given(tables(), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,10}", fullmatch=True))
def test_what_is_written_is_what_is_read(table: dict[str, Any], name: str) -> None:
    text = profile_writer.render(name, table)
    assert tomllib.loads(text) == {"profiles": {name: table}}
