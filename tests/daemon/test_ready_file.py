from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tunnels.daemon.ready_file import ReadyFile
from tunnels.errors import UsageError


def test_it_exists_exactly_while_it_is_shown(home: Path) -> None:
    path = home / "ready"
    ready = ReadyFile(path)
    assert not path.exists()
    for _ in range(2):
        ready.show(True)
        ready.show(True)
        assert path.read_text() == "ready\n"
        ready.show(False)
        ready.show(False)
        assert list(home.glob("*ready*")) == []


def test_a_health_check_of_another_user_can_see_it(home: Path) -> None:
    before = os.umask(0o022)
    try:
        ReadyFile(home / "ready").show(True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / "ready").stat().st_mode) == 0o644


@pytest.mark.parametrize("left", ["ready\n", ""])
def test_what_a_run_that_was_killed_has_left_is_removed_at_the_start(left: str, home: Path) -> None:
    (home / "ready").write_text(left)
    ReadyFile(home / "ready")
    assert not (home / "ready").exists()


def test_a_file_of_somebody_else_is_not_removed(home: Path) -> None:
    (home / "notes").write_text("ready\nsteady\n")
    with pytest.raises(UsageError, match="something else"):
        ReadyFile(home / "notes")
    assert (home / "notes").exists()


def test_what_cannot_be_a_file_is_said_before_anything_starts(home: Path) -> None:
    with pytest.raises(UsageError, match="directory"):
        ReadyFile(home)
    with pytest.raises(UsageError, match="there is no folder"):
        ReadyFile(home / "nowhere" / "ready")


def test_a_folder_that_goes_away_is_said_in_the_log_and_nothing_else_suffers(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = home / "folder"
    folder.mkdir()
    ready = ReadyFile(folder / "ready")
    folder.rmdir()
    ready.show(True)
    assert "the ready file" in caplog.text
    folder.mkdir()
    ready.show(True)
    assert (folder / "ready").exists()


def test_without_a_file_nothing_is_written(home: Path) -> None:
    before = sorted(home.iterdir())
    ReadyFile(None).show(True)
    assert sorted(home.iterdir()) == before
