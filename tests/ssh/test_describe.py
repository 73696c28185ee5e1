from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ssh.test_resolve import ME, profile, real_ssh, write
from tunnels.errors import BadSetting
from tunnels.ssh.describe import describe, remarks
from tunnels.ssh.resolve import resolve


async def test_how_a_profile_resolves_can_be_told(home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519").touch()
    (home / ".ssh" / "known_hosts").touch()
    route = await resolve(profile("ann@h:2200", "none", jump=("gate",), keepalive=15.0, connect_timeout=2.5))

    assert [row for row in describe(route) if not row[1].startswith("/etc")] == [
        ("host", "h"),
        ("port", "2200"),
        ("user", "ann"),
        ("through", f"{ME.user}@gate"),
        ("identity file", f"{home}/.ssh/id_ed25519"),
        ("agent", "none"),
        ("known hosts", f"{home}/.ssh/known_hosts"),
        ("keepalive", "15 s"),
        ("keepalive count", "3"),
        ("connect timeout", "2.5 s"),
    ]


# --- what is set and not done ---------------------------------------------------------------------


async def said(config: str, home: Path, host: str = "work", **keys: Any) -> list[tuple[str, bool, str]]:
    route = await resolve(profile(host, write(home, config), **keys))
    return [(remark.host, remark.is_hop, str(remark.note)) for remark in remarks(route)]


@real_ssh
async def test_what_is_set_and_not_done_is_said_with_the_hop_that_it_concerns(home: Path) -> None:
    config = "Host gate\n VerifyHostKeyDNS yes\nHost work\n ProxyJump gate\n LocalForward 80 a:80\n"

    first, second = await said(config, home)

    assert first[:2] == ("gate", True)
    assert first[2].startswith("VerifyHostKeyDNS true: ")
    assert second[:2] == ("work", False)
    assert second[2].startswith("LocalForward 80 [a]:80: ")


@real_ssh
async def test_an_ordinary_ssh_config_is_nothing_to_say_anything_about(home: Path) -> None:
    config = (
        "Host work\n HostName 10.0.0.1\n User u\n IdentityFile ~/.ssh/k\n ForwardAgent yes\n SendEnv LANG\n"
        " ServerAliveInterval 30\n ControlMaster auto\n ControlPersist 10m\n AddKeysToAgent yes\n Compression yes\n"
    )
    assert await said(config, home) == []


@real_ssh
async def test_what_ssh_itself_complains_about_is_passed_on(home: Path) -> None:
    ((_, _, line),) = await said("Host work\n AFSTokenPassing yes\n", home)
    assert line.startswith("ssh says: ")
    assert "Unsupported option" in line


@real_ssh
async def test_kerberos_is_only_spoken_of_where_there_may_be_a_ticket(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = "Host work\n GSSAPIAuthentication yes\n"
    monkeypatch.setenv("KRB5CCNAME", "FILE:/tmp/ticket")
    ((_, _, line),) = await said(config, home)
    assert line.startswith("GSSAPIAuthentication yes: ")
    monkeypatch.delenv("KRB5CCNAME")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert await said(config, home) == []


@real_ssh
async def test_a_list_of_which_something_is_left_out_is_a_note_and_an_empty_one_an_error(home: Path) -> None:
    ((_, _, line),) = await said("PreferredAuthentications gssapi-with-mic,password\n", home)
    assert line == "PreferredAuthentications gssapi-with-mic: left out, because it is not supported here"
    with pytest.raises(BadSetting, match="none of the PreferredAuthentications of work is supported"):
        await said("PreferredAuthentications hostbased\n", home)


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        ("no-such-program %h %p", "no-such-program"),
        ("exec no-such-program -x", "no-such-program"),
        ("/no/such/program", "/no/such/program"),
        ('"/no/such program" %h', None),  # a name for which only the shell is good enough
        ("sh -c 'no-such-program'", None),
        ("exec sh", None),
        ("if true; then cat; fi", None),
        ("A=b no-such-program", None),
        ("$NC %h", None),
        ("'", None),
    ],
)
async def test_the_program_of_a_proxy_command_that_is_not_there_is_said(
    command: str, missing: str | None, home: Path
) -> None:
    route = await resolve(profile("h", "none", proxy_command=command))
    found = [remark.note.value for remark in remarks(route) if remark.note.keyword == "ProxyCommand"]
    assert found == ([] if missing is None else [missing])
