"""`check --ssh` and `add` are each other's inverse, for all that ssh can say."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ssh.test_resolve import real_ssh
from tunnels import opened
from tunnels.core.profile import Profile
from tunnels.core.shell_line import parse_line
from tunnels.core.ssh_command import ssh_command
from tunnels.core.ssh_profile import read_command
from tunnels.profiles import ProfileFile

FILE = ProfileFile(Path("profiles.toml"), {})

words = st.text("abcdefgh", min_size=1, max_size=6)
hosts = st.one_of(words, words.map(lambda word: f"{word}.example.com"), st.sampled_from(["10.0.0.1", "::1"]))
binds = st.sampled_from(["", "localhost:", "*:", "[::1]:", "127.0.0.1:", ":"])
ports = st.integers(1, 65535)
files = st.one_of(
    words.map(lambda word: f"~/.ssh/{word}"),
    words.map(lambda word: f"/my keys/{word}"),
    st.just("/a'b\"c\\d"),
)
sockets = words.map(lambda word: f"/run/{word}.sock")


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


#: Each forward with a port of its own, so that no two want the same.
def forwards(draw: st.DrawFn, kind: str) -> list[str]:
    found = []
    for number in range(draw(st.integers(0, 3))):
        port = {"local": 1000, "remote": 2000, "dynamic": 3000}[kind] + number
        if kind == "dynamic":
            found.append(f"{draw(st.sampled_from(['', 'localhost:', '127.0.0.1:']))}{port}")
            continue
        listen = f"{draw(binds)}{port}" if draw(st.integers(0, 4)) else f"/tmp/{kind}{number}.sock"
        connect = draw(st.builds(lambda host, port: f"{bracketed(host)}:{port}", hosts, ports) | sockets)
        found.append(f"{listen}:{connect}")
    return found


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """Tables with keys that ssh has a word for; as the file would have them."""
    table: dict[str, Any] = {"host": draw(hosts)}
    for kind in ("local", "remote", "dynamic"):
        if found := forwards(draw, kind):
            table[kind] = found
    if not set(table) & {"local", "remote", "dynamic"}:
        table["dynamic"] = ["1080"]
    optional: dict[str, st.SearchStrategy[Any]] = {
        "user": words,
        "port": ports,
        "identity_file": st.lists(files, min_size=1, max_size=2, unique=True),
        "certificate_file": st.lists(files, min_size=1, max_size=2, unique=True),
        "known_hosts": st.lists(files, min_size=1, max_size=2, unique=True),
        "host_key_policy": st.sampled_from(["ask", "strict", "accept-new"]),
        "ssh_config": st.sampled_from(["none", "~/other config"]),
        "keepalive": st.integers(0, 86_400).map(lambda seconds: f"{seconds}s"),
        "keepalive_count": st.integers(1, 1000),
        "connect_timeout": st.integers(1, 3600).map(lambda seconds: f"{seconds}s"),
        "exit_on_forward_failure": st.just(True),
        "remote_unlink": st.just(True),
        "compression": st.booleans(),
        "ciphers": st.sampled_from(["aes128-ctr", "+aes128-cbc", "aes128-ctr,aes256-ctr", "-*-cbc"]),
    }
    for key, values in optional.items():
        if draw(st.booleans()):
            table[key] = draw(values)
    way = draw(st.sampled_from(["", "", "jump", "proxy_command"]))
    if way == "jump":
        table["jump"] = draw(st.just("none") | st.lists(words, min_size=1, max_size=3).map(",".join))
    elif way:
        table["proxy_command"] = draw(st.sampled_from(["nc %h %p", "none", "sh -c 'a \"b\" & c' # x"]))
    return table


def read(line: str) -> Profile:
    command = parse_line(line)
    return opened.profile_of("x", read_command(command.arguments, folder="/").table, FILE)


@settings(max_examples=300, deadline=None)
@given(tables())
def test_a_profile_that_is_printed_and_added_again_means_the_same(table: dict[str, Any]) -> None:
    profile = opened.profile_of("x", table, FILE)
    again = read(ssh_command(profile))
    assert again == profile
    assert ssh_command(again) == ssh_command(profile)


@settings(max_examples=100, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_the_flags_may_stand_in_any_order_and_behind_the_destination(
    table: dict[str, Any], random: Any
) -> None:
    profile = opened.profile_of("x", {**table, "identity_file": [], "certificate_file": []}, FILE)
    _, *arguments, destination = shlex.split(ssh_command(profile))
    flags = [[word] for word in arguments if word in {"-N", "-T", "-C"}]
    others = [word for word in arguments if word not in {"-N", "-T", "-C"}]
    pairs = [*flags, *([others[i] + others[i + 1]] for i in range(0, len(others), 2))]
    random.shuffle(pairs)
    split = random.randrange(len(pairs) + 1)
    before = [word for pair in pairs[:split] for word in pair]
    after = [word for pair in pairs[split:] for word in pair]
    again = read(shlex.join(["ssh", *before, destination, *after]))
    kinds = [sorted(map(str, each.forwards)) for each in (again, profile)]
    assert kinds[0] == kinds[1]
    assert replace(again, forwards=()) == replace(profile, forwards=())


@pytest.mark.parametrize("keepalive", ["1.2s", "1.9s"])
def test_a_keepalive_that_ssh_cannot_say_is_never_turned_off(keepalive: str) -> None:
    table = {"host": "h", "dynamic": ["1"], "keepalive": keepalive}
    assert "ServerAliveInterval=2" in ssh_command(opened.profile_of("x", table, FILE))


def test_beside_a_proxy_command_no_jump_is_said_because_ssh_would_take_that() -> None:
    table = {"host": "h", "dynamic": ["1"], "jump": "none", "proxy_command": "nc %h %p"}
    line = ssh_command(opened.profile_of("x", table, FILE))
    assert "ProxyJump" not in line
    assert "ProxyCommand" in line


@real_ssh
@settings(max_examples=25, deadline=None)
@given(tables())
def test_ssh_itself_understands_what_is_printed(table: dict[str, Any]) -> None:
    table = {**table, "ssh_config": "none"}
    _, *arguments = shlex.split(ssh_command(opened.profile_of("x", table, FILE)))
    done = subprocess.run(["ssh", "-G", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [line.partition(" ")[0] for line in done.stdout.splitlines()]
    sockets = sum("/run" in rule for rule in table.get("local", ()))
    assert said.count("localforward") == len(table.get("local", ()))
    assert said.count("remoteforward") == len(table.get("remote", ()))
    assert said.count("dynamicforward") in {
        len(table.get("dynamic", ())),
        len(table.get("dynamic", ())) + sockets,
    }
