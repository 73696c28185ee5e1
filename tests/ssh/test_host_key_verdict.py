from __future__ import annotations

import pytest

from tests.ssh.blobs import ecdsa, ed25519, rsa, text
from tunnels.ssh.host_key_verdict import (
    Standing,
    certificate_authorities,
    host_key_algorithms,
    lookup,
    lookup_ca,
)
from tunnels.ssh.known_hosts import Entry, hashed_name, host_names, parse

A, B, C = ed25519(1), ed25519(2), ed25519(3)
R = rsa(1)
E = ecdsa(1)


def read(*lines: str) -> list[Entry]:
    return list(parse("\n".join(lines) + "\n", "/kh"))


# --- deciding -------------------------------------------------------------------------------------


def standing(blob: bytes, *lines: str, host: str = "h", port: int = 22, alias: str | None = None) -> Standing:
    return lookup(read(*lines), host_names(host, port, alias), blob).standing


def test_a_key_on_file_is_known() -> None:
    verdict = lookup(read(f"h {text(A)}", f"h {text(R)}"), ("h",), R)

    assert verdict.standing is Standing.KNOWN
    assert [entry.line for entry in verdict.entries] == [2]


def test_a_host_that_is_not_on_file_is_unknown() -> None:
    assert standing(A, f"other {text(A)}", f"@cert-authority h {text(A)}") is Standing.UNKNOWN


def test_another_key_is_a_changed_one_and_the_one_it_replaces_is_named_first() -> None:
    verdict = lookup(read(f"h {text(R)}", f"h {text(A)}"), ("h",), B)

    assert verdict.standing is Standing.CHANGED
    assert [entry.line for entry in verdict.entries] == [2, 1]
    assert not verdict.changed_type


def test_a_key_of_another_type_is_a_changed_one_too() -> None:
    verdict = lookup(read(f"h {text(A)}"), ("h",), R)

    assert verdict.standing is Standing.CHANGED
    assert verdict.changed_type


def test_a_revoked_key_is_revoked_even_where_nothing_else_is_on_file() -> None:
    assert standing(A, f"@revoked h {text(A)}") is Standing.REVOKED
    assert standing(A, f"h {text(A)}", f"@revoked * {text(A)}") is Standing.REVOKED
    assert standing(B, f"@revoked h {text(A)}") is Standing.UNKNOWN


@pytest.mark.parametrize("name", ["h", "[h]:2222"])
def test_a_key_is_revoked_under_both_names_of_a_host(name: str) -> None:
    lines = (f"[h]:2222 {text(A)}", f"@revoked {name} {text(A)}")

    assert standing(A, *lines, port=2222) is Standing.REVOKED


def test_another_port_is_another_host() -> None:
    assert standing(A, f"h {text(B)}", port=2222) is Standing.UNKNOWN
    assert standing(A, f"[h]:2222 {text(A)}") is Standing.UNKNOWN
    assert standing(A, f"[h]:2222 {text(A)}", port=2222) is Standing.KNOWN
    assert standing(A, f"[h]:2222 {text(B)}", port=2222) is Standing.CHANGED


def test_the_very_same_key_without_the_port_is_believed_while_there_is_none_with_it() -> None:
    assert standing(A, f"h {text(A)}", port=2222) is Standing.KNOWN
    assert standing(A, f"h {text(A)}", f"[h]:2222 {text(B)}", port=2222) is Standing.CHANGED


def test_an_alias_stands_for_name_and_port() -> None:
    assert standing(A, f"work {text(A)}", port=2222, alias="Work") is Standing.KNOWN
    assert standing(A, f"[h]:2222 {text(A)}", port=2222, alias="Work") is Standing.UNKNOWN


def test_a_hashed_name_is_found() -> None:
    hashed = hashed_name("[h]:2222", b"0123456789abcdefghij")

    assert standing(A, f"{hashed} {text(A)}", port=2222) is Standing.KNOWN
    assert standing(A, f"{hashed} {text(A)}", port=2223) is Standing.UNKNOWN


def test_authorities_are_those_of_the_host() -> None:
    entries = read(f"@cert-authority *.x {text(A)}", f"@cert-authority h {text(B)}", f"h {text(C)}")

    assert [entry.blob for entry in certificate_authorities(entries, ("h",))] == [B]
    assert lookup_ca(entries, ("h",), B).standing is Standing.KNOWN
    assert lookup_ca(entries, ("h",), A).standing is Standing.UNKNOWN
    assert lookup_ca(entries, ("h",), C).standing is Standing.UNKNOWN


def test_a_revoked_authority_is_revoked() -> None:
    entries = read(f"@cert-authority h {text(B)}", f"@revoked * {text(B)}")

    assert lookup_ca(entries, ("h",), B).standing is Standing.REVOKED


# --- what to ask the server for -------------------------------------------------------------------


def algorithms(*lines: str, configured: tuple[str, ...] = (), port: int = 22) -> list[str]:
    return host_key_algorithms(read(*lines), host_names("h", port), configured)


PLAIN = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
]
CERTIFIED = [f"{name.removesuffix('@openssh.com')}-cert-v01@openssh.com" for name in PLAIN]


def test_a_new_host_is_asked_for_its_best_key_as_ssh_asks() -> None:
    assert algorithms() == CERTIFIED + PLAIN


def test_the_types_on_file_are_asked_for_first_and_the_others_after_them() -> None:
    got = algorithms(f"h {text(R)}")

    assert got[:5] == [*CERTIFIED[-2:], *PLAIN[-2:], "ssh-ed25519-cert-v01@openssh.com"]
    assert set(got) == set(algorithms())
    assert algorithms(f"[h]:2222 {text(E)}", port=2222)[1] == "ecdsa-sha2-nistp256"


def test_certificates_of_every_type_come_first_where_an_authority_is_on_file() -> None:
    lines = (f"@cert-authority * {text(A)}", f"h {text(R)}")
    assert set(algorithms(*lines)[:8]) == set(CERTIFIED)
    assert algorithms(*lines)[0] == "rsa-sha2-512-cert-v01@openssh.com"
    assert algorithms(f"@cert-authority other {text(A)}", lines[1]) == algorithms(lines[1])


def test_what_the_user_has_chosen_is_kept_to() -> None:
    chosen = ("ssh-rsa", "ssh-dss", "x-future", "ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com")

    certified = "ssh-ed25519-cert-v01@openssh.com"
    assert algorithms(configured=chosen) == ["ssh-rsa", "ssh-ed25519", certified]
    assert algorithms(f"h {text(A)}", configured=chosen) == ["ssh-ed25519", certified, "ssh-rsa"]
    assert algorithms(f"@cert-authority h {text(B)}", configured=chosen) == [
        certified,
        "ssh-rsa",
        "ssh-ed25519",
    ]
    assert algorithms(configured=("x-future",)) == []
