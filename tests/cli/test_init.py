from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.cli.console import tunnels
from tunnels import paths, profiles


def test_it_writes_a_valid_private_file_with_folders_and_says_where() -> None:
    path = paths.config_file()
    path.parent.rmdir()
    before = os.umask(0)
    try:
        result = tunnels("init")
    finally:
        os.umask(before)
    assert (result.code, result.out) == (0, f"{path}\n")
    assert "tunnels edit" in result.err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert profiles.load(path).profiles == {}


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link"])
def test_what_is_there_is_never_overwritten(kind: str, home: Path) -> None:
    path, other = paths.config_file(), home / "other.toml"
    match kind:
        case "file":
            path.write_text("# mine")
        case "folder":
            path.mkdir()
        case "link":
            other.write_text("# mine")
            path.symlink_to(other)
        case _:
            path.symlink_to(other)
    result = tunnels("init")
    assert (result.code, result.out) == (2, "")
    assert str(path) in result.words
    assert "tunnels edit" in result.err
    if kind in {"file", "link"}:
        assert path.read_text() == "# mine"
    assert other.exists() is (kind == "link")


def test_a_folder_that_cannot_be_made_is_said(home: Path) -> None:
    (home / "file").write_text("")
    result = tunnels("init", "--config", str(home / "file" / "profiles.toml"))
    assert result.code == 2
    assert "Not a directory" in result.err or "exists" in result.err.lower()
    assert "internal" not in result.err
    assert "bug" not in result.err


def test_a_named_file_is_the_one_that_is_written(home: Path) -> None:
    assert tunnels("init", "--config", str(home / "mine.toml")).code == 0
    assert (home / "mine.toml").exists()
    assert not paths.config_file().exists()
