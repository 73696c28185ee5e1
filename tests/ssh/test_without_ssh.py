"""Without an ssh program: what is understood of ssh_config then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ssh.test_resolve import CHAIN, ME, profile, write
from tunnels.errors import BadSetting
from tunnels.ssh.resolve import resolve
from tunnels.ssh.without_ssh import seconds

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
        ("Host work # mine\n Port 2222 # the office\n", "port", 2222),
        ("Host work\n Port=2222\n", "port", 2222),
        ("Host work\n ProxyCommand=nc %h %p\n", "proxy_command", "nc work 22"),
        ("Host work\n ProxyCommand nc %h # %p\n", "proxy_command", "nc work # 22"),
        ("Host work\n ServerAliveInterval 1m30\n", "server_alive_interval", 90),
        ("Host work\n ConnectTimeout none\n", "connect_timeout", None),
        ("Host work\n RekeyLimit 1G 1h\n", "rekey_bytes", 2**30),
        ("Host work\n RekeyLimit default 1h\n", "rekey_seconds", 3600),
        ("Host work\n StrictHostKeyChecking yes\n", "strict_host_key_checking", "yes"),
        ("Host work\n StrictHostKeyChecking no\n", "strict_host_key_checking", "no"),
        ("Host work\n RevokedHostKeys ~/revoked\n", "revoked_host_keys", f"{ME.ssh_home}/revoked"),
        ("Host work\n HashKnownHosts yes\n", "hash_known_hosts", True),
        ("Host work\n UpdateHostKeys no\n", "update_host_keys", "no"),
        ("Host work\n BatchMode yes\n", "batch_mode", True),
        ("Host work\n IPQoS ef cs1\n", "ip_qos", 0xB8),
        ("Host work\n BindInterface eth7\n", "bind_interface", "eth7"),
        ("Host work\n RequiredRSASize 3072\n", "required_rsa_size", 3072),
        ("Host work\n Ciphers +aes128-cbc\n", "ciphers", ("+aes128-cbc",)),
        ("Host work\n ProxyJump ssh://a@b:1\n", "proxy_jump", ("ssh://a@b:1",)),
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


async def test_without_ssh_a_connection_that_ssh_config_refuses_is_refused(home: Path) -> None:
    config = write(home, "Host work\n RefuseConnection use the VPN first\n")
    with pytest.raises(BadSetting, match="use the VPN first"):
        await resolve(profile("work", config), ssh_program=NO_SSH)


async def test_without_ssh_what_is_not_done_is_named_too(home: Path) -> None:
    config = write(home, "Host work\n LocalForward 80 a:80\n KnownHostsCommand /bin/keys %H\n")
    route = await resolve(profile("work", config), ssh_program=NO_SSH)
    assert {note.keyword for note in route.target.notes} == {"LocalForward", "KnownHostsCommand"}


@pytest.mark.parametrize(
    "line", ["ServerAliveInterval soon", "RekeyLimit much", "RekeyLimit 1G soon", "Port # 22", "Port x"]
)
async def test_without_ssh_a_value_that_makes_no_sense_is_told_with_its_line(line: str, home: Path) -> None:
    with pytest.raises(BadSetting, match="line 2"):
        await resolve(profile("work", write(home, f"Host work\n {line}\n")), ssh_program=NO_SSH)


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("90", 90), ("1m30", 90), ("1h30m", 5400), ("1W", 604800), ("none", 0)]
)
def test_times_are_read_as_ssh_reads_them(text: str, value: int) -> None:
    assert seconds(text) == value
