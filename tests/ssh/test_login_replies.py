"""Hearing what a server says about a login; with a real sshd this is tested in tests/e2e/test_factors.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import asyncssh
import pytest
from asyncssh.packet import Boolean, NameList, SSHPacket

from tunnels.ssh.login_replies import MAX_METHODS, MSG_USERAUTH_FAILURE, listen


class Conn:
    """What of an asyncssh connection is used."""

    def __init__(self) -> None:
        self.handled: list[bytes] = []
        self._packet_handlers: Any = {MSG_USERAUTH_FAILURE: Conn._handle}
        self._auth = SimpleNamespace(_method=b"password")

    def _handle(self, kind: int, number: int, packet: SSHPacket) -> None:
        self.handled.append(packet.get_remaining_payload())

    def receive(self, payload: bytes) -> None:
        self._packet_handlers[MSG_USERAUTH_FAILURE](self, MSG_USERAUTH_FAILURE, 7, SSHPacket(payload))


def hear(conn: Conn) -> list[tuple[str, tuple[str, ...], bool]]:
    heard: list[tuple[str, tuple[str, ...], bool]] = []

    def take(method: str, methods: tuple[str, ...], *, partial: bool) -> None:
        heard.append((method, methods, partial))

    listen(cast("asyncssh.SSHClientConnection", conn), take)
    return heard


@pytest.mark.parametrize("partial", [True, False])
def test_a_reply_is_heard_and_reaches_asyncssh_as_it_was(partial: bool) -> None:
    conn = Conn()
    heard = hear(conn)
    payload = NameList([b"publickey", b"password"]) + Boolean(partial)
    conn.receive(payload)
    assert heard == [("password", ("publickey", "password"), partial)]
    assert conn.handled == [payload]


def test_a_broken_reply_is_left_to_asyncssh() -> None:
    conn = Conn()
    heard = hear(conn)
    conn.receive(b"\xff")
    assert heard == []
    assert conn.handled == [b"\xff"]


def test_what_is_kept_of_a_reply_is_bounded() -> None:
    conn = Conn()
    heard = hear(conn)
    conn.receive(NameList([b"\xff" * 1000] * 1000) + Boolean(False))
    assert len(heard[0][1]) == MAX_METHODS
    assert len("".join(heard[0][1])) < 10_000


def test_without_the_names_of_asyncssh_nothing_is_heard_and_nothing_breaks() -> None:
    conn = Conn()
    conn._packet_handlers = None
    assert hear(conn) == []


def test_asyncssh_has_the_names() -> None:
    assert MSG_USERAUTH_FAILURE in asyncssh.SSHClientConnection._packet_handlers
