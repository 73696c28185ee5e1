"""What a hostile server may try during a key exchange. Real servers are in test_host_keys_sshd and in the e2e tests."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import asyncssh
import pytest

from tests.ssh.blobs import text
from tunnels.core.profile import HostKeyPolicy
from tunnels.errors import HostKeyRejected, TunnelsError
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_key_guard import TRUST_NOTHING, HostKeyGuard
from tunnels.ssh.host_keys import HostKeyChecker, UnconfirmedHostKey

STRICT, ACCEPT_NEW = HostKeyPolicy.STRICT, HostKeyPolicy.ACCEPT_NEW


@pytest.fixture
def file(home: Path) -> Path:
    (home / ".ssh").mkdir()
    return home / ".ssh" / "known_hosts"


def new_key(kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind)


def public(key: asyncssh.SSHKey) -> bytes:
    return key.convert_to_public().public_data


def trusting(file: Path, *keys: asyncssh.SSHKey, host: str = "h", **changes: Any) -> HostKeyChecker:
    file.write_text("".join(f"{host} {text(public(key))}\n" for key in keys))
    return HostKeyChecker(
        Destination("h", "h", 22, "me", user_known_hosts_files=(str(file),), **changes), STRICT
    )


def refused(guard: HostKeyGuard, shown: bytes) -> TunnelsError:
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        guard.validate(shown)
    assert guard.verdict is not None
    return guard.verdict


def certificate(authority: asyncssh.SSHKey, key: asyncssh.SSHKey, **about: Any) -> bytes:
    made = authority.generate_host_certificate(key.convert_to_public(), "cert", principals=["h"], **about)
    return made.public_data


def trusting_authority(file: Path, authority: asyncssh.SSHKey, *more: str) -> HostKeyChecker:
    file.write_text("".join(f"{line}\n" for line in (f"@cert-authority h {text(public(authority))}", *more)))
    return HostKeyChecker(Destination("h", "h", 22, "me", user_known_hosts_files=(str(file),)), STRICT)


# --- one exchange ---------------------------------------------------------------------------------


def test_the_key_on_file_is_returned_for_the_signature_to_be_checked_with(file: Path) -> None:
    key = new_key()
    guard = HostKeyGuard(trusting(file, key))
    assert guard.validate(public(key)).public_data == public(key) == guard.key


def test_another_key_is_refused_and_why_is_kept(file: Path) -> None:
    guard = HostKeyGuard(trusting(file, new_key()))
    assert "has changed" in refused(guard, public(new_key())).message
    assert guard.key is None


@pytest.mark.parametrize(
    "shown",
    [
        b"",
        b"\0\0\0\x0bssh-ed25519",
        b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + b"\1" * 31,
        b"\xff" * 40,
        b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com",
        b"\0\0\0\x1cssh-rsa-cert-v01@openssh.com" + b"\xff" * 100,
        b"\0\0\0\x07ssh-foo\0\0\0\1x",
    ],
)
def test_a_key_that_cannot_be_read_is_refused(shown: bytes, file: Path) -> None:
    file.write_text("")
    checker = HostKeyChecker(Destination("h", "h", 22, "me", user_known_hosts_files=(str(file),)), ACCEPT_NEW)
    assert isinstance(refused(HostKeyGuard(checker), shown), HostKeyRejected)
    assert file.read_text() == ""


def test_a_bug_in_the_check_accepts_no_key(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = new_key()
    checker = trusting(file, key)
    checker.check = cast("Any", lambda blob: 1 / 0)  # type: ignore[method-assign]
    guard = HostKeyGuard(checker)
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        guard.validate(public(key))
    assert guard.key is None
    assert [(each.levelno, each.message) for each in caplog.records] == [
        (logging.ERROR, "checking a host key ended with a bug")
    ]


def test_a_key_of_a_type_that_was_not_asked_for_is_refused_although_it_is_on_file(file: Path) -> None:
    key = new_key("ecdsa-sha2-nistp256")
    guard = HostKeyGuard(trusting(file, key, host_key_algorithms=("ssh-ed25519",)))
    assert "not asked for" in refused(guard, public(key)).message


def test_a_signature_with_sha1_counts_only_where_it_was_asked_for(file: Path) -> None:
    key = new_key("ssh-rsa")
    weak, good = (key.sign(b"data", name) for name in (b"ssh-rsa", b"rsa-sha2-256"))
    modern = HostKeyGuard(trusting(file, key)).validate(public(key))
    assert modern.verify(b"data", good)
    assert not modern.verify(b"data", weak)
    asked = HostKeyGuard(trusting(file, key, host_key_algorithms=("ssh-rsa",))).validate(public(key))
    assert asked.verify(b"data", weak)


def test_an_rsa_key_that_can_be_broken_is_refused(file: Path) -> None:
    blob = b"\0\0\0\x07ssh-rsa\0\0\0\3\1\0\1" + (97).to_bytes(4, "big") + b"\0" + b"\xc1" * 96
    file.write_text(f"h {text(blob)}\n")
    checker = HostKeyChecker(Destination("h", "h", 22, "me", user_known_hosts_files=(str(file),)))
    with pytest.raises(HostKeyRejected, match="RSA with 768 bits"):
        checker.check(blob)


# --- certificates ---------------------------------------------------------------------------------


def test_a_certificate_of_an_authority_of_a_kind_that_is_not_allowed_is_none(file: Path) -> None:
    authority, key = new_key(), new_key()
    checker = trusting_authority(file, authority)
    checker.destination = replace(checker.destination, ca_signature_algorithms=("rsa-sha2-512",))
    error = refused(HostKeyGuard(checker), certificate(authority, key))
    assert "CASignatureAlgorithms" in error.message


def test_a_good_certificate_is_taken_and_the_key_in_it_must_sign(file: Path) -> None:
    authority, key = new_key(), new_key()
    guard = HostKeyGuard(trusting_authority(file, authority))
    assert guard.validate(certificate(authority, key)).public_data == public(key)


def test_a_certificate_that_its_authority_has_not_signed_is_forged(file: Path) -> None:
    authority, key = new_key(), new_key()
    good = certificate(authority, key)
    guard = HostKeyGuard(trusting_authority(file, authority, f"h {text(public(key))}"))
    assert "forged" in refused(guard, good[:-1] + bytes([good[-1] ^ 1])).message


def test_a_bad_certificate_leaves_the_plain_key_to_be_judged(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, key = new_key(), new_key()
    expired = certificate(authority, key, valid_after=0, valid_before=1000)
    error = refused(HostKeyGuard(trusting_authority(file, authority)), expired)
    assert "has expired at 1970-01-01 00:16:40 UTC" in error.message
    guard = HostKeyGuard(trusting_authority(file, authority, f"h {text(public(key))}"))
    assert guard.validate(expired).public_data == public(key)
    assert "has expired" in caplog.text


def test_a_certificate_that_was_not_asked_for_is_judged_by_all_the_same_rules(file: Path, home: Path) -> None:
    """With asyncssh alone, a server could show one and so hide a revoked key."""
    authority, key = new_key(), new_key()
    (home / "revoked").write_text(f"{text(public(key))}\n")
    checker = trusting_authority(file, authority)
    checker = HostKeyChecker(
        Destination(
            "h", "h", 22, "me", user_known_hosts_files=(str(file),), revoked_host_keys=str(home / "revoked")
        ),
        ACCEPT_NEW,
    )
    assert "is revoked by" in refused(HostKeyGuard(checker), certificate(authority, key)).message


def test_a_certificate_can_be_revoked_by_its_serial_number(file: Path, home: Path) -> None:
    authority, key = new_key(), new_key()
    (home / "ca.pub").write_text(f"{text(public(authority))}\n")
    (home / "serials").write_text("serial: 7\n")
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", "krl", "-s", "ca.pub", "serials"], check=True, cwd=home)
    trusting_authority(file, authority, f"h {text(public(key))}")
    where = Destination(
        "h", "h", 22, "me", user_known_hosts_files=(str(file),), revoked_host_keys=str(home / "krl")
    )
    revoked, good = (certificate(authority, key, serial=number) for number in (7, 8))
    assert "is revoked by" in refused(HostKeyGuard(HostKeyChecker(where)), revoked).message
    HostKeyGuard(HostKeyChecker(where)).validate(good)


# --- the exchanges after the first ----------------------------------------------------------------


def test_the_key_may_not_change_in_the_middle_of_a_connection_even_to_one_that_is_on_file(file: Path) -> None:
    one, two = new_key(), new_key()
    guard = HostKeyGuard(trusting(file, one, two))
    guard.validate(public(one))
    guard.validate(public(one))
    assert "in the middle of the connection" in refused(guard, public(two)).message


def test_a_certificate_of_another_key_is_not_taken_at_a_rekeying(file: Path) -> None:
    authority, one, two = new_key(), new_key(), new_key()
    guard = HostKeyGuard(trusting_authority(file, authority, f"h {text(public(one))}"))
    guard.validate(public(one))
    assert "in the middle" in refused(guard, certificate(authority, two)).message


def test_a_certificate_may_expire_while_the_connection_is_up(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short-lived certificates and long-lived tunnels go together, as they do with ssh."""
    authority, key = new_key(), new_key()
    guard = HostKeyGuard(trusting_authority(file, authority))
    shown = certificate(authority, key, valid_after=0, valid_before=int(time.time()) + 60)
    guard.validate(shown)
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    guard.validate(shown)
    refused(HostKeyGuard(trusting_authority(file, authority)), shown)


# --- with asyncssh --------------------------------------------------------------------------------


class Server(asyncssh.SSHServer):
    """Takes every login, and remembers that there was one."""

    made: ClassVar[list[Any]]
    logins: ClassVar[list[str]]

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.made.append(conn)

    def begin_auth(self, username: str) -> bool:
        self.logins.append(username)
        return False


@asynccontextmanager
async def serving(*keys: asyncssh.SSHKey) -> AsyncIterator[tuple[int, type[Server]]]:
    class Ours(Server):
        made: ClassVar[list[Any]] = []
        logins: ClassVar[list[str]] = []

    server = await asyncssh.create_server(Ours, "127.0.0.1", 0, server_host_keys=list(keys))
    async with server:
        yield server.get_port(), Ours


class Client(asyncssh.SSHClient):
    def __init__(self, guard: HostKeyGuard | None) -> None:
        self.guard = guard
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        if self.guard is not None:
            self.guard.install(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def connecting(port: int, factory: Callable[[], Client], **options: Any) -> Any:
    return asyncssh.connect(
        "127.0.0.1",
        port,
        client_factory=factory,
        known_hosts=TRUST_NOTHING,
        config=None,
        username="me",
        client_keys=None,
        agent_path=None,
        x509_trusted_certs=None,
        **options,
    )


async def test_a_later_asyncssh_that_did_not_ask_the_guard_would_connect_to_nothing() -> None:
    async with serving(new_key()) as (port, server):
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await connecting(port, lambda: Client(None))
        assert server.logins == []


async def test_a_server_that_changes_its_key_at_a_rekeying_loses_us(file: Path) -> None:
    one, two = new_key(), new_key()
    checker = HostKeyChecker(Destination("h", "h", 22, "me", user_known_hosts_files=(str(file),)), ACCEPT_NEW)
    guard = HostKeyGuard(checker)
    async with serving(one) as (port, server):
        client = Client(guard)
        conn = await connecting(port, lambda: client, server_host_key_algs=["ssh-ed25519"])
        async with conn:
            (made,) = server.made
            made._server_host_keys = {b"ssh-ed25519": asyncssh.load_keypairs([two])[0]}
            made._send_kexinit()
            made._kexinit_sent = True
            exc = await asyncio.wait_for(client.lost, 10)
    assert isinstance(exc, asyncssh.HostKeyNotVerifiable)
    assert "in the middle of the connection" in str(guard.verdict)
    assert text(public(two)) not in file.read_text()


async def test_a_server_whose_key_is_not_good_sees_no_login(file: Path) -> None:
    checker = HostKeyChecker(Destination("h", "h", 22, "me", user_known_hosts_files=(str(file),)))
    guard = HostKeyGuard(checker)
    async with serving(new_key()) as (port, server):
        with pytest.raises(asyncssh.HostKeyNotVerifiable):
            await connecting(port, lambda: Client(guard))
        assert isinstance(guard.verdict, UnconfirmedHostKey)
        assert server.logins == []
