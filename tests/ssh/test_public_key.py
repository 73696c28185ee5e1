"""Public keys as bytes; what ssh-keygen says of them is in test_known_hosts_keygen."""

from __future__ import annotations

import pytest

from tests.ssh.blobs import ecdsa, ed25519, rsa, string
from tunnels.ssh.public_key import (
    SIGNATURES,
    fingerprint,
    key_type_of,
    short_type,
    shown,
    text,
    with_certificate,
    without_certificate,
)


def test_types_have_the_names_that_people_know() -> None:
    assert [short_type(key_type_of(blob)) for blob in (ed25519(1), rsa(1), ecdsa(1))] == [
        "ED25519",
        "RSA",
        "ECDSA",
    ]
    assert short_type("ssh-dss") == "DSA"


def test_keys_in_hardware_have_the_names_that_ssh_keygen_gives_them() -> None:
    assert short_type("sk-ssh-ed25519@openssh.com") == "ED25519-SK"
    assert short_type("sk-ecdsa-sha2-nistp256@openssh.com") == "ECDSA-SK"


def test_a_key_is_shown_by_its_type_and_fingerprint() -> None:
    assert shown(ed25519(1)) == f"ED25519 {fingerprint(ed25519(1))}"
    assert text(string(b"ssh-dss")) == "ssh-dss AAAAB3NzaC1kc3M="


def test_what_a_hostile_server_calls_its_key_is_not_repeated() -> None:
    assert shown(string(b"ssh-\x1b[2J" * 1000)).startswith("unknown SHA256:")


def test_a_blob_that_makes_no_sense_has_no_type() -> None:
    assert key_type_of(b"") == key_type_of(b"\0\0\0\x09short") == ""


@pytest.mark.parametrize("algorithm", [name for names in SIGNATURES.values() for name in names])
def test_every_algorithm_has_one_for_certificates_and_comes_back_from_it(algorithm: str) -> None:
    assert with_certificate(algorithm).endswith("-cert-v01@openssh.com")
    assert without_certificate(with_certificate(algorithm)) == algorithm == without_certificate(algorithm)
