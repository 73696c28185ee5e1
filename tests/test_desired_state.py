from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tunnels import desired_state, paths
from tunnels.desired_state import DesiredState, load, save

OPENED = {"vps": {"host": "vps", "dynamic": ["1080"]}}

STATE = DesiredState(("work-db", "home"), running=True, config="/home/me/profiles.toml", opened=OPENED)


@pytest.fixture
def path() -> Path:
    return paths.state_file()


def written(**changes: Any) -> bytes:
    document = {"version": 1, "running": True, "config": "/p.toml", "tunnels": ["work-db"]}
    return json.dumps({**document, **changes}).encode()


def test_what_is_saved_is_loaded_again(path: Path) -> None:
    save(path, STATE)
    assert load(path) == STATE
    save(path, DesiredState())
    assert load(path) == DesiredState()


def test_a_name_or_path_that_is_not_unicode_survives(path: Path) -> None:
    state = DesiredState(("caf\udce9",), running=True, config="/caf\udce9.toml")
    save(path, state)
    assert load(path) == state


@pytest.mark.parametrize(
    ("state", "crashed"),
    [
        (STATE, True),
        (STATE._replace(running=False), False),  # ended on purpose
        (STATE._replace(tunnels=()), False),  # nothing to bring back
    ],
)
def test_only_a_daemon_that_had_tunnels_and_did_not_end_counts_as_crashed(
    state: DesiredState, crashed: bool
) -> None:
    assert state.crashed is crashed


def test_it_is_readable_for_its_user_only_whatever_the_umask(path: Path) -> None:
    path.parent.chmod(0o755)
    before = os.umask(0)
    try:
        save(path, STATE)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_it_leaves_nothing_else_behind(path: Path) -> None:
    save(path, STATE)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_state_whole(
    failing: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(path, STATE)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if failing == "fsync" else Path, failing, full)
    with pytest.raises(OSError, match="No space"):
        save(path, DesiredState())
    assert load(path) == STATE


def test_the_new_state_is_on_the_disk_before_it_takes_the_place_of_the_old(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(path, STATE)
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(load(path)))
    save(path, DesiredState())
    assert seen == [STATE]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 4096,  # what a power cut leaves on some file systems
        b"\xff\xfe{}",
        b"garbage",
        b"[]",
        b"null",
        b'"text"',
        written()[:-1],
        written(version=2),
        b"[" * 100_000,
        b'{"version": 1, "tunnels": ' + b"[" * 100_000,
        b'{"version": 1, "running": true, "x": ' + b"9" * 10_000 + b"}",
    ],
)
def test_what_cannot_be_read_counts_as_nothing(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert load(path) == DesiredState()


def test_a_file_that_is_too_large_is_not_read_into_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desired_state, "_MAX_BYTES", len(written()) - 1)
    path.write_bytes(written())
    assert load(path) == DesiredState()


def test_no_file_no_folder_and_a_folder_in_its_place_count_as_nothing(path: Path) -> None:
    assert load(path) == load(path / "below" / "that") == DesiredState()
    path.mkdir()
    assert load(path) == DesiredState()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tunnels": "work-db"}, DesiredState((), running=True, config="/p.toml")),
        ({"tunnels": {"work-db": 1}}, DesiredState((), running=True, config="/p.toml")),
        ({"tunnels": ["work-db", 1, None]}, DesiredState(("work-db",), running=True, config="/p.toml")),
        ({"running": "yes"}, DesiredState(("work-db",), running=False, config="/p.toml")),
        ({"running": 1}, DesiredState(("work-db",), running=False, config="/p.toml")),
        ({"config": 7}, DesiredState(("work-db",), running=True, config=None)),
        ({"more": "of it"}, DesiredState(("work-db",), running=True, config="/p.toml")),
    ],
)
def test_a_part_that_makes_no_sense_counts_as_missing(
    changes: dict[str, Any], expected: DesiredState, path: Path
) -> None:
    path.write_bytes(written(**changes))
    assert load(path) == expected


@pytest.mark.parametrize("opened", [None, [], "x", {"vps": "x"}, {"vps": None}])
def test_tables_that_are_none_count_as_nothing(path: Path, opened: object) -> None:
    path.write_bytes(written(opened=opened))
    assert load(path) == DesiredState(("work-db",), running=True, config="/p.toml")
