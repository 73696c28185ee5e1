"""``tunnels open``: ssh's flags, and a tunnel that is supervised like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.console import tunnels
from tests.cli.fake_client import FAILED, REFUSED, UP, FakeClient, run
from tests.daemon.served import FILE, daemon_thread, profile_file, tunnel
from tunnels import paths, profiles
from tunnels.core.profile import Profile
from tunnels.daemon import foreground as engine


class Opening(FakeClient):
    """A daemon that calls the tunnel ``vps``."""

    def open(self, table: dict[str, Any], config: str, name: str = "") -> tuple[str, str]:
        self.calls.append(("open", table, config, name))
        return name or "vps", "started"


def test_the_flags_of_ssh_become_a_tunnel_that_is_waited_for_and_shown() -> None:
    client = Opening((tunnel("vps", UP),))
    result = run(client, "open", "-N", "-L5432:db:5432", "me@vps", "-p", "2222")
    assert result.code == 0
    assert "vps" in result.out
    table = {"host": "me@vps:2222", "local": ["5432:db:5432"]}
    assert client.calls == [("open", table, str(paths.config_file()), "")]


def test_a_flag_and_its_value_in_one_word_are_never_options_of_ours() -> None:
    client = Opening((tunnel("vps", UP),))
    assert run(client, "open", "-Lhost.high:5432:th:5432", "vps", "-ohashknownhosts=yes").code == 2
    assert run(client, "open", "-L5432:host.high:5432", "-NTfnq", "vps").code == 0


@pytest.mark.parametrize(("words", "host"), [(["ssh", "-D1080", "vps"], "vps"), (["ssh", "-D1080"], "ssh")])
def test_a_pasted_ssh_is_no_host_unless_there_is_no_other(words: list[str], host: str) -> None:
    client = Opening((tunnel("vps", UP),))
    assert run(client, "open", *words).code == 0
    assert client.calls[0][1] == {"host": host, "dynamic": ["1080"]}


def test_one_that_fails_is_an_error_as_with_up() -> None:
    client = Opening((tunnel("vps", FAILED, error=REFUSED),))
    result = run(client, "open", "-D", "1080", "vps")
    assert result.code == 1
    assert REFUSED.message in result.err


def test_without_waiting_its_name_is_said() -> None:
    client = Opening((tunnel("vps", UP), tunnel("other", UP)))
    assert run(client, "open", "--no-wait", "-D", "1080", "vps").out == "vps: started\n"
    document = run(client, "open", "--no-wait", "--json", "-D", "1080", "vps").json
    assert [each["name"] for each in document["tunnels"]] == ["vps"]


def test_it_can_be_given_a_name() -> None:
    client = Opening((tunnel("mine", UP),))
    assert run(client, "open", "--name", "mine", "-D1080", "vps").code == 0
    assert client.calls[0][-1] == "mine"


def test_save_writes_a_profile_and_starts_that() -> None:
    path = profile_file()
    client = Opening((tunnel("cafe", UP),))
    result = run(client, "open", "--save", "cafe", "-D", "1080", "vps")
    assert result.code == 0
    assert f"cafe: written to {path}" in result.out
    assert client.calls == [("up", ["cafe"], str(path))]
    assert profiles.load(path).profiles["cafe"].host == "vps"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-L", "1:a:1"], "destination"),
        (["vps"], "nothing to forward"),
        (["-G", "-D1080", "vps"], "-G"),
        (["-oNoSuchOpt=1", "-D1080", "vps"], "man ssh_config"),
        (["-D1080", "vps", "--name", "a b"], "not a name"),
        (["-D1080", "vps", "--save", "home"], "already"),
        (["-D1080", "vps", "--save", "a", "--name", "b"], "--save"),
        (["-D1080", "vps", "--save", "a", "--foreground"], "--save"),
        (["-D1080", "vps", "--json", "--foreground"], "--json"),
        (["-D1080", "vps", "--timeout", "soon"], "--timeout"),
        ([], "destination"),
    ],
)
def test_what_makes_no_tunnel_is_refused_before_a_daemon_is_started(arguments: list[str], said: str) -> None:
    path = profile_file()
    result = tunnels("open", *arguments)
    assert result.code == 2
    assert said in result.words + result.out
    assert path.read_text() == FILE
    assert not paths.socket_path().exists()


def test_the_daemon_is_told_and_says_the_name() -> None:
    with daemon_thread() as daemon:
        result = tunnels("open", "-D", "1080", "me@vps")
        assert result.code == 0
        assert "vps" in result.out
        assert daemon.supervisor.profiles["vps"].user == "me"
        assert tunnels("down", "vps").out == "vps: stopped\n"


def test_in_the_foreground_the_daemon_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def foreground(path: Path, wanted: list[Profile], *, in_file: bool) -> int:
        seen.append(([profile.name for profile in wanted], in_file))
        return 0

    monkeypatch.setattr(engine, "run_foreground", foreground)
    assert tunnels("open", "--foreground", "-D", "1080", "me@vps").code == 0
    assert seen == [(["vps"], False)]
