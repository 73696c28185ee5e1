"""What this machine says about its networks without root."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from tunnels.forwarding import interfaces


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(interfaces, "_known", None)
    monkeypatch.setattr(interfaces, "UFW", tmp_path / "ufw.conf")
    monkeypatch.setattr(interfaces, "FIREWALLD", tmp_path / "firewalld.pid")


def test_loopback_is_among_the_addresses_with_its_network() -> None:
    found = [ipaddress.ip_interface(each) for each in interfaces.addresses()]
    assert ipaddress.ip_interface("127.0.0.1/8") in found


@pytest.mark.parametrize(
    ("address", "netmask", "text"),
    [
        ("192.168.1.7", "255.255.255.0", "192.168.1.7/24"),
        ("fe80::7%eth0", "ffff:ffff:ffff:ffff::", "fe80::7/64"),
        ("10.8.0.2", None, "10.8.0.2/32"),
        ("nonsense", None, None),
        ("10.8.0.2", "nonsense", None),
    ],
)
def test_an_address_gets_the_length_of_its_network(
    address: str, netmask: str | None, text: str | None
) -> None:
    assert interfaces._with_length(address, netmask) == text


def test_a_firewall_is_named_only_where_it_is_on(tmp_path: Path) -> None:
    assert interfaces.firewall() is None
    (tmp_path / "ufw.conf").write_text("# comment\nENABLED=no\n")
    assert interfaces.firewall() is None
    (tmp_path / "firewalld.pid").write_text("1\n")
    assert interfaces.firewall() == "firewalld"
    (tmp_path / "ufw.conf").write_text("ENABLED=yes\n")
    assert interfaces.firewall() == "ufw"


def test_an_answer_is_good_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    first = interfaces.facts()
    monkeypatch.setattr(interfaces, "addresses", lambda: ())
    assert interfaces.facts() == first
