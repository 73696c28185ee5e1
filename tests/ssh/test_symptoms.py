"""What the symptoms of a server tell, beyond the error; with real servers, in tests/e2e/test_doctor."""

from __future__ import annotations

import pytest

from tunnels.errors import (
    BadSetting,
    HandshakeFailed,
    HostUnreachable,
    LoginRefused,
    NameNotResolved,
    TunnelsError,
)
from tunnels.ssh.destination import Destination
from tunnels.ssh.symptoms import Seen, explain, weak

BASTION = Destination("bastion", "bastion.example.com", 2222, "me")
HUNG_UP = HostUnreachable("me@bastion hung up before the login")


def told(step: str, error: TunnelsError, seen: Seen, destination: Destination = BASTION) -> str:
    found = explain(step, error, destination, seen)
    return f"{found.message} → {found.hint}"


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        (b"HTTP/1.0 400 Bad Request\r\n", "a web server"),
        (b"<html><body>Welcome to our hotel", "a web server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "no SSH server but a TLS server →"),
        (b"Exceeded MaxStartups\r\n", "MaxStartups in its sshd_config"),
        (b"Not allowed at this time\r\n", "PerSourcePenalties"),
        (b"* OK IMAP4 ready\r\n", "no SSH server: it said “* OK IMAP4 ready”"),
        (b"", "fail2ban"),
    ],
)
def test_a_server_is_recognised_by_what_it_says_first(heard: bytes, words: str) -> None:
    assert words in told("banner", HUNG_UP, Seen(heard=heard))


def test_what_a_stranger_says_cannot_command_the_terminal() -> None:
    assert "\x1b" not in told("banner", HUNG_UP, Seen(heard=b"\x1b[2J\x1b]0;gone\x07\r\n"))


def test_a_server_that_says_nothing_at_all_is_told_from_one_that_hangs_up() -> None:
    silent = HostUnreachable("me@bastion did not finish the login within 30 s")
    assert "says nothing" in told("banner", silent, Seen())
    assert "hangs up before" in told("banner", HUNG_UP, Seen())


def test_a_private_address_that_does_not_answer_is_pointed_out() -> None:
    late = HostUnreachable("me@bastion did not answer in time", hint="a firewall may drop it")
    assert "or its VPN?" in told("tcp", late, Seen(addresses=("10.1.2.3",)))
    assert "a firewall may drop it" in told("tcp", late, Seen(addresses=("8.8.8.8",)))
    assert "is this machine online" in told("tcp", HostUnreachable("no way"), Seen(addresses=("8.8.8.8",)))


def test_where_several_addresses_fail_each_has_its_reason() -> None:
    both = Seen(outcomes={"8.8.8.8": "does not answer", "2001:4860::1": "refuses the connection"})
    assert "8.8.8.8 does not answer, 2001:4860::1 refuses the connection" in told("tcp", HUNG_UP, both)


def test_a_short_name_that_is_not_found_may_be_one_of_ssh_config() -> None:
    short = Destination("bastion", "bastion", 22, "me")
    unknown = NameNotResolved("the name bastion was not found", hint="check the name")
    assert "ssh -G bastion" in told("name", unknown, Seen(), short)
    assert "check the name" in told("name", unknown, Seen())


def test_no_common_algorithm_leads_to_what_allows_one_if_there_is_one() -> None:
    failed = HandshakeFailed("nothing in common")
    assert '`ciphers = "3des-cbc"` in the profile' in told(
        "kex", failed, Seen(nothing_in_common=("encryption", ("3des-cbc",)))
    )
    assert "this program has none of these" in told(
        "kex", failed, Seen(nothing_in_common=("encryption", ("rot13",)))
    )
    many = tuple(f"algorithm-{number}" for number in range(1000))
    assert len(told("kex", failed, Seen(nothing_in_common=("MAC", many)))) < 500


def test_a_refused_login_leads_to_the_key_the_user_or_the_method() -> None:
    refused = LoginRefused("me@bastion refused the login: tried id")
    keys = Seen(methods=("publickey",), tries={"~/.ssh/id": "refused"})
    assert "is me the right user? `ssh-copy-id -p 2222 me@bastion.example.com`" in told(
        "login", refused, keys
    )
    assert "takes no keys, only password" in told("login", refused, Seen(methods=("password",)))
    assert "there was nothing to try" in told("login", refused, Seen(methods=("publickey",)))
    assert "skipped id (others may read it)" in told(
        "login", refused, Seen(skipped=["id (others may read it)"])
    )
    expired = Seen(methods=("publickey",), tries={"id (certificate, expired on 2001-01-01 00:00)": "refused"})
    assert "renewed" in told("login", refused, expired)


def test_a_login_that_ends_in_the_middle_is_not_called_before_the_login() -> None:
    assert "in the middle of the login" in told("login", HUNG_UP, Seen())


def test_an_error_that_symptoms_say_nothing_about_stays_as_it_is() -> None:
    error = BadSetting("known_hosts cannot be read")
    for step in ("name", "tcp", "banner", "kex", "host-key", "login"):
        assert explain(step, error, BASTION, Seen()) is error


def test_how_a_login_went_is_one_line() -> None:
    seen = Seen(methods=("publickey", "password"), tries={"a": "refused", "b": "accepted", "c": ""})
    assert seen.how_it_went == "takes publickey, password; a refused; b accepted; c, without an answer"


def test_weak_algorithms_are_those_that_openssh_has_given_up() -> None:
    assert weak(["diffie-hellman-group14-sha1", "aes128-cbc", "hmac-sha1", "hmac-md5", "3des-cbc"]) == [
        *("diffie-hellman-group14-sha1", "aes128-cbc", "hmac-sha1", "hmac-md5", "3des-cbc")
    ]
    assert weak(["curve25519-sha256", "aes128-gcm@openssh.com", "hmac-sha2-256", "aes256-ctr"]) == []
    assert weak(["diffie-hellman-group14-sha256", "diffie-hellman-group16-sha512"]) == []
