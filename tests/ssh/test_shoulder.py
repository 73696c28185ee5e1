"""What is seen of a connection of asyncssh, and that looking changes nothing; a real one is in test_watch."""

from __future__ import annotations

from typing import Any

import asyncssh
import pytest

from tunnels.ssh.destination import Destination
from tunnels.ssh.first_words import MAX_HEARD
from tunnels.ssh.shoulder import MAX_TRIES, Shoulder
from tunnels.ssh.symptoms import Seen

BASTION = Destination("bastion", "bastion.example.com", 22, "me")
KEY = asyncssh.generate_private_key("ssh-ed25519", comment="my key")
PAIR = asyncssh.load_keypairs([KEY])[0]


class Conn:
    """A connection with the methods of asyncssh's that are looked at; remembers that they were called."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.methods = ["none"]
        self.sign_error: Exception | None = None
        self._inpbuf = b""
        self._recv_handler: Any = lambda: self._note("_recv_handler")

    def _note(self, name: str) -> Any:
        self.called.append(name)
        return True

    def set_extra_info(self, **info: Any) -> None:
        self._note(f"set_extra_info {sorted(info)}")

    def _choose_alg(self, what: str, ours: list[bytes], theirs: list[bytes]) -> bytes:
        for name in ours:
            if name in theirs:
                return name
        raise asyncssh.KeyExchangeFailed("nothing in common")

    def validate_server_host_key(self, blob: bytes) -> asyncssh.SSHKey:
        self._note("validate")
        if blob != KEY.public_data:
            raise asyncssh.HostKeyNotVerifiable("no")
        return KEY

    async def public_key_auth_requested(self) -> asyncssh.SSHKeyPair:
        return PAIR

    async def send_userauth_request(
        self, method: bytes, *args: bytes, key: Any = None, trivial: bool = True
    ) -> None:
        self._note(f"send {method.decode()} {key is not None} {trivial}")
        if key is not None and self.sign_error is not None:
            raise self.sign_error

    def try_next_auth(self, *, next_method: bool = False) -> None:
        self._note(f"next {next_method}")

    def get_server_auth_methods(self) -> list[str]:
        return self.methods


class Looked:
    """A connection that is looked at, and what was seen of it."""

    def __init__(self, conn: Any, *, name: str | None = None) -> None:
        self.seen = Seen()
        self.steps: list[tuple[str, str, str | None]] = []
        Shoulder(conn, BASTION, self.seen, self._reached, name_of=lambda _: name).look()

    def _reached(self, step: str, detail: str, *, warning: str | None = None) -> None:
        self.steps.append((step, detail, warning))


def test_a_connection_of_another_asyncssh_is_not_harmed() -> None:
    Looked(object())


def test_what_is_said_before_the_version_is_kept_and_bounded() -> None:
    conn = Conn()
    looked = Looked(conn)
    conn._inpbuf = b"SSH-2.0-OpenSSH_9.6\r\n"
    assert conn._recv_handler()
    assert looked.seen.heard == b""
    conn._inpbuf = b"HTTP/1.1 400 Bad Request\r\n" + b"x" * 10_000
    conn._recv_handler()
    conn._inpbuf = b"second line"
    conn._recv_handler()
    assert looked.seen.heard.startswith(b"HTTP/1.1 400")
    assert len(looked.seen.heard) == MAX_HEARD
    assert conn.called == ["_recv_handler"] * 3


def test_the_version_is_the_end_of_the_banner() -> None:
    conn = Conn()
    looked = Looked(conn)
    conn.set_extra_info(send_cipher="x")
    assert looked.steps == []
    conn.set_extra_info(server_version="SSH-2.0-" + "x" * 1000)
    assert looked.steps == [("banner", ("SSH-2.0-" + "x" * 1000)[:MAX_HEARD], None)]
    assert len(conn.called) == 2


def test_algorithms_are_noted_when_the_key_comes_and_weak_ones_are_pointed_out() -> None:
    conn = Conn()
    looked = Looked(conn)
    assert conn._choose_alg("key exchange", [b"a-sha1"], [b"b", b"a-sha1"]) == b"a-sha1"
    assert conn._choose_alg("encryption", [b"gcm"], [b"gcm"]) == b"gcm"
    assert conn._choose_alg("compression", [b"none"], [b"none"]) == b"none"
    assert conn.validate_server_host_key(KEY.public_data) is KEY
    (kex, detail, warning), (host_key, _, unknown) = looked.steps
    assert (kex, detail, host_key) == ("kex", "a-sha1, gcm", "host-key")
    assert "weak" in (warning or "")
    assert "not on file" in (unknown or "")


def test_what_a_server_has_is_noted_where_nothing_is_common() -> None:
    conn = Conn()
    looked = Looked(conn)
    with pytest.raises(asyncssh.KeyExchangeFailed):
        conn._choose_alg("MAC", [b"good"], [b"bad", b"worse"])
    assert looked.seen.nothing_in_common == ("MAC", ("bad", "worse"))


def test_a_host_key_that_is_refused_stays_refused() -> None:
    conn = Conn()
    looked = Looked(conn)
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        conn.validate_server_host_key(b"another")
    assert [step for step, _, _ in looked.steps] == ["kex"]


async def offer(conn: Conn, *, signed: bool) -> None:
    assert await conn.public_key_auth_requested() is PAIR
    await conn.send_userauth_request(b"publickey", b"")
    if signed:
        await conn.send_userauth_request(b"publickey", b"", key=PAIR, trivial=False)


async def test_a_login_is_noted_from_what_is_offered_to_what_becomes_of_each_key() -> None:
    conn = Conn()
    looked = Looked(conn, name="~/.ssh/id")
    await conn.send_userauth_request(b"none")
    conn.try_next_auth()
    assert not looked.seen.methods, "`none` is what asyncssh begins with, and no offer"
    conn.methods = ["publickey", "password"]
    conn.try_next_auth()
    await offer(conn, signed=False)
    conn.try_next_auth()
    await conn.send_userauth_request(b"password", b"s3cret")
    assert list(looked.seen.methods) == ["publickey", "password"]
    assert looked.seen.tries == {"~/.ssh/id": "refused", "password": ""}
    assert "s3cret" not in repr(looked.seen)
    assert conn.called[-1] == "send password False True"


async def test_a_key_that_is_known_and_not_enough_is_not_called_refused() -> None:
    conn = Conn()
    looked = Looked(conn)
    conn.methods = ["password"]
    await offer(conn, signed=True)
    conn.try_next_auth()
    assert looked.seen.tries == {"my key": "known there, and more is wanted"}
    assert "send publickey True False" in conn.called


async def test_a_key_that_cannot_sign_is_told_from_one_that_is_refused() -> None:
    conn = Conn()
    looked = Looked(conn)
    conn.sign_error = ValueError("the agent says no")
    with pytest.raises(ValueError, match="says no"):
        await offer(conn, signed=True)
    conn.try_next_auth()
    assert looked.seen.tries == {"my key": "known there, and cannot sign: the agent says no"}


async def test_a_method_that_was_not_tried_is_not_refused() -> None:
    conn = Conn()
    looked = Looked(conn)
    await offer(conn, signed=False)
    conn.try_next_auth(next_method=True)
    assert looked.seen.tries == {"my key": ""}


async def test_a_server_that_asks_for_ever_fills_no_memory() -> None:
    conn = Conn()
    looked = Looked(conn)
    for number in range(MAX_TRIES * 2):
        await conn.send_userauth_request(f"method-{number}".encode())
        conn.try_next_auth()
    assert len(looked.seen.tries) == MAX_TRIES


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("20010101", "certificate, expired on 2001-"),
        ("20990101", "good until 20"),
        (0xFFFFFFFFFFFFFFFF, "(certificate)"),
    ],
)
async def test_the_end_of_a_certificate_stands_beside_its_name(before: str | int, words: str) -> None:
    certificate = KEY.generate_user_certificate(KEY, "me", valid_before=before)
    [pair, *_] = asyncssh.load_keypairs([(KEY, certificate)])

    class WithCertificate(Conn):
        async def public_key_auth_requested(self) -> asyncssh.SSHKeyPair:
            return pair

    conn = WithCertificate()
    looked = Looked(conn)
    await conn.public_key_auth_requested()
    await conn.send_userauth_request(b"publickey", b"")
    assert words in next(iter(looked.seen.tries))
