"""Without an ssh program: what is understood of ssh_config then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ssh.test_resolve import CHAIN, ME, profile, write
from tunnels.errors import BadSetting
from tunnels.ssh.resolve import resolve

NO_SSH = "/nowhere/ssh"


@pytest.mark.parametrize(
    ("config", "attribute", "expected"),
    [
        ("Host work\n HostName %h.example.com\n", "hostname", "work.example.com"),
        ("Host work\n User bob\nMatch user bob\n Port 99\n", "port", 99),
        ("Host work\n ServerAliveInterval 60\n", "server_alive_interval", 60),
        ("Host work\n IdentityFile /b\n IdentityFile /%r\n", "identity_files", ("/b", f"/{ME.user}")),
        ("Host work\n IdentityFile none\n", "identity_files", ()),
        ("Host work\n UserKnownHostsFile none\n", "user_known_hosts_files", ()),
        ("Host work\n UserKnownHostsFile /a ~/b\n", "user_known_hosts_files", ("/a", f"{ME.ssh_home}/b")),
        ("Host work\n Port 2\n", "user_known_hosts_files", (f"{ME.ssh_home}/.ssh/known_hosts",)),
        ("Host work\n HostKeyAlias other\n", "host_key_alias", "other"),
        ("Host work\n IdentityAgent none\n", "identity_agent", None),
        ("Host work\n Ciphers aes256-ctr\n", "ciphers", ("aes256-ctr",)),
        ("Host work\n AddressFamily inet\n", "address_family", "inet"),
        ("Host work\n AddressFamily any\n", "address_family", "any"),
        ("Host work\n Compression yes\n RekeyLimit 1G\n", "compression", True),
        ("Host work\n ProxyCommand nc %h %p\n", "proxy_command", "nc work 22"),
        ("Host work\n", "identity_files_configured", False),
    ],
)
async def test_without_ssh_the_other_parser_serves(
    config: str, attribute: str, expected: Any, home: Path
) -> None:
    route = await resolve(profile("work", write(home, config)), ssh_program=NO_SSH)

    got = getattr(route.target, attribute)
    assert got[: len(expected)] == expected if isinstance(expected, tuple) and expected else got == expected


async def test_without_ssh_jump_hosts_are_followed_too(home: Path) -> None:
    route = await resolve(profile("inner", write(home, CHAIN)), ssh_program=None)

    assert [str(hop) for hop in route.hops] == ["someone@outer.example.com:2022", "mid@10.0.0.4"]


async def test_without_ssh_a_mistake_is_told_too(home: Path) -> None:
    with pytest.raises(BadSetting, match="line 2"):
        await resolve(profile("work", write(home, "Host work\n Port x\n")), ssh_program=NO_SSH)
