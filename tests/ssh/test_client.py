"""What asyncssh calls back: every key is judged by our own check, and the end is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import asyncssh
import pytest

from tunnels.core.profile import HostKeyPolicy
from tunnels.core.question import NobodyThere
from tunnels.errors import LoginRefused
from tunnels.ssh.client import Client
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_keys import HostKeyChecker
from tunnels.ssh.keys import Keys
from tunnels.ssh.login import Login
from tunnels.ssh.offer import Offer

CHECKER = HostKeyChecker(Destination("a", "a", 22, "me"))
KEY = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()


def client() -> Client:
    where = Destination("bastion", "bastion", 22, "me")
    return Client(HostKeyChecker(where), Login(where, NobodyThere()))


def test_our_own_check_is_asked_from_the_beginning_and_asyncssh_trusts_nothing_by_itself() -> None:
    asked = client()
    conn = SimpleNamespace()
    asked.connection_made(cast("asyncssh.SSHClientConnection", conn))
    assert conn.validate_server_host_key == asked.guard.validate
    assert not asked.validate_host_public_key("bastion", "192.0.2.7", 22, KEY)
    assert not asked.validate_host_ca_key("bastion", "192.0.2.7", 22, KEY)


def test_the_end_is_told_to_whoever_listens_and_kept_for_whoever_comes_later() -> None:
    asked = client()
    first, second = ConnectionResetError(), None
    asked.connection_lost(first)
    heard: list[Exception | None] = []
    asked.on_lost = heard.append
    asked.connection_lost(second)
    assert asked.lost == [first, second]
    assert heard == [second]


async def test_a_secret_that_is_no_text_is_sent_as_it_is() -> None:
    class Known(NobodyThere):
        def recall(self, subject: str) -> str | None:
            return "p\udcff\ud800" if "bad" in subject else "p\udcff"

    for host, sent in {"good": b"p\xff", "bad": b"p??"}.items():
        asked = Client(CHECKER, Login(Destination(host, host, 22, "me"), Known()))
        assert await asked.password_auth_requested() == sent
        assert asked.kbdint_auth_requested() == ""
        assert await asked.kbdint_challenge_received("", "", "", []) == []


async def test_nobody_is_asked_for_ever() -> None:
    asked = Client(
        CHECKER,
        Login(Destination("a", "a", 22, "me", batch_mode=True), NobodyThere()),
    )
    assert await asked.password_auth_requested() is None
    assert await asked.kbdint_challenge_received("", "", "", [("Code:", False)]) is None


def test_a_password_that_must_be_changed_ends_the_login_and_says_what_to_do() -> None:
    with pytest.raises(LoginRefused, match="new password"):
        client().password_change_requested("Change it", "")


async def test_a_server_that_wants_the_password_changed_is_told_apart_on_the_wire() -> None:
    """RFC 4252 section 8: OpenSSH never sends that message, other servers do."""

    class Server(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            raise asyncssh.PasswordChangeRequired("It is too old")

    class Known(NobodyThere):
        def recall(self, subject: str) -> str | None:
            return "s3cret"

    host_key = asyncssh.generate_private_key("ssh-ed25519")
    async with asyncssh.listen("127.0.0.1", 0, server_factory=Server, server_host_keys=[host_key]) as server:
        asked = Client(
            HostKeyChecker(Destination("a", "a", 22, "me"), HostKeyPolicy.ACCEPT_NEW),
            Login(Destination("a", "a", 22, "me"), Known()),
        )
        with pytest.raises(LoginRefused, match="new password"):
            await asyncssh.connect(
                "127.0.0.1",
                server.get_port(),
                username="me",
                config=None,
                client_keys=None,
                agent_path=None,
                preferred_auth="password",  # that server asks for it in a challenge too
                known_hosts=([host_key.convert_to_public()], [], []),
                client_factory=lambda: asked,
            )


async def test_keys_are_handed_out_one_at_a_time_and_then_there_are_none() -> None:
    async def sign(_data: bytes, _algorithm: bytes) -> bytes:
        return b""

    asked = client()
    assert await asked.public_key_auth_requested() is None, "before anybody has looked for keys"
    one = Offer("one", KEY, sign)
    asked.keys = Keys(waiting=[one])
    assert [await asked.public_key_auth_requested() for _ in range(2)] == [one, None]
    assert asked.keys.describe() == "tried one"


async def test_once_it_has_let_us_in_a_server_is_told_nothing_more() -> None:
    class Known(NobodyThere):
        def recall(self, subject: str) -> str | None:
            return "a password"

    where = Destination("bastion", "bastion", 22, "me")
    asked = Client(CHECKER, Login(where, Known()))
    assert await asked.password_auth_requested() == b"a password"
    asked.entered()
    asked.auth_banner_received("hello", "en")
    assert await asked.password_auth_requested() is None
    assert asked.kbdint_auth_requested() is None
    assert await asked.kbdint_challenge_received("", "", "", [("Password: ", False)]) is None
    assert await asked.public_key_auth_requested() is None
    with pytest.raises(LoginRefused):
        asked.password_change_requested("new one", "en")
