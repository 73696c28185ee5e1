"""Keys in tokens: told from others, and what to do where they cannot be used."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from types import SimpleNamespace
from typing import cast

import asyncssh
import pytest

from tunnels.ssh import security_keys
from tunnels.ssh.security_keys import lives_in_a_token, touching, why_not_directly


def test_a_key_in_a_token_is_known_by_its_kind() -> None:
    for kind in (b"sk-ssh-ed25519@openssh.com", b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com"):
        assert lives_in_a_token(kind)
    assert not lives_in_a_token(b"ssh-ed25519")


def test_without_the_extra_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert (
        why_not_directly("id_sk") == "it lives in a security key: `ssh-add id_sk`, or install tunnels[fido2]"
    )


def test_a_key_that_wants_a_pin_is_for_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())
    plain, verified = (cast("asyncssh.SSHKey", SimpleNamespace(_flags=flags)) for flags in (0x01, 0x05))
    assert why_not_directly("id_sk", plain) == ""
    assert "PIN" in why_not_directly("id_sk", verified)


async def test_a_touch_is_asked_for_in_the_log_only_where_it_takes_a_while(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with touching("id_sk"):
        pass
    monkeypatch.setattr(security_keys, "_SAID_AFTER", 0.0)
    with touching("id_rsa", only=False):
        await asyncio.sleep(0)
    assert caplog.messages == []
    with touching("id_sk"):
        while not caplog.messages:
            await asyncio.sleep(0)
    assert caplog.messages == ["the security key waits for a touch, to log in with id_sk"]
