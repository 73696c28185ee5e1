"""Lists of algorithms: what asyncssh has, in the user's order, and which keys they allow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.errors import BadSetting, HostKeyRejected
from tunnels.ssh import algorithms
from tunnels.ssh.algorithms import (
    allowed,
    apply,
    check,
    check_ca_key,
    check_host_key,
    chosen,
    rsa_bits,
    signatures,
)
from tunnels.ssh.destination import Destination
from tunnels.ssh.known_hosts import new_line

WORK = Destination("work", "work.example.com", 22, "me")
DEFAULT = ("a", "b", "c")
KNOWN = ("a", "b", "c", "d", "dd")


# --- lists ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ("b,a", ["b", "a"]),
        ("a,a", ["a"]),
        ("+d", ["a", "b", "c", "d"]),
        ("+a,d", ["a", "b", "c", "d"]),
        ("-b", ["a", "c"]),
        ("-b,c", ["a"]),
        ("-*", []),
        ("^c", ["c", "a", "b"]),
        ("^d,c", ["d", "c", "a", "b"]),
        ("+d*", ["a", "b", "c", "d", "dd"]),
        ("-[a]", ["a", "b", "c"]),
        ("x", ["x"]),
    ],
)
def test_a_list_and_its_prefix_mean_what_they_mean_in_ssh(said: str, result: list[str]) -> None:
    assert apply(said.split(","), DEFAULT, KNOWN) == result


@given(st.sampled_from("+-^ "), st.lists(st.sampled_from([*KNOWN, "x", "*"]), min_size=1, max_size=5))
def test_a_list_names_nothing_twice_and_nothing_from_nowhere(prefix: str, names: list[str]) -> None:
    result = apply([prefix.strip() + names[0], *names[1:]], DEFAULT, KNOWN)
    assert len(result) == len(set(result))
    assert set(result) <= {*KNOWN, *names}
    if prefix == "-":
        assert set(result) <= set(DEFAULT) - set(names)


def test_what_asyncssh_does_not_have_is_left_out_in_the_users_order() -> None:
    said = ("nonsense@example.com", "aes256-ctr", "rijndael-cbc@lysator.liu.se", "aes128-ctr")
    assert chosen("Ciphers", said, (), WORK) == ["aes256-ctr", "aes128-ctr"]


@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("Ciphers", ("nonsense",)),
        ("KexAlgorithms", ("kexguess2@matt.ucc.asn.au",)),
        ("MACs", ("hmac-ripemd160",)),
        ("PreferredAuthentications", ("gssapi-with-mic", "hostbased")),
    ],
)
def test_where_nothing_is_left_it_is_said_with_what_there_is(keyword: str, said: tuple[str, ...]) -> None:
    with pytest.raises(
        BadSetting, match=f"none of the {keyword} of me@work.example.com is supported"
    ) as caught:
        chosen(keyword, said, (), WORK)
    assert said[0] in caught.value.message
    assert caught.value.hint


LISTS: dict[str, tuple[str, str]] = {
    "ciphers": ("Ciphers", "aes256-ctr"),
    "kex_algorithms": ("KexAlgorithms", "curve25519-sha256"),
    "macs": ("MACs", "hmac-sha2-256"),
    "host_key_algorithms": ("HostKeyAlgorithms", "ssh-ed25519"),
    "pubkey_accepted_algorithms": ("PubkeyAcceptedAlgorithms", "ssh-ed25519-cert-v01@openssh.com"),
    "ca_signature_algorithms": ("CASignatureAlgorithms", "ssh-ed25519"),
    "preferred_authentications": ("PreferredAuthentications", "publickey"),
}


@pytest.mark.parametrize("field", LISTS)
def test_check_names_what_is_left_out_and_of_which_nothing_is_left(field: str) -> None:
    keyword, good = LISTS[field]
    some: dict[str, Any] = {field: (good, "nonsense")}
    none: dict[str, Any] = {field: ("nonsense",)}
    (note,) = algorithms.notes(replace(WORK, **some))
    assert (note.keyword, note.value) == (keyword, "nonsense")
    check(replace(WORK, **some))
    with pytest.raises(BadSetting, match=f"none of the {keyword}"):
        check(replace(WORK, **none))


def test_what_is_taken_away_and_not_there_is_not_worth_a_note() -> None:
    assert algorithms.notes(replace(WORK, ciphers=("-nonsense", "3des-*"))) == []
    assert algorithms.notes(WORK) == []


# --- keys -----------------------------------------------------------------------------------------


def key(kind: str, **how: Any) -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind, **how)


ED25519, ECDSA = key("ssh-ed25519"), key("ecdsa-sha2-nistp256")
RSA, SHORT_RSA = key("ssh-rsa", key_size=2048), key("ssh-rsa", key_size=1024)


def pairs(*keys: Any) -> list[asyncssh.SSHKeyPair]:
    return list(asyncssh.load_keypairs(list(keys)))


def kinds(found: list[asyncssh.SSHKeyPair]) -> list[str]:
    return [pair.algorithm.decode() for pair in found]


@pytest.mark.parametrize(
    ("accepted", "left"),
    [
        ((), ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]),
        (("ssh-ed25519",), ["ssh-ed25519"]),
        (("rsa-sha2-512",), ["ssh-rsa"]),
        (("ecdsa-sha2-nistp256", "ssh-ed25519"), ["ssh-ed25519", "ecdsa-sha2-nistp256"]),
        (("ssh-ed25519-cert-v01@openssh.com",), []),
        (("-ssh-ed25519",), ["ecdsa-sha2-nistp256", "ssh-rsa"]),
    ],
)
def test_only_keys_of_an_accepted_kind_are_offered(accepted: tuple[str, ...], left: list[str]) -> None:
    destination = replace(WORK, pubkey_accepted_algorithms=accepted)
    assert kinds(allowed(pairs(ED25519, ECDSA, RSA), destination)) == left


def test_a_certificate_and_its_key_are_accepted_each_for_itself() -> None:
    certificate = RSA.generate_user_certificate(RSA.convert_to_public(), "me", principals=["me"])
    both = pairs((RSA, certificate))
    assert len(both) == 1 or kinds(both)[0].endswith("cert-v01@openssh.com")
    accepted = ("rsa-sha2-256-cert-v01@openssh.com",)
    left = kinds(
        allowed(pairs((RSA, certificate), ED25519), replace(WORK, pubkey_accepted_algorithms=accepted))
    )
    assert left
    assert all(kind.endswith("cert-v01@openssh.com") for kind in left)


def test_rsa_keys_that_are_too_short_are_not_offered() -> None:
    assert kinds(allowed(pairs(SHORT_RSA, RSA, ED25519), WORK)) == ["ssh-rsa", "ssh-rsa", "ssh-ed25519"]
    stricter = replace(WORK, required_rsa_size=2048)
    assert len(allowed(pairs(SHORT_RSA, RSA, ED25519), stricter)) == 2
    certificate = SHORT_RSA.generate_user_certificate(SHORT_RSA.convert_to_public(), "me", principals=["me"])
    assert allowed(pairs((SHORT_RSA, certificate)), stricter) == []


@pytest.mark.parametrize(("of", "bits"), [(RSA, 2048), (SHORT_RSA, 1024), (ED25519, None), (ECDSA, None)])
def test_the_bits_of_an_rsa_key_are_counted(of: asyncssh.SSHKey, bits: int | None) -> None:
    assert rsa_bits(of.public_data) == bits


@given(st.binary(max_size=64))
def test_no_bytes_make_the_counting_stumble(blob: bytes) -> None:
    assert rsa_bits(b"\0\0\0\x07ssh-rsa" + blob) in {None, *range(513)}


def test_signatures_of_certificates_are_those_of_their_keys() -> None:
    accepted = (
        "rsa-sha2-512-cert-v01@openssh.com",
        "rsa-sha2-256",
        "sk-ssh-ed25519-cert-v01@openssh.com",
        "ssh-ed25519",
        "nonsense",
    )
    assert signatures(accepted, WORK) == [
        "rsa-sha2-512",
        "rsa-sha2-256",
        "sk-ssh-ed25519@openssh.com",
        "ssh-ed25519",
    ]


# --- the server's keys ----------------------------------------------------------------------------


def test_a_host_key_that_is_too_short_is_refused() -> None:
    check_host_key(SHORT_RSA.public_data, WORK)
    check_host_key(ED25519.public_data, replace(WORK, required_rsa_size=4096))
    with pytest.raises(HostKeyRejected, match="RSA with 1024 bits, and RequiredRSASize is 2048"):
        check_host_key(SHORT_RSA.public_data, replace(WORK, required_rsa_size=2048))


def test_an_authority_of_another_kind_is_refused() -> None:
    check_ca_key(ED25519.public_data, WORK)
    only_rsa = replace(WORK, ca_signature_algorithms=("rsa-sha2-512",))
    check_ca_key(RSA.public_data, only_rsa)
    with pytest.raises(HostKeyRejected, match="signed with ssh-ed25519, which is none of its CASignature"):
        check_ca_key(ED25519.public_data, only_rsa)
    with pytest.raises(HostKeyRejected, match="RSA with 1024 bits"):
        check_ca_key(SHORT_RSA.public_data, replace(only_rsa, required_rsa_size=2048))


def test_the_keys_of_this_file_are_what_known_hosts_has() -> None:
    assert new_line("h", ED25519.public_data).split()[1] == "ssh-ed25519"
