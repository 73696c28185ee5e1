from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunnels import paths
from tunnels.errors import BadSetting, TunnelsError


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """What platformdirs has found out is remembered; here it is another home for each test."""
    paths._dirs.cache_clear()
    yield
    paths._dirs.cache_clear()


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing set that overrides the usual places."""
    for variable in ("TUNNELS_CONFIG", "TUNNELS_RUNTIME_DIR", "TUNNELS_STATE_DIR"):
        monkeypatch.delenv(variable)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def given_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let it belong to another user; whoever may not do that becomes another user instead."""
    if os.getuid() == 0:
        os.chown(path, 4711, -1, follow_symlinks=False)
    else:
        me = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: me + 1)
    return path


# --- where things are -----------------------------------------------------------------------------


@pytest.mark.usefixtures("usual")
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no XDG folders")
def test_without_overrides_everything_is_where_the_system_keeps_such_things(home: Path) -> None:
    assert paths.config_file() == home / "config" / "tunnels" / "profiles.toml"
    assert paths.socket_path() == home / "run" / "tunnels" / "control.sock"
    assert paths.lock_file() == home / "state" / "tunnels" / "daemon.lock"
    assert paths.state_file() == home / "state" / "tunnels" / "state.json"
    assert paths.log_file() == home / "state" / "tunnels" / "log" / "tunnels.log"
    assert paths.startup_log().parent == paths.log_file().parent


def test_the_environment_moves_runtime_and_state_files(home: Path) -> None:
    assert paths.socket_path().parent == home / "tunnels-run"
    assert paths.lock_file().parent == home / "tunnels-state"
    assert paths.state_file().parent == home / "tunnels-state"
    assert paths.log_file().parent == paths.startup_log().parent == home / "tunnels-state" / "log"


def test_two_sets_of_folders_have_no_file_in_common(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    def everything() -> set[Path]:
        return {
            paths.socket_path(),
            paths.lock_file(),
            paths.state_file(),
            paths.log_file(),
            paths.history_file(),
            paths.alive_file(),
            paths.startup_log(),
        }

    first = everything()
    monkeypatch.setenv("TUNNELS_RUNTIME_DIR", str(home / "other-run"))
    monkeypatch.setenv("TUNNELS_STATE_DIR", str(home / "other-state"))
    assert first & everything() == set()


def test_the_option_wins_over_the_environment_and_that_over_the_usual_place(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    assert paths.config_file("/etc/mine.toml") == Path("/etc/mine.toml")
    assert paths.config_file() == home / "config" / "profiles.toml"
    monkeypatch.delenv("TUNNELS_CONFIG")
    assert paths.config_file().name == "profiles.toml"


def test_a_relative_profile_file_is_one_of_the_working_folder_and_a_tilde_is_the_home(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.chdir(home)
    assert paths.config_file("mine.toml") == home / "mine.toml"
    assert paths.config_file("~/mine.toml") == home / "mine.toml"


def test_a_profile_file_of_a_user_who_does_not_exist_is_an_error_of_the_person_not_a_bug() -> None:
    with pytest.raises(TunnelsError):
        paths.config_file("~nobody-is-called-that/profiles.toml")


# --- the socket -----------------------------------------------------------------------------------


def test_a_path_that_is_too_long_for_a_socket_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNNELS_RUNTIME_DIR", "/" + "x" * paths.MAX_SOCKET_PATH)
    with pytest.raises(BadSetting, match="too long") as caught:
        paths.socket_path()
    assert "TUNNELS_RUNTIME_DIR" in (caught.value.hint or "")


def test_the_longest_path_is_counted_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = paths.MAX_SOCKET_PATH - len("//control.sock")
    monkeypatch.setenv("TUNNELS_RUNTIME_DIR", "/" + "x" * rest)
    assert len(os.fsencode(paths.socket_path())) == paths.MAX_SOCKET_PATH
    monkeypatch.setenv("TUNNELS_RUNTIME_DIR", "/" + "x" * (rest - 1) + "é")  # as many characters, a byte more
    with pytest.raises(BadSetting):
        paths.socket_path()


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_is_made_for_its_user_only_also_with_a_generous_umask(home: Path) -> None:
    before = os.umask(0)
    try:
        made = paths.make_private(home / "new" / "folder")
    finally:
        os.umask(before)
    assert mode(made) == 0o700


def test_a_folder_that_others_can_enter_is_closed(home: Path) -> None:
    folder = home / "open"
    folder.mkdir()
    folder.chmod(0o755)
    paths.make_private(folder)
    assert mode(folder) == 0o700


def test_a_folder_of_another_user_is_refused_and_left_as_it_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "theirs"
    folder.mkdir()
    folder.chmod(0o755)
    given_away(folder, monkeypatch)
    with pytest.raises(BadSetting, match="belongs to another user") as caught:
        paths.make_private(folder)
    assert "TUNNELS_RUNTIME_DIR" in (caught.value.hint or "")
    assert mode(folder) == 0o755


def test_a_link_to_a_folder_of_another_user_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, link = home / "theirs", home / "link"
    folder.mkdir()
    link.symlink_to(folder)
    given_away(folder, monkeypatch)
    with pytest.raises(BadSetting, match="belongs to another user"):
        paths.make_private(link)


def test_a_link_of_another_user_is_refused_whatever_it_leads_to(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, link = home / "mine", home / "link"
    folder.mkdir(mode=0o700)
    link.symlink_to(folder)
    given_away(link, monkeypatch)
    with pytest.raises(BadSetting, match="belongs to another user"):
        paths.make_private(link)


def test_a_folder_in_a_folder_of_another_user_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    above = home / "theirs"
    (above / "mine").mkdir(parents=True, mode=0o700)
    given_away(above, monkeypatch)
    with pytest.raises(BadSetting, match="belongs to another user"):
        paths.make_private(above / "mine")


@pytest.mark.parametrize("shared", [0o1777, 0o770, 0o702])
def test_a_folder_that_is_meant_to_be_shared_is_refused_and_stays_so(shared: int, home: Path) -> None:
    folder = home / "shared"
    folder.mkdir()
    folder.chmod(shared)
    with pytest.raises(BadSetting, match="others may write"):
        paths.make_private(folder)
    assert mode(folder) == shared


def test_a_link_to_a_folder_of_ones_own_is_followed(home: Path) -> None:
    folder, link = home / "mine", home / "link"
    folder.mkdir(mode=0o755)
    link.symlink_to(folder)
    assert paths.make_private(link) == link
    assert mode(folder) == 0o700


@pytest.mark.parametrize("obstacle", ["file", "dangling link", "file above"])
def test_what_is_no_folder_is_refused(obstacle: str, home: Path) -> None:
    place = home / "place"
    if obstacle == "dangling link":
        place.symlink_to(home / "nowhere")
    else:
        place.write_text("something")
    with pytest.raises(BadSetting, match=str(place)):
        paths.make_private(place / "below" if obstacle == "file above" else place)
