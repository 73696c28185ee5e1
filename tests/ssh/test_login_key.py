"""The public key of a login, and a new one."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination
from tunnels.ssh.login_key import new_key, public_key_of

THERE = Destination("vps", "vps.example.com", 22, "me")


def test_a_new_key_is_for_its_owner_alone_and_can_be_read_again(tmp_path: Path) -> None:
    made = new_key(tmp_path / "keys" / "work", "tunnels work")
    assert stat.S_IMODE((tmp_path / "keys" / "work").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert made.line.startswith("ssh-ed25519 ")
    assert made.line.endswith(" tunnels work")
    found = public_key_of(replace(THERE, identity_files=(made.identity,)))
    assert found == made
    private = asyncssh.read_private_key(made.identity)
    assert private.export_public_key().decode().strip() == made.line


@pytest.mark.parametrize("name", ["work", "work.pub"])
def test_neither_half_of_a_key_is_overwritten(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("dear")
    with pytest.raises(BadSetting, match="exists already"):
        new_key(tmp_path / "work", "tunnels work")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "dear")]


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "work").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadSetting, match="exists already"):
        new_key(tmp_path / "work", "tunnels work")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSetting, match="no key could be written"):
        new_key(tmp_path / "file" / "work", "tunnels work")


def test_the_first_key_with_a_public_half_is_the_one(tmp_path: Path) -> None:
    made = new_key(tmp_path / "second", "second")
    files = (str(tmp_path / "first"), made.identity)
    assert public_key_of(replace(THERE, identity_files=files)) == made
    assert public_key_of(replace(THERE, identity_files=(f"{made.identity}.pub",))) == made


def test_what_is_no_public_key_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "id.pub").write_text("not a key\n")
    (tmp_path / "folder.pub").mkdir()
    files = (str(tmp_path / "id"), str(tmp_path / "folder"))
    assert public_key_of(replace(THERE, identity_files=files)) is None
