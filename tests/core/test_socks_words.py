"""What a client of a SOCKS proxy says, held against our own server."""

from __future__ import annotations

import pytest

from tunnels.core.socks import ConnectRequest, Fail, SocksServer
from tunnels.core.socks_words import (
    BIND,
    CONNECT,
    REFUSED_COMMAND,
    UDP_ASSOCIATE,
    connect_request,
    reply_text,
)


def test_our_server_understands_it() -> None:
    *_, request = SocksServer().receive(b"\x05\x01\x00" + connect_request(CONNECT, "intranet.corp", 443))
    assert request == ConnectRequest("intranet.corp", 443)


@pytest.mark.parametrize("command", [BIND, UDP_ASSOCIATE])
def test_our_server_refuses_what_it_cannot_carry(command: int) -> None:
    *_, answer = SocksServer().receive(b"\x05\x01\x00" + connect_request(command, "x", 1))
    assert isinstance(answer, Fail)
    assert answer.reply[1] == REFUSED_COMMAND


def test_a_name_beyond_ascii_is_asked_for_as_name_servers_know_it() -> None:
    assert b"xn--bcher-kva.example" in connect_request(CONNECT, "bücher.example", 80)


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_a_name_that_does_not_fit_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="bytes"):
        connect_request(CONNECT, name, 80)


def test_a_code_without_a_word_is_said_as_a_number() -> None:
    assert (reply_text(5), reply_text(99)) == ("connection refused", "reply 99")
