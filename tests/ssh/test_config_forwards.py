"""The forwards of a Host in ssh_config, as a profile says them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ssh.test_resolve import real_ssh
from tunnels.errors import BadSetting, TunnelsError
from tunnels.ssh.config_forwards import Found, named_hosts, table_of, tables
from tunnels.ssh.ssh_g import parse_ssh_g

pytestmark = real_ssh


async def table(text: str, home: Path) -> dict[str, Any]:
    file = home / "ssh_config"
    file.write_text(f"Host work\n{text}")
    (found,) = await tables(["work"], str(file))
    if isinstance(found, TunnelsError):
        raise found
    table, refused = found
    assert refused == ()
    assert table.pop("ssh_config") == str(file)
    assert table.pop("host") == "work"
    return table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LocalForward 5432 db:5432", {"local": ["5432:db:5432"]}),
        ("LocalForward localhost:5432 db:5432", {"local": ["localhost:5432:db:5432"]}),
        ("LocalForward *:5432 [2001:db8::1]:5432", {"local": ["*:5432:[2001:db8::1]:5432"]}),
        ("LocalForward [::1]:80 db:80\nLocalForward 81 db:81", {"local": ["[::1]:80:db:80", "81:db:81"]}),
        ("LocalForward /tmp/a.sock /run/b.sock", {"local": ["/tmp/a.sock:/run/b.sock"]}),
        ('LocalForward "/tmp/with space.sock" /run/b.sock', {"local": ["/tmp/with space.sock:/run/b.sock"]}),
        ("LocalForward 8080 /run/b.sock", {"local": ["8080:/run/b.sock"]}),
        ("LocalForward /tmp/a.sock db:5432", {"local": ["/tmp/a.sock:db:5432"]}),
        ("RemoteForward 2222 localhost:22", {"remote": ["2222:localhost:22"]}),
        ("RemoteForward 1080", {"remote": ["1080"]}),
        ("RemoteForward 0 localhost:22", {"remote": ["0:localhost:22"]}),
        ("RemoteForward /run/r.sock localhost:22", {"remote": ["/run/r.sock:localhost:22"]}),
        ("DynamicForward 1080", {"dynamic": ["1080"]}),
        ("DynamicForward localhost:1080", {"dynamic": ["localhost:1080"]}),
        ("LocalForward 8080 /run/b.sock\nDynamicForward 1080", {"local": ["8080:/run/b.sock"], "dynamic": ["1080"]}),
        ("GatewayPorts yes\nLocalForward 80 a:80\nLocalForward localhost:81 a:81\nRemoteForward 2 a:2",
         {"local": ["*:80:a:80", "localhost:81:a:81"], "remote": ["2:a:2"]}),
        ("ExitOnForwardFailure yes\nLocalForward 80 a:80", {"local": ["80:a:80"], "exit_on_forward_failure": True}),
        ("StreamLocalBindUnlink yes\nRemoteForward 2 a:2", {"remote": ["2:a:2"], "remote_unlink": True}),
        ("Port 2222\nUser ann", {}),
    ],
)  # fmt: skip
async def test_each_forward_is_said_as_a_profile_says_it(
    text: str, expected: dict[str, Any], home: Path
) -> None:
    assert await table(text, home) == expected


def test_a_newer_ssh_that_lists_a_socket_once_is_understood_too() -> None:
    said = "localforward /tmp/a /tmp/b\ndynamicforward 1080\n"
    assert table_of("h", parse_ssh_g(said)).table == {
        "host": "h",
        "local": ["/tmp/a:/tmp/b"],
        "dynamic": ["1080"],
    }


def test_what_we_cannot_say_is_refused_by_its_host_and_the_other_forwards_are_there() -> None:
    found = table_of("h", parse_ssh_g("localforward ./a.sock [b]:1\nlocalforward 80 [a]:80\n"))
    assert found.table == {"host": "h", "local": ["80:a:80"]}
    (refused,) = found.refused
    assert refused.message.startswith("h: LocalForward ./a.sock [b]:1: ")


async def test_one_host_that_ssh_refuses_does_not_spoil_the_others(home: Path) -> None:
    (home / "c").write_text("Host a\n LocalForward 1 a:1\n")
    first, second = await tables(["a", "-b"], str(home / "c"))
    assert isinstance(first, Found)
    assert isinstance(second, BadSetting)


async def test_without_ssh_that_is_said(home: Path) -> None:
    with pytest.raises(BadSetting):
        await tables(["a"], None, ssh_program="no-such-program")


def test_the_hosts_are_found_in_the_users_file_and_what_it_includes(home: Path) -> None:
    assert named_hosts(None) == ([], [])
    ssh = home / ".ssh"
    ssh.mkdir(exist_ok=True)
    (ssh / "config").write_text(f"Include conf.d/*.conf\nInclude {home}/more ~/more2 ~/missing\n")
    (ssh / "conf.d").mkdir()
    for name in ("b", "a"):
        (ssh / "conf.d" / f"{name}.conf").write_text(f"Host {name}\n LocalForward 1 a:1\n")
    (home / "more").write_text("Host c\n DynamicForward 1\n")
    (home / "more2").write_text("Host d\n DynamicForward 1\n")
    assert named_hosts(None).named == ["a", "b", "c", "d"]


def test_a_file_that_was_named_has_to_be_there(home: Path) -> None:
    with pytest.raises(BadSetting):
        named_hosts(str(home / "missing"))
