from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from tests.ssh.blobs import ed25519, text
from tunnels.errors import BadSetting, HostKeyRejected
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_keys import HostKeyChecker

A = ed25519(1)


@pytest.fixture
def file(home: Path) -> Path:
    (home / ".ssh").mkdir()
    return home / ".ssh" / "known_hosts"


def destination(file: Path) -> Destination:
    return Destination("work", "h", 22, "me", user_known_hosts_files=(str(file),))


def write(file: Path, *lines: str) -> None:
    file.write_text("".join(f"{line}\n" for line in lines))


def test_a_list_of_revoked_keys_counts_before_everything_else(file: Path, home: Path) -> None:
    write(file, f"h {text(A)}")
    (home / "revoked").write_text(f"{text(A)} stolen\n")
    checker = HostKeyChecker(replace(destination(file), revoked_host_keys=str(home / "revoked")))

    with pytest.raises(HostKeyRejected, match="revoked"):
        checker.check(A)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")
def test_a_binary_list_of_revoked_keys_is_read_by_ssh_keygen(file: Path, home: Path) -> None:
    keys = {}
    for name in ("good", "bad"):
        subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", home / name], check=True)
        keys[name] = asyncssh.read_public_key(home / f"{name}.pub").public_data
    subprocess.run(["ssh-keygen", "-qkf", home / "krl", home / "bad.pub"], check=True)
    write(file, *(f"h {text(key)}" for key in keys.values()), f"@cert-authority * {text(A)}")
    checker = HostKeyChecker(replace(destination(file), revoked_host_keys=str(home / "krl")))

    checker.check(keys["good"])
    with pytest.raises(HostKeyRejected, match="revoked"):
        checker.check(keys["bad"])


def test_a_list_of_revoked_keys_that_is_missing_refuses_every_host(file: Path) -> None:
    with pytest.raises(BadSetting, match="RevokedHostKeys /nowhere is missing"):
        HostKeyChecker(replace(destination(file), revoked_host_keys="/nowhere")).load()
