from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tunnels.core.profile import Profile
from tunnels.errors import BadSetting
from tunnels.ssh.destination import Destination
from tunnels.ssh.resolve import local_machine, resolve

real_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh program")


def write(folder: Path, text: str) -> str:
    file = folder / "ssh_config"
    file.write_text(text)
    return str(file)


def profile(host: str, ssh_config: str, **keys: Any) -> Profile:
    return Profile("test", host, ssh_config=ssh_config, **keys)


async def target(config: str, home: Path, host: str = "work", **keys: Any) -> Destination:
    return (await resolve(profile(host, write(home, config), **keys))).target


# --- the real ssh ---------------------------------------------------------------------------------

ME = local_machine()


@real_ssh
@pytest.mark.parametrize(
    ("config", "attribute", "expected"),
    [
        ("Host work\n HostName %h.example.com\n", "hostname", "work.example.com"),
        ("Host work\n Port 2222 # the office\n", "port", 2222),
        ("Host work\n User bob\nMatch user bob\n Port 99\n", "port", 99),
        ("Match host work\n User ann\n", "user", "ann"),
        ('Match exec "test %h = work"\n User exec\n', "user", "exec"),
        ('Match exec "test %h = other"\n User exec\n', "user", ME.user),
        ("Host !work *\n Port 1\nHost w?rk\n Port 2\n", "port", 2),
        ("Host work\n ServerAliveInterval 1m\n", "server_alive_interval", 60),
        ("Host work\n ServerAliveInterval 0\n", "server_alive_interval", None),
        ("Host work\n ConnectTimeout none\n", "connect_timeout", None),
        ("Host work\n IdentityFile /b\n IdentityFile ~/a\n", "identity_files", ("/b", f"{ME.ssh_home}/a")),
        ('Host work\n IdentityFile "~/my keys/id"\n', "identity_files", (f"{ME.ssh_home}/my keys/id",)),
        ("Host work\n IdentityFile %d/%r@%h:%p\n User u\n", "identity_files", (f"{ME.ssh_home}/u@work:22",)),
        ("Host work\n IdentityFile none\n", "identity_files", ()),
        ("Host work\n UserKnownHostsFile none\n", "user_known_hosts_files", ()),
        ("Host work\n UserKnownHostsFile /a ~/b\n", "user_known_hosts_files", ("/a", f"{ME.ssh_home}/b")),
        ("Host work\n HostKeyAlias other\n", "host_key_alias", "other"),
        ("Host work\n StrictHostKeyChecking yes\n", "strict_host_key_checking", "yes"),
        ("Host work\n StrictHostKeyChecking off\n", "strict_host_key_checking", "no"),
        ("Host work\n HashKnownHosts yes\n", "hash_known_hosts", True),
        ('Host work\n ProxyCommand=nc -x %h:%p "%n" | cat\n', "proxy_command", 'nc -x work:22 "work" | cat'),
        ("Host work\n ProxyCommand none\n ProxyJump b\n", "proxy_jump", ()),
        ("Host work\n IdentityAgent none\n", "identity_agent", None),
        ("Host work\n Ciphers aes256-ctr\n", "ciphers", ("aes256-ctr",)),
        ("Host work\n", "ciphers", ()),
        ("Host work\n", "host_key_algorithms", ()),
        ("Host work\n", "identity_files_configured", False),
        ("Host work\n IdentityFile ~/.ssh/id_ed25519\n", "identity_files_configured", True),
        ("Host work\n AddressFamily inet6\n", "address_family", "inet6"),
        ("Host work\n RekeyLimit 1G 1h\n", "rekey_bytes", 2**30),
    ],
)
async def test_ssh_config_means_what_it_means_to_ssh(
    config: str, attribute: str, expected: Any, home: Path
) -> None:
    assert getattr(await target(config, home), attribute) == expected


@real_ssh
async def test_included_files_count_where_they_are_included(home: Path) -> None:
    (home / "more").write_text("Host work\n Port 77\n")

    got = await target(f"Include {home}/more\nHost *\n Port 88\n", home)

    assert got.port == 77


@real_ssh
async def test_tokens_are_expanded_as_ssh_itself_expands_them(home: Path) -> None:
    # ssh -G expands UserKnownHostsFile and leaves IdentityFile to us: the two must come to the same.
    path = "/x/%C/%d/%h/%i/%k/%L/%l/%n/%p/%r/%u/%%/${HOME}"
    config = f"Host work\n HostName 10.0.0.1\n User u\n UserKnownHostsFile {path}\n IdentityFile {path}\n"

    got = await target(config, home)

    assert got.identity_files == got.user_known_hosts_files


@real_ssh
async def test_the_keys_of_the_profile_are_what_match_sees(home: Path) -> None:
    config = "Match user deploy\n HostName deploy.example.com\nHost *\n Port 99\n"

    got = await target(config, home, user="deploy", port=2200)

    assert (got.hostname, got.user, got.port) == ("deploy.example.com", "deploy", 2200)


@real_ssh
@pytest.mark.parametrize("host", ["deploy@work:2200", "ssh://deploy@work:2200"])
async def test_user_and_port_may_stand_in_the_host(host: str, home: Path) -> None:
    got = await target("Host work\n HostName 10.0.0.1\n User no\n Port 1\n", home, host=host)

    assert (got.alias, got.hostname, got.user, got.port) == ("work", "10.0.0.1", "deploy", 2200)


@real_ssh
async def test_an_ipv6_address_needs_no_ssh_config(home: Path) -> None:
    got = await target("", home, host="me@[::1]:2200")

    assert (got.hostname, got.port) == ("::1", 2200)


@real_ssh
@pytest.mark.parametrize("host", ["-oProxyCommand=touch x", "a;b", "a b", "$(id)", ""])
async def test_a_host_that_is_an_option_or_shell_never_reaches_ssh(host: str, home: Path) -> None:
    with pytest.raises(BadSetting):
        await target("", home, host=host)


@real_ssh
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("Host work\n Prt 22\n", "line 2: Bad configuration option: prt"),
        ("Host work\n Port 99999\n", "line 2"),
    ],
)
async def test_a_mistake_in_ssh_config_is_told_in_the_words_of_ssh(
    config: str, words: str, home: Path
) -> None:
    with pytest.raises(BadSetting, match=words) as caught:
        await target(config, home)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("run: ssh -G -F ")


@real_ssh
async def test_an_ssh_config_that_is_missing_is_said(home: Path) -> None:
    with pytest.raises(BadSetting, match="No such file"):
        await resolve(profile("work", str(home / "missing")))


@real_ssh
def test_it_works_under_uvloop_as_well(home: Path) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        got = runner.run(target("Host work\n Port 77\n", home))

    assert got.port == 77


@real_ssh
async def test_a_hundred_at_once_do_not_disturb_each_other(home: Path) -> None:
    config = write(home, "Host *\n HostName %h.example.com\n")

    routes = await asyncio.gather(*(resolve(profile(f"h{number}", config)) for number in range(100)))

    assert [route.target.hostname for route in routes] == [f"h{number}.example.com" for number in range(100)]


# --- jump hosts -----------------------------------------------------------------------------------

CHAIN = """\
Host inner
  HostName 10.0.0.5
  ProxyJump middle
Host middle
  HostName 10.0.0.4
  User mid
  ProxyJump outer:2022
Host outer
  HostName outer.example.com
Host alone
  ProxyCommand nc %h %p
Host *
  User someone
"""


async def way(home: Path, host: str, config: str = CHAIN, **keys: Any) -> list[str]:
    route = await resolve(profile(host, write(home, config), **keys))
    return [*map(str, route.hops), str(route.target)]


@real_ssh
async def test_a_jump_host_of_a_jump_host_is_followed(home: Path) -> None:
    assert await way(home, "inner") == [
        "someone@outer.example.com:2022",
        "mid@10.0.0.4",
        "someone@10.0.0.5",
    ]


@real_ssh
async def test_in_a_list_only_the_first_hop_is_reached_by_its_own_way(home: Path) -> None:
    # As with `ssh -J alone,middle inner`: middle is reached through alone, whatever its Host says.
    route = await resolve(profile("inner", write(home, CHAIN), jump=("alone", "ann@middle:2")))

    assert [str(hop) for hop in route.hops] == ["someone@alone", "ann@10.0.0.4:2"]
    assert [hop.proxy_command for hop in route.hops] == ["nc alone 22", None]
    assert await way(home, "inner", jump=("middle",)) == await way(home, "inner")


@real_ssh
async def test_an_empty_jump_goes_straight_there(home: Path) -> None:
    assert await way(home, "inner", jump=()) == ["someone@10.0.0.5"]


@real_ssh
async def test_a_proxy_command_of_the_profile_takes_the_place_of_the_jump_hosts(home: Path) -> None:
    route = await resolve(profile("inner", write(home, CHAIN), proxy_command="nc %h %p # %n"))

    assert route.hops == ()
    assert route.target.proxy_command == "nc 10.0.0.5 22 # inner"


@real_ssh
async def test_a_circle_of_jump_hosts_is_found(home: Path) -> None:
    with pytest.raises(BadSetting, match="circle") as caught:
        await way(home, "a", "Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    assert caught.value.hint is not None
    assert "ProxyJump none" in caught.value.hint


@real_ssh
async def test_a_jump_host_for_every_host_is_one_for_itself(home: Path) -> None:
    with pytest.raises(BadSetting, match=r"circle|loop"):  # newer versions of ssh see it themselves
        await way(home, "a", "Host *\n ProxyJump b\n")


@real_ssh
async def test_a_way_that_grows_for_ever_is_given_up(home: Path) -> None:
    with pytest.raises(BadSetting, match="more than 16 hops"):
        await way(home, "a", "Host *\n ProxyJump %n.x\n")


@real_ssh
async def test_keys_of_the_target_are_not_those_of_its_hops(home: Path) -> None:
    route = await resolve(
        profile("inner", write(home, CHAIN), identity_file=("/k",), known_hosts=("/kh",), keepalive=5.0)
    )

    hop = route.hops[-1]
    assert "/k" not in hop.identity_files
    assert "/kh" not in hop.user_known_hosts_files
    assert hop.server_alive_interval == route.target.server_alive_interval == 5.0


# --- ssh_config = "none" ---------------------------------------------------------------------------


async def test_ssh_config_none_asks_nobody(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")

    route = await resolve(profile("bob@h:2200", "none", jump=("gate",)))

    got = route.target
    assert (got.alias, got.hostname, got.user, got.port) == ("h", "h", "bob", 2200)
    assert got.identity_files[0] == f"{home}/.ssh/id_rsa"
    assert not got.identity_files_configured
    assert got.user_known_hosts_files[0] == f"{home}/.ssh/known_hosts"
    assert got.global_known_hosts_files[0] == "/etc/ssh/ssh_known_hosts"
    assert got.identity_agent == "/agent"
    assert [str(hop) for hop in route.hops] == [f"{ME.user}@gate"]


async def test_with_ssh_config_none_the_profile_speaks_for_its_hops_too(home: Path) -> None:
    route = await resolve(
        profile("h", "none", jump=("a", "b"), identity_file=("~/k",), known_hosts=("~/kh",))
    )

    for one in (*route.hops, route.target):
        assert one.identity_files == (f"{home}/k",)
        assert one.user_known_hosts_files == (f"{home}/kh",)


def test_asking_does_not_load_asyncssh() -> None:
    code = "import sys, tunnels.ssh.resolve, tunnels.ssh.host_keys; sys.exit('asyncssh' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
