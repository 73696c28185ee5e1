"""What asyncssh calls back: every key is judged by our own check, and the end is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import asyncssh

from tunnels.core.question import NobodyThere
from tunnels.ssh.client import Client
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_keys import HostKeyChecker
from tunnels.ssh.login import Login

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
