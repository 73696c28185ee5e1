"""Who can connect to a listener, in one sentence."""

from __future__ import annotations

import pytest

from tunnels.core.audience import Audience, Reach, audience
from tunnels.core.forward import ForwardKind, parse_forward

HOME = ("127.0.0.1/8", "::1/128", "192.168.1.7/24", "fe80::7/64", "fd00:1::7/64")
VPS = ("127.0.0.1/8", "8.8.4.4/24", "10.0.0.2/16")
L, R = ForwardKind.LOCAL, ForwardKind.REMOTE


def who(
    text: str, interfaces: tuple[str, ...] = HOME, *, kind: ForwardKind = L, firewall: str | None = None
) -> Audience:
    [forward] = parse_forward(kind, text).spread()
    return audience(forward, host="vps.example.com", interfaces=interfaces, firewall=firewall)


@pytest.mark.parametrize("text", ["5432:db:5432", "127.0.0.1:5432:db:5432", "[::1]:5432:db:5432"])
def test_loopback_is_this_machine_alone(text: str) -> None:
    assert who(text) == (Reach.MACHINE, "this machine only")


def test_a_socket_is_for_ones_own_programs() -> None:
    assert who("/tmp/s:db:5432") == (Reach.MACHINE, "your own programs on this machine only")


def test_every_interface_of_a_machine_at_home_is_its_networks() -> None:
    reach, text = who("*:5432:db:5432")
    assert reach is Reach.NETWORK
    assert text.startswith("everyone on your networks (192.168.1.0/24, fd00:1::/64), not the internet unless")
    assert text.endswith("firewalls are not looked at")


def test_one_address_is_its_network() -> None:
    assert "your network (192.168.1.0/24)" in who("192.168.1.7:5432:db:5432").text
    assert "fd00" not in who("0.0.0.0:5432:db:5432").text


def test_a_public_address_is_everyone() -> None:
    reach, text = who("*:5432:db:5432", VPS)
    assert reach is Reach.EVERYONE
    assert "8.8.4.4 is a public address" in text
    assert who("10.0.0.2:5432:db:5432", VPS).reach is Reach.NETWORK


def test_a_name_is_not_looked_up() -> None:
    assert who("laptop.lan:5432:db:5432") == (
        Reach.EVERYONE,
        "whoever reaches laptop.lan on this machine; firewalls are not looked at",
    )


def test_a_machine_with_many_networks_names_some() -> None:
    many = tuple(f"10.{number}.0.1/16" for number in range(9))
    assert "10.2.0.0/16 and more" in who("*:5432:db:5432", many).text


def test_without_a_network_it_waits_for_one() -> None:
    assert "in none now" in who("*:5432:db:5432", ("127.0.0.1/8",)).text


def test_a_firewall_that_is_on_is_named() -> None:
    assert who("*:5432:db:5432", firewall="ufw").text.endswith("ufw is on and may stop them")


@pytest.mark.parametrize(
    ("text", "reach", "words"),
    [
        ("2222:localhost:22", Reach.MACHINE, "every program on vps.example.com, and no other machine"),
        ("/run/s:localhost:22", Reach.MACHINE, "the programs on vps.example.com that may open /run/s"),
        ("*:2222:localhost:22", Reach.EVERYONE, "everyone who reaches vps.example.com, if GatewayPorts"),
        ("10.0.0.2:2222:localhost:22", Reach.EVERYONE, "everyone who reaches 10.0.0.2 of vps.example.com"),
    ],
)
def test_on_the_far_side_it_is_the_server_that_decides(text: str, reach: Reach, words: str) -> None:
    found = who(text, kind=R)
    assert found.reach is reach
    assert found.text.startswith(words)
