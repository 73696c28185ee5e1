"""What a profile needs of a server is written as sshd compares it; that it does is tested in tests/e2e."""

from __future__ import annotations

import pytest

from tunnels.core.address import TcpAddress
from tunnels.core.forward import Forward, ForwardKind, parse_forward
from tunnels.core.harden import NOWHERE, Grant, as_compared, grant_of, grant_of_hop, remarks

KINDS = {"-L": ForwardKind.LOCAL, "-R": ForwardKind.REMOTE, "-D": ForwardKind.DYNAMIC}


def forwards(*rules: str) -> tuple[Forward, ...]:
    found: list[Forward] = []
    for rule in rules:
        flag, text = rule.split(" ")
        found += parse_forward(KINDS[flag], text).spread()
    return tuple(found)


def grant(*rules: str) -> Grant:
    return grant_of(forwards(*rules))


def said(*rules: str, remote_unlink: bool = False) -> str:
    wanted = forwards(*rules)
    return "\n".join(remarks(grant_of(wanted), wanted, login="me", host="vps", remote_unlink=remote_unlink))


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        (None, 2222, "localhost:2222"),
        ("localhost", 2222, "localhost:2222"),
        ("127.0.0.1", 2222, "127.0.0.1:2222"),
        ("*", 2222, ":2222"),
        ("::1", 2222, "[::1]:2222"),
        (None, 0, "localhost:*"),
    ],
)
def test_an_address_is_written_as_it_is_sent(host: str | None, port: int, text: str) -> None:
    assert as_compared(TcpAddress(host, port)) == text


def test_the_line_names_every_port_of_a_range_and_each_only_once() -> None:
    assert grant("-L 8000-8001:web:80-81", "-L 9000:web:80").opens == ("web:80", "web:81")


def test_a_login_that_needs_one_direction_gets_nothing_of_the_other() -> None:
    assert f'permitlisten="{NOWHERE}"' in grant("-L 1:db:2").options
    assert f'permitopen="{NOWHERE}"' in grant("-R 1111:db:2").options
    block = grant("-R 1111:db:2").sshd_config("me")
    assert "    AllowTcpForwarding remote" in block
    assert "    PermitOpen none" in block


def test_a_dynamic_forward_needs_every_destination_and_that_is_said() -> None:
    needs = grant("-D 1080", "-L 1:db:2")
    assert needs.opens is None
    assert 'permitopen="*:*"' in needs.options
    assert "    PermitOpen any" in needs.sshd_config("me")
    assert "whatever vps reaches" in said("-D 1080")


def test_a_proxy_on_the_server_is_a_listener_there_and_no_limit_to_its_clients() -> None:
    assert grant("-R 1080").listens == ("localhost:1080",)
    assert "all that this machine reaches" in said("-R 1080")


def test_sockets_are_all_or_nothing() -> None:
    block = grant("-L 1:/run/db.sock").sshd_config("me")
    assert "    AllowStreamLocalForwarding local" in block
    assert "    AllowTcpForwarding no" in block
    assert "(/run/db.sock) cannot be told apart" in said("-L 1:/run/db.sock")
    assert "    AllowStreamLocalForwarding no" in grant("-L 1:db:2").sshd_config("me")
    assert "says nothing about unix sockets" in said("-L 1:db:2")


def test_a_socket_there_is_cleared_away_by_the_server_itself() -> None:
    assert "    StreamLocalBindUnlink yes" in grant("-R /run/s:db:2").sshd_config("me")
    assert "remote_unlink does not work" in said("-R /run/s:db:2", remote_unlink=True)
    assert "remote_unlink" not in said("-R /run/s:db:2")


def test_gateway_ports_are_for_listeners_that_others_are_to_reach() -> None:
    assert grant("-R *:1:db:2").beyond_loopback
    assert not grant("-R 1111:db:2", "-L *:1:db:2").beyond_loopback


def test_a_port_that_the_server_chooses_is_said_to_be_any() -> None:
    assert "any port" in said("-R 0:db:2")


def test_a_jump_host_leads_to_the_next_server() -> None:
    assert grant_of_hop("fd00::7", 22).opens == ("[fd00::7]:22",)
