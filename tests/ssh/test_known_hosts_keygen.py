"""What `tunnels.ssh.known_hosts` reads and writes, with ssh-keygen as the judge."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from tunnels.ssh.host_key_verdict import Standing, lookup
from tunnels.ssh.known_hosts import matches, new_line, parse, parse_keys
from tunnels.ssh.public_key import fingerprint, key_type_of, short_type

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")


def ed25519(number: int) -> bytes:
    return b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([number]) * 32


def text(blob: bytes) -> str:
    return f"{key_type_of(blob)} {base64.b64encode(blob).decode()}"


A, B = ed25519(1), ed25519(2)


def keygen(*arguments: str | Path) -> str:
    return subprocess.run(["ssh-keygen", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("key_type", ["ed25519", "rsa", "ecdsa"])
def test_fingerprints_are_those_of_ssh_keygen(key_type: str, tmp_path: Path) -> None:
    keygen("-q", "-t", key_type, "-N", "", "-f", tmp_path / "key")
    (blob,) = parse_keys((tmp_path / "key.pub").read_text())
    said = keygen("-l", "-f", tmp_path / "key.pub").split()

    assert fingerprint(blob) == said[1]
    assert f"({short_type(key_type_of(blob))})" == said[-1]


@pytest.mark.parametrize("name", ["host.example.com", "[host.example.com]:2222", "192.0.2.1", "::1"])
def test_names_that_ssh_keygen_hashes_are_found(name: str, tmp_path: Path) -> None:
    file = tmp_path / "kh"
    file.write_text(f"{name} {text(A)}\nother {text(B)}\n")
    keygen("-q", "-H", "-f", file)
    entries = list(parse(file.read_text()))

    assert all(entry.hosts.startswith("|1|") for entry in entries)
    assert lookup(entries, (name,), A).standing is Standing.KNOWN
    assert lookup(entries, (name,), B).standing is Standing.CHANGED


@pytest.mark.parametrize("name", ["host.example.com", "[host.example.com]:2222"])
def test_ssh_keygen_finds_what_is_written_here(name: str, tmp_path: Path) -> None:
    file = tmp_path / "kh"
    file.write_text(new_line(name, A) + new_line(name, B, salt=b"x" * 20))

    found = keygen("-F", name, "-f", file)

    assert "line 1" in found
    assert "line 2" in found


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ("*.example.com,!bad.example.com", "bad.example.com"),
        ("*.example.com,!bad.example.com", "good.example.com"),
        ("H?st", "host"),
        ("h[ao]st", "host"),
        ("a,b,c", "b"),
        ("[*]:2222", "[x]:2222"),
        ("x*", "[x]:2222"),
    ],
)
def test_ssh_keygen_and_we_agree_about_patterns(hosts: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / "kh"
    file.write_text(f"{hosts} {text(A)}\n")
    found = subprocess.run(["ssh-keygen", "-F", name, "-f", file], check=False, capture_output=True)

    assert matches(hosts, name) is (found.returncode == 0)
