"""What of a key file can be seen without its passphrase."""

from __future__ import annotations

import os
from pathlib import Path

import asyncssh
import pytest

from tunnels.ssh.key_file import Skipped, public_half, read

KEY = asyncssh.generate_private_key("ssh-ed25519")


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def half(path: Path) -> bytes | None:
    found = public_half(path)
    return None if found is None else found.public_data


@pytest.mark.filterwarnings("ignore")  # one round of bcrypt is enough for a test
def test_the_public_half_is_in_the_clear_in_an_encrypted_file(home: Path) -> None:
    path = write(home / "id", KEY.export_private_key(passphrase="secret", rounds=1))
    assert half(path) == KEY.public_data
    found = read(path, public_half(path))
    assert found.private is None
    assert found.public is not None


def test_an_old_encrypted_file_has_none_but_the_one_beside_it_has(home: Path) -> None:
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
    path = write(home / "id", key.export_private_key("pkcs1-pem", passphrase="x", cipher_name="aes128-cbc"))
    assert half(path) is None
    assert read(path, None).private is None
    key.write_public_key(f"{path}.pub")
    assert half(path) == key.public_data


def test_a_public_key_alone_is_a_public_half(home: Path) -> None:
    path = write(home / "id.pub", KEY.export_public_key(), 0o644)
    assert half(path) == half(home / "id") == KEY.public_data
    with pytest.raises(Skipped, match="the agent does not have its private half"):
        read(path, public_half(path))


def test_the_private_half_counts_and_not_a_stale_file_beside_it(home: Path) -> None:
    path = write(home / "id", KEY.export_private_key())
    asyncssh.generate_private_key("ssh-ed25519").write_public_key(f"{path}.pub")
    assert half(path) == KEY.public_data


def test_nobody_waits_for_a_pipe_that_nobody_fills(home: Path) -> None:
    os.mkfifo(home / "id", 0o600)
    assert half(home / "id") is None
    with pytest.raises(Skipped):
        read(home / "id", None)


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 100_000, b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA"]
)
def test_what_is_no_key_is_skipped(home: Path, data: bytes) -> None:
    path = write(home / "id", data)
    assert half(path) is None
    with pytest.raises(Skipped):
        read(path, None)
