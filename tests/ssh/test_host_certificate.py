"""What a host certificate says, in what ssh-keygen has made; whether real ssh agrees is in test_host_keys_openssh."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.ssh.host_certificate import HostCertificate, MalformedCertificate, is_certificate, parse
from tunnels.ssh.known_hosts import parse_keys

BEGIN, END = 1_700_000_000, 1_700_003_600


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, capture_output=True)


def blob_of(file: Path) -> bytes:

    return base64.b64decode(file.read_text().split()[1])


@pytest.fixture(scope="module", params=["ed25519", "rsa", "ecdsa"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("certificates")
    keygen("-t", request.param, "-N", "", "-f", found / "key")
    keygen("-t", "ed25519", "-N", "", "-f", found / "ca")
    return found


def made(folder: Path, *about: str) -> bytes:
    when = ("-V", "20231114221320Z:20231114231320Z")
    keygen("-s", folder / "ca", "-I", "name", *when, *about, folder / "key.pub")
    return blob_of(folder / "key-cert.pub")


def host(folder: Path, *about: str) -> HostCertificate:
    return parse(made(folder, "-h", *about))


def test_a_certificate_is_told_from_a_key(folder: Path) -> None:
    assert is_certificate(made(folder, "-h"))
    assert not is_certificate(blob_of(folder / "key.pub"))
    assert not is_certificate(b"")


def test_key_and_authority_are_those_that_it_was_made_of(folder: Path) -> None:
    found = host(folder, "-n", "h,h2")
    assert [found.key] == list(parse_keys((folder / "key.pub").read_text()))
    assert [found.authority] == list(parse_keys((folder / "ca.pub").read_text()))
    assert found.principals == ("h", "h2")
    assert (found.valid_after, found.valid_before) == (BEGIN, END)


def test_it_is_good_for_its_names_and_within_its_time(folder: Path) -> None:
    found = host(folder, "-n", "h")
    assert found.refusal("h", BEGIN) is None
    assert found.refusal("h", END - 1) is None
    assert found.refusal("h", BEGIN - 1) == "it is valid from 2023-11-14 22:13:20 UTC"
    assert found.refusal("h", END) == "it has expired at 2023-11-14 23:13:20 UTC"
    assert found.refusal("x", BEGIN) == "it is for h, and not for x"


def test_one_without_names_is_for_every_host_and_names_are_no_patterns(folder: Path) -> None:
    """As in OpenSSH 9.2."""
    assert host(folder).refusal("anything", BEGIN) is None
    assert host(folder, "-n", "*.example.com").refusal("a.example.com", BEGIN) is not None
    assert host(folder, "-n", "H").refusal("h", BEGIN) is not None


def test_the_certificate_of_a_user_is_none_of_a_host(folder: Path) -> None:
    assert "of a user" in str(parse(made(folder, "-n", "h")).refusal("h", BEGIN))


def test_conditions_that_are_not_known_are_not_met(folder: Path) -> None:
    found = parse(made(folder, "-n", "h", "-O", "critical:x@example.com=1"))
    assert found.critical_options
    good = host(folder)
    strange = HostCertificate(
        good.key, good.authority, b"", good.signature, 2, (), BEGIN, END, found.critical_options
    )
    assert "conditions" in str(strange.refusal("h", BEGIN))


def test_an_authority_that_signs_with_sha1_is_not_believed(folder: Path) -> None:
    good = host(folder)
    weak = b"\0\0\0\x07ssh-rsa\0\0\0\1x"
    for signature in (weak, b"", b"\0\0\0\x08ssh"):
        old = HostCertificate(good.key, good.authority, b"", signature, 2, (), BEGIN, END, b"")
        assert old.refusal("h", BEGIN) == "it is signed with SHA-1"


def test_every_piece_of_a_certificate_that_is_missing_is_noticed(folder: Path) -> None:
    whole = made(folder, "-h", "-n", "h")
    for length in range(len(whole)):
        with pytest.raises(MalformedCertificate):
            parse(whole[:length])
    with pytest.raises(MalformedCertificate):
        parse(whole + b"x")


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(content: bytes) -> None:
    is_certificate(content)
    with pytest.raises(MalformedCertificate):
        parse(b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com" + content)
