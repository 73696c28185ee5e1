"""Certificates: where they are found, and what can be seen to be wrong with one."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from tunnels.ssh.certificates import Certificate, beside, read, read_all

NOW = 1_795_165_200
HOUR = 3600
AUTHORITY = asyncssh.generate_private_key("ssh-ed25519")
KEY = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()


def certificate(
    *, after: int = NOW - HOUR, before: int = NOW + HOUR, principals: tuple[str, ...] = ()
) -> asyncssh.SSHCertificate:
    return AUTHORITY.generate_user_certificate(
        KEY, "test", principals=principals, valid_after=after, valid_before=before
    )


def doubts(it: asyncssh.SSHCertificate) -> str:
    return Certificate("c", it).doubts("me", NOW)


def test_there_is_nothing_to_say_about_a_good_one() -> None:
    assert doubts(certificate()) == ""
    assert doubts(certificate(principals=("root", "me"))) == ""


@pytest.mark.parametrize(
    ("it", "said"),
    [
        (certificate(before=NOW), "it expired on 2026-11-20 "),
        (certificate(after=NOW + 1), "it is not valid before 2026-11-20 "),
        (certificate(principals=("alice", "bob")), "it names alice, bob and not me"),
    ],
)
def test_what_is_wrong_with_one_is_said(it: asyncssh.SSHCertificate, said: str) -> None:
    assert doubts(it).startswith(said)


def test_the_last_second_of_one_is_still_good() -> None:
    assert doubts(certificate(before=NOW + 1)) == ""


def test_one_for_a_host_lets_nobody_in() -> None:
    it = AUTHORITY.generate_host_certificate(KEY, "test", principals=["me"])
    assert "host certificate" in doubts(it)


def test_it_is_found_beside_its_key_and_beside_a_public_key_alone(home: Path) -> None:
    certificate().write_certificate(str(home / "id-cert.pub"))
    for name in ("id", "id.pub"):
        (found,) = beside(home / name)
        assert (found.name, found.key) == (str(home / "id-cert.pub"), KEY.public_data)


def test_what_cannot_be_read_is_left_out(home: Path) -> None:
    (home / "folder").mkdir()
    (home / "notes").write_text("buy milk\n")
    certificate().write_certificate(str(home / "good"))
    files = [str(home / name) for name in ("missing", "folder", "notes", "good")]
    assert [each.name for each in read_all(files)] == [str(home / "good")]
    assert read(home / "notes") == []
