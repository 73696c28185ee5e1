"""Each address of a server by itself."""

from __future__ import annotations

import socket

import pytest

from tests.e2e.bed.ports import LOOPBACK, RefusingPort
from tests.forwarding.fakes import black_hole
from tunnels.ssh import addresses
from tunnels.ssh.addresses import MAX_ADDRESSES, try_each
from tunnels.ssh.destination import Destination


def server(port: int) -> Destination:
    return Destination("db", "db.example.com", port, "me")


async def test_each_address_has_an_outcome_of_its_own() -> None:
    with RefusingPort() as nobody:
        assert await try_each((LOOPBACK,), server(nobody.port)) == {LOOPBACK: "refuses the connection"}
    with socket.create_server((LOOPBACK, 0)) as somebody:
        found = await try_each((LOOPBACK, "127.0.0.1%lo0"), server(somebody.getsockname()[1]))
        assert found.pop(LOOPBACK) == "answers now"
        assert "no address that can be used" in found.popitem()[1]


async def test_silence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "TIMEOUT", 0.05)
    with black_hole() as port:
        assert await try_each((LOOPBACK,), server(port)) == {LOOPBACK: "does not answer"}


async def test_of_very_many_addresses_some_are_enough() -> None:
    with RefusingPort() as nobody:
        many = [f"127.0.1.{number}" for number in range(100)]
        assert len(await try_each(many, server(nobody.port))) == MAX_ADDRESSES
