"""The files on the disk: nothing that was there is lost, whatever happens."""

from __future__ import annotations

import fcntl
import os
import resource
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.ssh.blobs import ed25519, text
from tunnels.errors import BadSetting
from tunnels.ssh import known_hosts_file
from tunnels.ssh.known_hosts import NewHostKey
from tunnels.ssh.known_hosts_file import append, read, read_existing, rewrite

A, B, C = ed25519(1), ed25519(2), ed25519(3)
ODD = b"# caf\xe9\r\n\n  junk\t\nh " + text(A).encode() + b" me@home\r\nother " + text(B).encode()


@pytest.fixture
def file(home: Path) -> Path:
    (home / ".ssh").mkdir(mode=0o700)
    return home / ".ssh" / "known_hosts"


def key(file: Path, blob: bytes = C, *, hashed: bool = False) -> NewHostKey:
    return NewHostKey("h", "h", blob, str(file), hashed)


# --- reading --------------------------------------------------------------------------------------


def test_a_missing_file_is_an_empty_one_unless_it_has_to_be_there(file: Path) -> None:
    assert read(str(file)) == read(f"{file}/below") == ""
    with pytest.raises(FileNotFoundError):
        read_existing(str(file))


def test_a_file_that_grows_without_end_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("x" * 100)
    monkeypatch.setattr(known_hosts_file, "MAX_FILE", 100)
    assert len(read(str(file))) == 100
    monkeypatch.setattr(known_hosts_file, "MAX_FILE", 99)
    with pytest.raises(BadSetting, match="no list of keys"):
        read(str(file))


# --- adding ---------------------------------------------------------------------------------------


def test_a_new_line_is_added_and_nothing_else_is_touched(file: Path) -> None:
    file.write_bytes(ODD)
    append(key(file))
    assert file.read_bytes() == ODD + f"\nh {text(C)}\n".encode()


def test_the_folder_is_made_for_the_user_alone(home: Path) -> None:
    append(key(home / "new" / "known_hosts"))
    assert stat.S_IMODE((home / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "new" / "known_hosts").stat().st_mode) == 0o600


def test_two_names_are_hashed_with_different_salts(file: Path) -> None:
    append(key(file, B, hashed=True))
    append(key(file, C, hashed=True))
    one, two = (line.split("|")[2] for line in file.read_text().splitlines())
    assert one != two


def limited(size: int, code: str) -> str:
    """Run a piece of code that may write no file beyond a size, as on a full disk; return what it prints."""
    program = (
        f"import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n{textwrap.dedent(code)}"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    return done.stdout.strip()


@pytest.mark.parametrize("room", [0, 1, 30])
def test_a_line_that_does_not_fit_on_the_disk_leaves_the_file_as_it_was(room: int, file: Path) -> None:
    file.write_bytes(ODD)
    said = limited(
        len(ODD) + room,
        f"""
        from tunnels.ssh.known_hosts import NewHostKey
        from tunnels.ssh.known_hosts_file import append
        try:
            append(NewHostKey("h", "h", {C!r}, {str(file)!r}))
        except OSError as error:
            print(error.strerror)
        """,
    )
    assert said == "File too large"
    assert file.read_bytes() == ODD


# --- rewriting ------------------------------------------------------------------------------------


def change(file: Path, remove: set[int], *add: bytes) -> None:
    rewrite(str(file), remove, [key(file, blob) for blob in add], before=read(str(file)))


def test_lines_are_taken_out_and_the_others_stay_as_they_are(file: Path) -> None:
    file.write_bytes(ODD)
    change(file, {4})
    assert file.read_bytes() == b"# caf\xe9\r\n\n  junk\t\nother " + text(B).encode()
    change(file, {4}, C)
    assert file.read_bytes() == b"# caf\xe9\r\n\n  junk\t\n" + f"h {text(C)}\n".encode()


def test_a_last_line_without_an_end_gets_one_before_a_new_line(file: Path) -> None:
    file.write_bytes(ODD)
    change(file, set(), C)
    assert file.read_bytes() == ODD + f"\nh {text(C)}\n".encode()


def test_mode_and_link_stay(file: Path, home: Path) -> None:
    real = home / "dotfiles"
    real.write_bytes(ODD)
    real.chmod(0o640)
    file.symlink_to(real)
    change(file, {1})
    assert file.is_symlink()
    assert real.read_bytes() == ODD.partition(b"\n")[2]
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [path.name for path in home.iterdir() if path.name.startswith("dotfiles")] == ["dotfiles"]


def test_what_somebody_has_changed_meanwhile_is_not_overwritten(file: Path) -> None:
    file.write_bytes(ODD)
    before = read(str(file))
    append(key(file))
    now = file.read_bytes()
    with pytest.raises(OSError, match="meanwhile"):
        rewrite(str(file), {1}, [], before=before)
    assert file.read_bytes() == now


def test_a_full_disk_leaves_the_old_file_whole_and_nothing_beside_it(file: Path) -> None:
    file.write_bytes(ODD)
    said = limited(
        len(ODD) - 10,
        f"""
        from tunnels.ssh.known_hosts_file import read, rewrite
        try:
            rewrite({str(file)!r}, {{1}}, [], before=read({str(file)!r}))
        except OSError as error:
            print(error.strerror)
        """,
    )
    assert said == "File too large"
    assert file.read_bytes() == ODD
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_may_not_be_written_is_not_replaced(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(ODD)
    file.chmod(0o400)
    monkeypatch.setattr(os, "access", lambda path, mode: bool(os.stat(path).st_mode & 0o200))  # noqa: PTH116 - also for root
    with pytest.raises(PermissionError, match="read-only"):
        change(file, {1})
    assert file.read_bytes() == ODD


# --- two at once ----------------------------------------------------------------------------------


def test_a_file_that_somebody_holds_is_not_rewritten_and_a_line_is_still_added(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_hosts_file, "_LOCK_PAUSE", 0)
    file.write_bytes(ODD)
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="locked by another program"):
            change(file, {1})
        append(key(file))
    assert file.read_bytes() == ODD + f"\nh {text(C)}\n".encode()


def test_two_daemons_that_add_and_take_out_at_once_lose_nothing(file: Path) -> None:
    file.write_text("".join(f"old{number} {text(A)}\n" for number in range(40)))
    program = textwrap.dedent(
        f"""
        import sys
        from tunnels.ssh.known_hosts import NewHostKey
        from tunnels.ssh.known_hosts_file import append, read, rewrite
        file, mine = {str(file)!r}, sys.argv[1]
        for number in range(20):
            append(NewHostKey("h", f"{{mine}}{{number}}", {C!r}, file))
            while True:
                before = read(file)
                lines = [n for n, line in enumerate(before.split("\\n"), 1) if line.startswith("old")]
                try:
                    rewrite(file, set(lines[:1]), [], before=before)
                    break
                except OSError:
                    continue
        """
    )
    both = [subprocess.Popen([sys.executable, "-c", program, name]) for name in ("one", "two")]
    assert [each.wait(timeout=60) for each in both] == [0, 0]
    names = sorted(line.split()[0] for line in file.read_text().splitlines())
    assert names == sorted(f"{name}{number}" for name in ("one", "two") for number in range(20))
