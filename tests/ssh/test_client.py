"""What asyncssh calls back: a key is judged by our own check, and nothing that goes wrong there accepts one."""

from __future__ import annotations

import logging
from typing import cast

import asyncssh
import pytest

from tunnels.core.question import NobodyThere
from tunnels.errors import HostKeyRejected, LoginRefused
from tunnels.ssh.client import Client
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_keys import HostKeyChecker
from tunnels.ssh.keys import Keys
from tunnels.ssh.login import Login
from tunnels.ssh.offer import Offer

KEY = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
BAD = HostKeyRejected("the host key of bastion has changed")


class Checker:
    """A check whose outcome the test decides; remembers what it was shown."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.seen: list[tuple[object, ...]] = []

    def check(self, blob: bytes, algorithm: str) -> None:
        self.seen.append((blob, algorithm))
        if self._error is not None:
            raise self._error

    def check_ca(self, blob: bytes) -> None:
        self.seen.append((blob,))
        if self._error is not None:
            raise self._error


def client(checker: Checker | None) -> Client:
    return Client(
        cast("HostKeyChecker", checker), Login(Destination("bastion", "bastion", 22, "me"), NobodyThere())
    )


def both(asked: Client) -> list[bool]:
    """What is said of the key of a host, and of an authority."""
    return [
        asked.validate_host_public_key("bastion", "192.0.2.7", 22, KEY),
        asked.validate_host_ca_key("bastion", "192.0.2.7", 22, KEY),
    ]


def test_a_key_that_our_check_accepts_is_accepted() -> None:
    checker = Checker()
    asked = client(checker)
    assert both(asked) == [True, True]
    assert checker.seen == [(KEY.public_data, "ssh-ed25519"), (KEY.public_data,)]
    assert asked.verdict is None


def test_a_key_that_our_check_refuses_is_refused_and_why_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    asked = client(Checker(BAD))
    assert both(asked) == [False, False]
    assert asked.verdict is BAD
    assert caplog.records == [], "whoever gets it says it"


@pytest.mark.parametrize("checker", [Checker(ZeroDivisionError("a bug")), None])
def test_a_bug_in_the_check_accepts_no_key_and_does_not_end_the_connection(
    checker: Checker | None, caplog: pytest.LogCaptureFixture
) -> None:
    asked = client(checker)
    assert both(asked) == [False, False]
    assert asked.verdict is None
    assert [(each.levelno, each.message) for each in caplog.records] == [
        (logging.ERROR, "checking a host key ended with a bug")
    ] * 2
    assert all(each.exc_info for each in caplog.records)


def test_the_end_is_told_to_whoever_listens_and_kept_for_whoever_comes_later() -> None:
    asked = client(None)
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
        asked = Client(cast("HostKeyChecker", None), Login(Destination(host, host, 22, "me"), Known()))
        assert await asked.password_auth_requested() == sent
        assert asked.kbdint_auth_requested() == ""
        assert await asked.kbdint_challenge_received("", "", "", []) == []


async def test_nobody_is_asked_for_ever() -> None:
    asked = Client(
        cast("HostKeyChecker", None), Login(Destination("a", "a", 22, "me", batch_mode=True), NobodyThere())
    )
    assert await asked.password_auth_requested() is None
    assert await asked.kbdint_challenge_received("", "", "", [("Code:", False)]) is None


def test_a_password_that_must_be_changed_ends_the_login_and_says_what_to_do() -> None:
    with pytest.raises(LoginRefused, match="new password"):
        client(None).password_change_requested("Change it", "")


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
        asked = Client(cast("HostKeyChecker", None), Login(Destination("a", "a", 22, "me"), Known()))
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

    asked = client(None)
    assert await asked.public_key_auth_requested() is None, "before anybody has looked for keys"
    one = Offer("one", KEY, sign)
    asked.keys = Keys(waiting=[one])
    assert [await asked.public_key_auth_requested() for _ in range(2)] == [one, None]
    assert asked.keys.describe() == "tried one"
