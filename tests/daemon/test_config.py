from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.daemon.served import FILE, profile_file
from tunnels import paths, profiles
from tunnels.daemon.config import Config
from tunnels.errors import ProfileError, UsageError

BAD = FILE + 'hosst = "typo"\n'


def test_a_good_file_is_read_and_nothing_is_wrong_with_it() -> None:
    config = Config(profile_file())
    assert list(config.load().profiles) == ["work-db", "work-web", "home"]
    assert config.check() is None


def test_a_bad_edit_is_refused_and_said_until_it_is_mended() -> None:
    config = Config(profile_file())
    config.load()
    profile_file(BAD)
    with pytest.raises(ProfileError, match="hosst"):
        config.load()
    error = config.check()
    assert error is not None
    assert "hosst" in error.message
    profile_file(FILE)
    assert config.check() is None
    config.load()
    assert config.check() is None


def test_a_bad_edit_is_noticed_without_being_loaded() -> None:
    config = Config(profile_file())
    config.load()
    profile_file(BAD)
    error = config.check()
    assert error is not None
    assert "hosst" in error.message
    profile_file(FILE + "# good again\n")
    assert config.check() is None


def test_a_file_that_has_become_empty_is_a_bad_edit() -> None:
    """Otherwise a full disk, or an editor that was killed, would take everything down with the next reload."""
    config = Config(profile_file())
    config.load()
    profile_file("")
    with pytest.raises(ProfileError, match="the file is empty, and had 3 profiles in it") as caught:
        config.load()
    assert "tunnels down --all" in str(caught.value.hint)
    assert config.check() is not None
    profile_file("# nothing any more\n")  # somebody has written that
    assert config.load().profiles == {}


def test_a_file_that_has_always_been_empty_is_fine() -> None:
    config = Config(profile_file(""))
    assert config.load().profiles == {}
    assert config.check() is None


def test_a_file_that_was_taken_away_is_noticed() -> None:
    config = Config(profile_file())
    config.load()
    config.path.unlink()
    error = config.check()
    assert error is not None
    assert "no such file" in error.message


def test_only_a_file_that_nobody_spoke_of_is_done_without(home: Path) -> None:
    config = Config(home / "later.toml")
    with pytest.raises(ProfileError):
        config.load()
    assert not config.does_without
    config.use(paths.usual_config_file())
    with pytest.raises(ProfileError):
        config.load()
    assert config.does_without


def test_a_usual_file_that_was_there_is_not_done_without() -> None:
    config = Config(paths.usual_config_file())
    config.path.parent.mkdir(parents=True)
    config.path.write_text(FILE)
    config.path.chmod(0o600)
    assert config.check() is None
    config.path.unlink()
    assert config.check() is not None
    assert not config.does_without


def test_a_file_that_was_missing_at_first_is_noticed_when_it_comes(home: Path) -> None:
    config = Config(home / "later.toml")
    with pytest.raises(ProfileError):
        config.load()
    assert config.check() is config.error is not None
    config.path.write_text(FILE)
    config.path.chmod(0o600)
    assert config.check() is None


def test_a_file_that_others_may_write_since_is_noticed() -> None:
    config = Config(profile_file())
    config.load()
    config.path.chmod(0o666)
    os.utime(config.path, ns=(1, 1))
    error = config.check()
    assert error is not None
    assert "others may write" in error.message


def test_a_file_that_has_not_changed_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    load = profiles.load

    def counting(path: Path) -> profiles.ProfileFile:
        read.append(path)
        return load(path)

    monkeypatch.setattr(profiles, "load", counting)
    config = Config(profile_file())
    config.load()
    for _ in range(3):
        config.check()
    assert len(read) == 1
    profile_file(BAD)
    for _ in range(3):
        config.check()
    assert len(read) == 2


def test_with_another_file_the_problem_of_the_first_is_forgotten(home: Path) -> None:
    config = Config(profile_file(BAD))
    with pytest.raises(ProfileError):
        config.load()
    other = home / "other.toml"
    other.write_text(FILE)
    other.chmod(0o600)
    config.use(other)
    assert config.check() is None
    assert config.load().path == other


# --- what was opened without a profile ------------------------------------------------------------

TABLE = {"host": "vps", "dynamic": ["1080"]}


def test_what_was_opened_counts_as_if_it_were_in_the_file_until_it_is_forgotten() -> None:
    config = Config(profile_file())
    assert config.open("vps", TABLE).host == "vps"
    assert "vps" in config.load().profiles
    config.forget(["vps", "other"])
    assert "vps" not in config.load().profiles


def test_a_table_with_problems_is_not_had() -> None:
    config = Config(profile_file())
    with pytest.raises(UsageError):
        config.open("vps", {"host": "vps"})
    assert config.opened == {}


def test_a_profile_of_the_file_takes_the_place_of_what_was_opened_under_its_name() -> None:
    config = Config(profile_file())
    config.open("vps", TABLE)
    profile_file(FILE + '\n[profiles.vps]\nhost = "other"\ndynamic = ["1081"]\n')
    assert config.load().profiles["vps"].host == "other"
    assert config.opened == {}


def test_what_was_opened_needs_no_file(home: Path) -> None:
    config = Config(home / "missing.toml")
    config.open("vps", TABLE)
    assert list(config.load().profiles) == ["vps"]
    assert config.check() is None


def test_with_another_file_what_was_opened_is_forgotten(home: Path) -> None:
    config = Config(profile_file())
    config.open("vps", TABLE)
    config.use(home / "other.toml")
    assert config.opened == {}


def test_a_file_that_was_there_is_not_taken_for_empty_because_something_was_opened() -> None:
    """A reload while a dotfile manager changes the file would stop everything."""
    config = Config(profile_file())
    config.load()
    config.open("vps", TABLE)
    config.path.unlink()
    with pytest.raises(ProfileError):
        config.load()
    with pytest.raises(ProfileError):
        config.open("other", TABLE)
    assert config.check() is not None
