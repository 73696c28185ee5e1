from __future__ import annotations

import asyncio
import itertools
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import FILE, profile_file
from tunnels import profiles
from tunnels.core.forward import Forward, ForwardKind, parse_forward
from tunnels.core.profile import Profile
from tunnels.core.ssh_command import ssh_command
from tunnels.errors import BadSetting
from tunnels.forwarding import interfaces
from tunnels.ssh import describe as describing
from tunnels.ssh import resolve as resolving
from tunnels.ssh.describe import Remark
from tunnels.ssh.keywords import Note

KINDS = {"-L": ForwardKind.LOCAL, "-R": ForwardKind.REMOTE, "-D": ForwardKind.DYNAMIC}


def profile(text: str) -> Profile:
    """Read one profile, given without the line of its name."""
    return profiles.parse(f"[profiles.it]\n{text}", "test").profiles["it"]


def words(text: str) -> list[str]:
    return shlex.split(ssh_command(profile(text)))


# --- the ssh command line -------------------------------------------------------------------------

WHOLE = """
host = "me@bastion.example.com:2222"
identity_file = ["~/.ssh/work key", "/keys/second"]
certificate_file = "~/.ssh/id-cert.pub"
jump = ["gate", "me@inner:2200"]
known_hosts = "~/.ssh/known_hosts_work"
host_key_policy = "accept-new"
keepalive = "15s"
keepalive_count = 4
connect_timeout = "10s"
ciphers = "aes128-gcm@openssh.com,aes256-ctr"
compression = true
exit_on_forward_failure = true
local = ["5432:db.internal:5432", "[::1]:8000-8001:web:80-81"]
remote = ["2222:localhost:22", "0:localhost:80"]
dynamic = ["1080"]
"""


def test_everything_that_ssh_has_a_word_for_is_on_the_command_line() -> None:
    assert words(WHOLE) == [
        *("ssh", "-N", "-T"),
        *("-L", "5432:db.internal:5432", "-L", "[::1]:8000:web:80", "-L", "[::1]:8001:web:81"),
        *("-R", "2222:localhost:22", "-R", "0:localhost:80"),
        *("-D", "1080"),
        *("-i", "~/.ssh/work key", "-i", "/keys/second"),
        *("-J", "gate,me@inner:2200"),
        *("-p", "2222"),
        *("-c", "aes128-gcm@openssh.com,aes256-ctr"),
        "-C",
        *("-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"),
        *("-o", "ConnectTimeout=10"),
        *("-o", "UserKnownHostsFile=~/.ssh/known_hosts_work"),
        *("-o", "StrictHostKeyChecking=accept-new"),
        *("-o", "CertificateFile=~/.ssh/id-cert.pub"),
        *("-o", "ExitOnForwardFailure=yes"),
        "me@bastion.example.com",
    ]


def test_what_the_profile_leaves_to_ssh_config_is_not_on_the_command_line() -> None:
    assert words('host = "bastion"\nlocal = ["5432:db:5432"]') == [
        *("ssh", "-N", "-T", "-L", "5432:db:5432", "bastion")
    ]


@pytest.mark.parametrize(
    ("policy", "word"), [("ask", "ask"), ("strict", "yes"), ("accept-new", "accept-new")]
)
def test_host_key_policies_in_ssh_words(policy: str, word: str) -> None:
    line = words(f'host = "h"\ndynamic = ["1080"]\nhost_key_policy = "{policy}"')
    assert f"StrictHostKeyChecking={word}" in line


FORWARDS = {
    ForwardKind.LOCAL: [
        *("5432:db.internal:5432", "127.0.0.1:5432:db:5432", "[::1]:5432:[2001:db8::1]:5432", "*:80:web:80"),
        *("8000-8003:web:9000-9003", "8080:/run/app.sock", "/tmp/pg.sock:db:5432", "/tmp/a b:/run/c"),
    ],
    ForwardKind.REMOTE: [
        "2222:localhost:22",
        "0.0.0.0:2222:localhost:22",
        "0:localhost:80",
        "1080",
        "[::1]:1080",
    ],
    ForwardKind.DYNAMIC: ["1080", "127.0.0.1:1080", "[::1]:1080"],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, many in FORWARDS.items() for text in many])
def test_forwards_on_the_command_line_mean_what_they_mean_in_the_file(kind: ForwardKind, text: str) -> None:
    it = profile(f'host = "h"\n{kind.value} = ["{text}"]')
    line = shlex.split(ssh_command(it))
    found: list[Forward] = []
    for flag, value in itertools.pairwise(line):
        if flag in KINDS:
            found += parse_forward(KINDS[flag], value).spread()
    assert tuple(found) == it.forwards


# --- what ssh makes of it -------------------------------------------------------------------------

real_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh program")


def ssh_sees(text: str, config: str = "") -> dict[str, list[str]]:
    """What the real ssh takes from the command line, without connecting."""
    file = Path.home() / "ssh_config"
    file.write_text(config)
    line = words(f'{text}\nssh_config = "{file}"')
    done = subprocess.run([line[0], "-G", *line[1:]], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for each in done.stdout.splitlines():
        key, _, value = each.partition(" ")
        found.setdefault(key, []).append(value)
    return found


BASE = 'host = "me@bastion"\ndynamic = ["1080"]\n'


@real_ssh
def test_the_real_ssh_takes_the_whole_line(home: Path) -> None:
    keys = [home / "work key", home / "second"]  # it leaves out those that do not exist
    for file in keys:
        file.touch()
    seen = ssh_sees(WHOLE.replace("~/.ssh/work key", str(keys[0])).replace("/keys/second", str(keys[1])))
    for key, value in {
        "hostname": "bastion.example.com",
        "user": "me",
        "port": "2222",
        "proxyjump": "gate,me@inner:2200",
        "serveraliveinterval": "15",
        "serveralivecountmax": "4",
        "connecttimeout": "10",
        "compression": "yes",
        "exitonforwardfailure": "yes",
        "stricthostkeychecking": "accept-new",
        "ciphers": "aes128-gcm@openssh.com,aes256-ctr",
    }.items():
        assert seen[key] == [value]
    assert len(seen["localforward"]) == 3
    assert len(seen["remoteforward"]) == 2
    assert len(seen["dynamicforward"]) == 1
    assert seen["identityfile"] == list(map(str, keys))


@real_ssh
@pytest.mark.parametrize(
    ("config", "text", "key", "value"),
    [
        ("ProxyJump gate\n", 'jump = "none"', "proxyjump", None),
        ("Compression yes\n", "compression = false", "compression", ["no"]),
        ("ProxyCommand nc %h %p\n", 'proxy_command = "none"', "proxycommand", None),
        ("ServerAliveInterval 9\n", 'keepalive = "0"', "serveraliveinterval", ["0"]),
        ("Ciphers aes256-ctr\n", 'ciphers = "-*ctr,*gcm*"', "ciphers", ["chacha20-poly1305@openssh.com"]),
        ("UserKnownHostsFile /theirs\n", 'known_hosts = "none"', "userknownhostsfile", ["none"]),
    ],
)
def test_what_the_profile_turns_off_is_off_whatever_ssh_config_says(
    config: str, text: str, key: str, value: list[str] | None
) -> None:
    assert ssh_sees(BASE + text, f"Host *\n {config}").get(key) == value


@real_ssh
def test_files_with_blanks_in_their_names_are_one_file_each() -> None:
    seen = ssh_sees(BASE + 'known_hosts = ["/my hosts", "/more"]\ncertificate_file = "/my cert.pub"')
    assert seen["certificatefile"] == ["/my cert.pub"]
    # ssh -G shows both readings in the same way; what tells them apart is that it wants quotes.
    assert 'UserKnownHostsFile="/my hosts" /more' in words(BASE + 'known_hosts = ["/my hosts", "/more"]')


def test_the_command_prints_one_line_a_profile_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "resolve_all", None)
    profile_file()
    result = tunnels("check", "--ssh", "work-*")
    assert result.out.splitlines() == [
        "ssh -N -T -L 5432:db.internal:5432 bastion",
        "ssh -N -T -L 8080:web.internal:80 bastion",
    ]
    assert result.code == 0


def test_a_long_command_is_one_line_on_a_terminal_too() -> None:
    profile_file(f"[profiles.it]{WHOLE}")
    assert len(tunnels("check", "--ssh", "it", is_terminal=True).out.splitlines()) == 1


# --- what is not supported ------------------------------------------------------------------------


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every host resolve to itself but for ``broken``, without asking ssh."""

    async def resolve_all(them: Sequence[Profile]) -> list[Profile | BadSetting]:
        await asyncio.sleep(0)
        wrong = BadSetting("broken: Bad configuration option: hosst", hint="mend ~/.ssh/config")
        return [wrong if it.host == "broken" else it for it in them]

    def describe(it: Profile) -> list[tuple[str, str]]:
        return [("host", f"{it.host}.example.com"), ("user", "me")]

    def remarks(it: Profile) -> list[Remark]:
        if it.host != "bastion":
            return []
        forwards = Note("LocalForward", "80 [a]:80", "write them into the profile")
        return [Remark("gate", True, forwards), Remark("bastion", False, forwards)]

    monkeypatch.setattr(resolving, "resolve_all", resolve_all)
    monkeypatch.setattr(describing, "describe", describe)
    monkeypatch.setattr(describing, "remarks", remarks)


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is in one network."""
    monkeypatch.setattr(interfaces, "facts", lambda: (("192.168.1.7/24",), None))


def check(*arguments: str, **how: Any) -> Any:
    return tunnels("check", *arguments, **how)


@pytest.mark.usefixtures("resolved")
def test_a_good_file_is_0_and_each_profile_is_shown_with_what_it_resolves_to() -> None:
    path = profile_file(FILE.replace('host = "me', 'description = "a [box]"\nhost = "me'))
    result = check("work-db", "home")
    assert result.out.splitlines() == [
        "work-db",
        "    -L 5432:db.internal:5432  (this machine only)",
        "    host            bastion.example.com",
        "    user            me",
        "home  a [box]",
        "    -R 2222:localhost:22  (every program on vps.example.com, and no other machine)",
        "    host            vps.example.com.example.com",
        "    user            me",
    ]
    said, verdict = result.err.splitlines()
    assert said.startswith("note: LocalForward")
    assert (result.code, verdict) == (0, f"{path}: 3 profiles, no problem")


@pytest.mark.usefixtures("resolved")
def test_what_ssh_config_says_and_nobody_does_is_said_once_with_whom_it_concerns() -> None:
    profile_file()
    assert check().err.splitlines()[0] == (
        "note: LocalForward 80 [a]:80 (gate before work-db, work-db, gate before work-web, work-web): "
        "write them into the profile"
    )
    assert check().code == 0


@real_ssh
def test_what_stands_below_host_star_is_said_once_and_imported_forwards_are_not(home: Path) -> None:
    config = home / "ssh_config"
    config.write_text(
        'Host *\n ControlMaster auto\n ControlPath ~/.ssh/cm-%C\nHost a\n LocalForward "/tmp/a b.sock" /run/x\n'
        " LocalForward 80 a:80\nHost b\n LocalForward 81 a:81\n LocalForward 82 a:82\n DynamicForward 1080\n"
    )
    profile_file(
        f'[defaults]\nssh_config = "{config}"\n'
        '[profiles.a]\nhost = "a"\nlocal = ["/tmp/a b.sock:/run/x", "80:a:80"]\n'
        '[profiles.b]\nhost = "b"\nlocal = ["9:a:9"]\ndynamic = ["1080"]\n'
    )
    control, forwards = [line for line in check().err.splitlines() if line.startswith("note:")]
    assert control.startswith("note: ControlPath ")
    assert "(and 1 more) (a, b): " in control
    assert forwards.startswith("note: LocalForward 81 [a]:81 (and 1 more) (b): ")


@pytest.mark.usefixtures("resolved")
def test_programs_read_each_note_with_its_hop() -> None:
    profile_file()
    work, *_, home = check("--json").json["profiles"]
    note = {"keyword": "LocalForward", "value": "80 [a]:80", "text": "write them into the profile"}
    assert work["notes"] == [{"host": "gate", "hop": True, **note}, {"host": "bastion", "hop": False, **note}]
    assert home["notes"] == []


def test_the_ssh_command_as_json_is_one_document_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "resolve_all", None)
    path = profile_file()
    result = tunnels("check", "--ssh", "--json", "work-db")
    assert (result.code, result.err) == (0, "")
    assert result.json == {
        "version": 1,
        "config": str(path),
        "profiles": [{"name": "work-db", "command": "ssh -N -T -L 5432:db.internal:5432 bastion"}],
    }


@pytest.mark.usefixtures("resolved", "at_home")
@pytest.mark.parametrize(
    ("text", "side"),
    [
        ('local = ["*:80:web:80"]', "your network"),
        ('remote = ["*:80:web:80"]', "who reaches h, if GatewayPorts"),
    ],
)
def test_a_listener_that_others_can_reach_is_said_with_where(text: str, side: str) -> None:
    profile_file(f'[profiles.it]\nhost = "h"\n{text}\n')
    (line,) = [line for line in check().out.splitlines() if "*:80" in line]
    assert "  open to everyone " in line
    assert side in line


@pytest.mark.usefixtures("resolved")
def test_the_commands_of_a_profile_are_shown_as_they_are_run() -> None:
    profile_file(f"[defaults]\non_down = \"page 'it is down'\"\n{FILE}")
    assert "on_down         page 'it is down'" in check().out
    hooks = check("--json").json["profiles"][0]["hooks"]
    assert hooks == {"on_down": ["page", "it is down"]}


@pytest.mark.usefixtures("resolved")
def test_a_profile_that_does_not_resolve_is_2_and_the_others_are_shown() -> None:
    profile_file(FILE + '[profiles.bad]\nhost = "broken"\ndynamic = ["1080"]\n')
    result = check()
    assert result.code == 2
    assert "Bad configuration option" in result.err
    assert "mend ~/.ssh/config" in result.err
    assert "no problem" not in result.err
    assert "work-db" in result.out


@pytest.mark.usefixtures("resolved")
def test_as_json_it_is_one_document_with_everything() -> None:
    path = profile_file(
        FILE.replace("8080", "5432")
        + '[profiles.bad]\nhost = "broken"\nproxy_command = "nc %h %p"\nremote = ["1080"]\n'
    )
    result = check("--json")
    assert (result.code, result.err) == (2, "")
    document = result.json
    assert (document["version"], document["config"]) == (1, str(path))
    assert "both listen" in document["warnings"][0]
    first, *_, bad = document["profiles"]
    assert first == {
        "name": "work-db",
        "forwards": [
            {
                "kind": "local",
                "forward": "5432:db.internal:5432",
                "audience": {"reach": "machine", "text": "this machine only"},
            }
        ],
        "resolved": [["host", "bastion.example.com"], ["user", "me"]],
        "notes": [
            {"host": host, "hop": host == "gate", "keyword": "LocalForward", "value": "80 [a]:80"}
            | {"text": "write them into the profile"}
            for host in ("gate", "bastion")
        ],
        "hooks": {},
        "error": None,
    }
    assert bad["resolved"] is None
    assert bad["error"]["code"] == "bad-setting"


@pytest.mark.usefixtures("resolved")
def test_a_warning_is_said_and_no_failure() -> None:
    profile_file(FILE.replace("8080", "5432"))
    result = check()
    assert result.code == 0
    assert "warning: " in result.err


@pytest.mark.usefixtures("resolved")
def test_a_warning_is_said_only_where_it_is_about_a_profile_that_was_asked_for() -> None:
    profile_file(FILE.replace("8080", "5432"))
    assert "warning: " not in check("home").err
    assert check("home", "--json").json["warnings"] == []
    assert "warning: " in check("work-db").err
    assert "warning: " in check("work-web").err


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--ssh"], ["work-db"]])
def test_a_bad_file_is_2_with_every_problem(arguments: list[str]) -> None:
    profile_file(FILE + "hosst = 1\nlocall = 2\n")
    result = check(*arguments)
    assert result.code == 2
    for word in ("hosst", "locall", "line "):
        assert word in result.out + result.err


def test_a_name_that_is_no_profile_is_4() -> None:
    profile_file()
    assert check("work-dbb").code == 4


@pytest.mark.usefixtures("resolved")
def test_one_profile_is_one() -> None:
    profile_file('[profiles.it]\nhost = "h"\ndynamic = ["1080"]\n')
    assert "1 profile, no problem" in check().err
