"""A profile is gone after use, whatever happens, and one that is in use is nobody else's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tunnels.browser_folder import kept, sweep, throwaway
from tunnels.errors import TunnelsError, UsageError


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def test_it_is_its_users_alone_and_gone_with_what_is_in_it(tmp_path: Path) -> None:
    with throwaway(tmp_path / "browsers") as folder:
        assert folder.path.stat().st_mode & 0o777 == 0o700
        (folder.path / "deep").mkdir()
        (folder.path / "deep" / "cookies").write_text("secret")
    assert [path.name for path in (tmp_path / "browsers").iterdir()] == ["lock"]


def test_it_is_gone_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), throwaway(tmp_path / "browsers"):
        raise KeyboardInterrupt
    assert folders(tmp_path / "browsers") == []


def test_what_a_crash_has_left_is_swept_by_the_next_one_but_not_while_a_browser_has_it(
    tmp_path: Path,
) -> None:
    root = tmp_path / "browsers"
    crash = (
        "import os, subprocess, sys; from pathlib import Path; from tunnels.browser_folder import throwaway\n"
        "with throwaway(Path(sys.argv[1])) as folder:\n"
        "    subprocess.Popen(['sh', '-c', 'read word'], pass_fds=[folder.lock])\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    reader, writer = os.pipe()
    subprocess.run([sys.executable, "-c", crash, str(root)], stdin=reader, check=False)
    os.close(reader)
    left = folders(root)
    assert len(left) == 1
    with throwaway(root) as folder:
        assert folders(root) == sorted([*left, folder.path.name]), "a browser goes on with it"
    os.write(writer, b"closed\n")
    os.close(writer)
    from tests.e2e.bed.wait import eventually

    def swept() -> bool:
        sweep(root)
        return folders(root) == []

    eventually(swept, within=5, what="the end of what was left")


def test_one_that_is_kept_is_there_the_next_time_and_for_one_at_a_time(tmp_path: Path) -> None:
    with kept(tmp_path / "browsers", "bank") as folder:
        (folder.path / "cookies").write_text("mine")
        with (
            pytest.raises(UsageError, match="bank is in use by another browser"),
            kept(tmp_path / "browsers", "bank"),
        ):
            pass
    with throwaway(tmp_path / "browsers"):  # which sweeps
        pass
    with kept(tmp_path / "browsers", "bank") as folder:
        assert (folder.path / "cookies").read_text() == "mine"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", ".hidden", "once-abc", "a b", "a\0"])
def test_a_name_that_leads_elsewhere_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"), kept(tmp_path / "browsers", name):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TunnelsError, match="file"), throwaway(tmp_path / "file"):
        pass
    (tmp_path / "browsers" / "lock").mkdir(parents=True)
    (tmp_path / "browsers").chmod(0o700)
    with pytest.raises(TunnelsError, match="cannot be written"), throwaway(tmp_path / "browsers"):
        pass


def test_a_process_that_still_writes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.rmtree
    pauses: list[float] = []
    monkeypatch.setattr("tunnels.browser_folder.time.sleep", pauses.append)
    monkeypatch.setattr(
        "tunnels.browser_folder.shutil.rmtree",
        lambda path, **rest: real(path, **rest) if len(pauses) > 2 else None,
    )
    with throwaway(tmp_path / "browsers"):
        pass
    assert folders(tmp_path / "browsers") == []
    assert len(pauses) == 3
