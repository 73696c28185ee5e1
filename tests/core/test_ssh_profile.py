"""What a command line of ssh says becomes a profile, or is refused by name; nothing is lost in silence."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from tunnels import opened
from tunnels.core.profile import Profile
from tunnels.core.ssh_flags import WITH_VALUE, WITHOUT_VALUE
from tunnels.core.ssh_profile import read_command
from tunnels.errors import UsageError
from tunnels.profiles import ProfileFile

FORWARD = "-L 5432:db:5432"


def table(line: str) -> dict[str, Any]:
    return read_command(shlex.split(line), folder="/home/me/work").table


def profile(line: str) -> Profile:
    from pathlib import Path

    return opened.profile_of("x", table(line), ProfileFile(Path("profiles.toml"), {}))


def rest(line: str) -> dict[str, Any]:
    """What the flags say beside one forward and the host."""
    found = table(f"{FORWARD} {line} h")
    assert found.pop("host") == "h"
    assert found.pop("local") == ["5432:db:5432"]
    profile(f"{FORWARD} {line} h")
    return found


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-L 1:a:1 -L2:b:2 h", {"host": "h", "local": ["1:a:1", "2:b:2"]}),
        ("-R 2222:localhost:22 h", {"host": "h", "remote": ["2222:localhost:22"]}),
        ("-R 1080 h", {"host": "h", "remote": ["1080"]}),
        ("-D 1080 h", {"host": "h", "dynamic": ["1080"]}),
        ("-D 1 me@h", {"host": "me@h", "dynamic": ["1"]}),
        ("-D 1 me@h -p 22", {"host": "me@h:22", "dynamic": ["1"]}),
        ("-D 1 ssh://me@h:2222", {"host": "me@h:2222", "dynamic": ["1"]}),
        ("-D 1 -l me -p 2 [::1]", {"host": "me@[::1]:2", "dynamic": ["1"]}),
        ("-D 1 -l ann bob@h", {"host": "ann@h", "dynamic": ["1"]}),
        ("-D 1 bob@h -l ann", {"host": "ann@h", "dynamic": ["1"]}),
        ("-D 1 -l ann -o User=bob h", {"host": "ann@h", "dynamic": ["1"]}),
        ("-D 1 -p 1 -p 2 h", {"host": "h:1", "dynamic": ["1"]}),
        ("-g -L 80:a:80 -L localhost:81:a:81 -R 2:a:2 h",
         {"host": "h", "local": ["*:80:a:80", "localhost:81:a:81"], "remote": ["2:a:2"]}),
        ("-L /tmp/x.sock:/run/y.sock h", {"host": "h", "local": ["/tmp/x.sock:/run/y.sock"]}),
        ("-o 'LocalForward 1 a:1' -o 'RemoteForward=2 [::1]:2' -o DynamicForward=3 h",
         {"host": "h", "local": ["1:a:1"], "remote": ["2:[::1]:2"], "dynamic": ["3"]}),
    ],
)  # fmt: skip
def test_where_it_goes_and_what_it_forwards(line: str, expected: dict[str, Any]) -> None:
    assert table(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-i ~/.ssh/a -i b", {"identity_file": ["~/.ssh/a", "/home/me/work/b"]}),
        ("-i ./b", {"identity_file": "/home/me/work/b"}),
        ("-o 'IdentityFile \"/my keys/a\"'", {"identity_file": "/my keys/a"}),
        ("-J a,me@b:2", {"jump": "a,me@b:2"}),
        ("-o ProxyJump=none", {"jump": "none"}),
        ("-o 'ProxyCommand=nc -x p:1 %h %p'", {"proxy_command": "nc -x p:1 %h %p"}),
        ("-J a -o 'ProxyCommand=nc %h %p'", {"jump": "a"}),
        ("-F ~/other", {"ssh_config": "~/other"}),
        ("-F none", {"ssh_config": "none"}),
        ("-C", {"compression": True}),
        ("-o Compression=no", {"compression": False}),
        ("-o Compression=no -C", {"compression": True}),
        ("-c aes128-ctr,aes256-ctr", {"ciphers": "aes128-ctr,aes256-ctr"}),
        ("-o ServerAliveInterval=30 -o 'ServerAliveCountMax 3'", {"keepalive": "30s", "keepalive_count": 3}),
        ("-oServerAliveInterval=1m30s", {"keepalive": "1m30s"}),
        ("-o ServerAliveInterval=0", {"keepalive": "0s"}),
        ("-o ServerAliveInterval=5 -o ServerAliveInterval=9", {"keepalive": "5s"}),
        ("-o ConnectTimeout=10", {"connect_timeout": "10s"}),
        ("-o ExitOnForwardFailure=yes", {"exit_on_forward_failure": True}),
        ("-o StreamLocalBindUnlink=yes", {"remote_unlink": True}),
        ("-o StrictHostKeyChecking=accept-new", {"host_key_policy": "accept-new"}),
        ("-o stricthostkeychecking=yes", {"host_key_policy": "strict"}),
        ("-o 'UserKnownHostsFile=~/a \"/my files/b\"'", {"known_hosts": ["~/a", "/my files/b"]}),
        ("-o CertificateFile=~/c-cert.pub", {"certificate_file": "~/c-cert.pub"}),
        ("-o 'BatchMode yes'", {}),
        ("-o ControlMaster=auto -o ControlPath=none -o TCPKeepAlive=yes -o LogLevel=ERROR", {}),
        ("-o ForwardAgent=no -o ForwardX11=no -o SessionType=none -o RequestTTY=no", {}),
        ("-N -f -n -T -q -vvv -t -2 -a -x -k -e none", {}),
        ("-4", {}),
        ("-o StrictHostKeyChecking=no", {"host_key_policy": "accept-new"}),
        ("-o stricthostkeychecking=OFF", {"host_key_policy": "accept-new"}),
        ("-t -A -X -Y -K -o ForwardAgent=yes -o ForwardX11=yes", {}),
        ("-M -S /tmp/x", {}),
    ],
)  # fmt: skip
def test_what_else_it_says(line: str, expected: dict[str, Any]) -> None:
    assert rest(line) == expected


def test_a_command_that_only_keeps_the_connection_open_is_left_out() -> None:
    assert table("-f -L 1:a:1 h sleep 60") == {"host": "h", "local": ["1:a:1"]}


@pytest.mark.parametrize(
    ("line", "said", "instead"),
    [
        ("-w 0:0", "-w", "dynamic"),
        ("-W a:1", "-W", "-L"),
        ("-O exit", "-O", "tunnels down"),
        ("-G", "-G", "tunnels check"),
        ("-s", "-s", "leave it out"),
        ("-1", "-1", "leave it out"),
        ("-m hmac-sha2-256", "-m", "MACs below `Host h`"),
        ("-b 10.0.0.1", "-b", "BindAddress below `Host h`"),
        ("-I lib.so", "-I", "PKCS11Provider below `Host h`"),
        ("-o IdentitiesOnly=yes", "IdentitiesOnly", "IdentitiesOnly below `Host h`"),
        ("-o RemoteCommand=ls", "RemoteCommand", "leave it out"),
        ("-o StrictHostKeyChecking=never", "StrictHostKeyChecking", "accept-new"),
        ("-o UserKnownHostsFile=/dev/null", "UserKnownHostsFile", "leave it out"),
        ("-o Port=no", "Port", "number"),
        ("-o ServerAliveInterval=often", "ServerAliveInterval", "30s"),
        ("-o ServerAliveInterval=999999999w", "ServerAliveInterval", ""),
        ("-o ServerAliveCountMax=many", "ServerAliveCountMax", "3"),
        ("-o Compression=perhaps", "Compression", ""),
        ("-o Nothing", "Nothing", "-o"),
        ("-J a -J b", "-J", "commas"),
        ("-i '$HOME/.ssh/id'", "-i", "whole path"),
        ("-i %d/id", "-i", "whole path"),
        ("-L 1", "local forward", ""),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_over_is_refused_by_name_with_what_to_do(
    line: str, said: str, instead: str
) -> None:
    with pytest.raises(UsageError) as refused:
        rest(line)
    assert said in refused.value.message
    assert instead in (refused.value.hint or "")


def test_what_only_concerns_a_session_is_left_out_of_a_line_with_forwards_and_noted() -> None:
    found = read_command(shlex.split("-t -A -X -L 1:a:1 h tail -f 'my log'"), folder="/")
    assert found.table == {"host": "h", "local": ["1:a:1"]}
    assert found.notes == (
        "-A is left out: a tunnel has no shell and no program on the server that could use the agent",
        "-X is left out: a tunnel has no shell and no program on the server that could open windows",
        "\"tail -f 'my log'\" is left out: a tunnel runs no command on the server",
    )


def test_everything_that_is_refused_is_said_at_once() -> None:
    with pytest.raises(UsageError) as refused:
        table("-W a:1 -s -L x -m hmac-sha2-256 -o Port=no h")
    assert [line.split()[0] for line in refused.value.message.splitlines()] == ["-W", "-s", "a", "-o", "-m"]
    for word in ("-J", "leave it out", "MACs below `Host h`"):
        assert word in (refused.value.hint or "")


def test_a_word_that_ssh_does_not_know_is_not_sent_to_ssh_config() -> None:
    with pytest.raises(UsageError) as refused:
        read_command(["-oNoSuchOpt=1", "-oMACs=x", "-D1", "h"], folder="/", keywords=lambda: ["MACs"])
    assert "NoSuchOpt: ssh" in refused.value.message
    assert "write NoSuchOpt" not in (refused.value.hint or "")
    assert "write MACs below `Host h`" in (refused.value.hint or "")


def test_a_host_key_policy_of_no_means_what_it_means_in_ssh_config_and_says_so() -> None:
    (note,) = read_command(["-oStrictHostKeyChecking=no", "-D1", "h"], folder="/").notes
    assert note == (
        "-o StrictHostKeyChecking no is like accept-new: a host key that has changed is never accepted"
    )


def test_without_a_destination_there_is_none_to_go_to() -> None:
    with pytest.raises(UsageError, match="destination"):
        table("-L 1:a:1")


@pytest.mark.parametrize("letter", sorted(WITH_VALUE | WITHOUT_VALUE - {"o"}))
def test_every_flag_of_ssh_is_taken_left_out_or_refused_by_name(letter: str) -> None:
    value = ["1"] if letter in WITH_VALUE else []
    try:
        read_command([f"-{letter}", *value, "-D", "1080", "h"], folder="/")
    except UsageError as error:
        assert letter in error.message or letter in "LRo"  # noqa: PT017 - most are taken


def test_what_a_person_may_wonder_about_is_noted() -> None:
    notes = read_command(["-4", "-E", "log", "-oBatchMode=yes", "-D1", "h"], folder="/").notes
    assert [note.split(" is left out")[0] for note in notes] == ["-4", "-E", "-o BatchMode"]
