"""A command that goes through a tunnel has it up first, and finds its proxy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.console import Result
from tests.cli.fake_client import FAILED, REFUSED, UP, FakeClient, run
from tests.daemon.served import forward, profile_file, tunnel
from tunnels import desired_state, paths
from tunnels.core.state import ForwardState
from tunnels.core.status import ForwardStatus, Snapshot, TunnelStatus
from tunnels.desired_state import DesiredState
from tunnels.errors import ErrorInfo

FILE = """\
[profiles.cafe]
host = "vps"
local = ["5432:db.internal:5432"]
dynamic = ["1080", { listen = "127.0.0.1:1081", name = "second" }]

[profiles.guarded]
host = "vps"
dynamic = [{ listen = "1080", auth = { username = "me", password_command = "echo x" } }]

[profiles.work-db]
host = "bastion"
local = ["5432:db.internal:5432"]
"""


def proxy(listen: str = "localhost:1080", **rest: object) -> ForwardStatus:
    return forward(listen, None, kind="dynamic", **rest)


def cafe(*forwards: ForwardStatus, name: str = "cafe", **rest: Any) -> TunnelStatus:
    return tunnel(name, forwards=forwards or (proxy(), proxy("127.0.0.1:1081", name="second")), **rest)


def env(client: FakeClient, *arguments: str) -> Result:
    return run(client, "env", *(arguments or ("cafe",)), "--shell", "bash")


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file(FILE)


def test_the_first_dynamic_forward_serves_and_the_tunnel_that_was_brought_up_is_said_to_stay() -> None:
    client = FakeClient((cafe(),))
    result = env(client)
    assert result.code == 0
    assert "export ALL_PROXY='socks5h://127.0.0.1:1080'" in result.out
    assert result.words == "cafe is up, and stays up; `tunnels down cafe` ends it"
    assert client.calls[0][:2] == ("up", ["cafe"])


def test_a_tunnel_that_was_opened_without_a_profile_serves_as_well() -> None:
    state = DesiredState(
        ("mine",), config=str(paths.config_file()), opened={"mine": {"host": "vps", "dynamic": ["1080"]}}
    )
    desired_state.save(paths.state_file(), state)
    result = env(FakeClient((cafe(proxy(), name="mine"),)), "mine")
    assert (result.code, "socks5h://127.0.0.1:1080" in result.out) == (0, True)


def test_of_a_tunnel_that_was_up_nothing_is_said() -> None:
    client = FakeClient((cafe(),))
    client.found = "already"
    assert env(client).err == ""


@pytest.mark.parametrize("which", ["second", "1081", "127.0.0.1:1081"])
def test_another_is_chosen_by_name_or_port(which: str) -> None:
    assert "127.0.0.1:1081" in env(FakeClient((cafe(),)), "cafe", "--forward", which).out


def test_one_that_does_not_exist_is_answered_with_those_that_do() -> None:
    result = env(FakeClient((cafe(),)), "cafe", "--forward", "third")
    assert (result.code, result.out) == (2, "")
    assert "it has localhost:1080, second" in result.words


def test_a_profile_without_a_proxy_is_told_the_line_to_add_and_not_brought_up() -> None:
    client = FakeClient((tunnel(),))
    result = env(client, "work-db")
    assert (result.code, client.calls) == (2, [])
    assert 'dynamic = ["1080"]' in result.words


def test_a_glob_that_means_several_is_none() -> None:
    assert env(FakeClient((cafe(),)), "*").code == 2


def test_another_forward_that_cannot_listen_is_said_and_does_no_harm() -> None:
    taken = forward(state=ForwardState.FAILED, error=ErrorInfo("listen-failed", "port 5432 is taken", None))
    result = env(FakeClient((cafe(taken, proxy()),)))
    assert result.code == 0
    assert "port 5432 is taken" in result.words


def test_a_proxy_that_cannot_listen_is_an_error_with_its_hint() -> None:
    taken = proxy(
        state=ForwardState.FAILED, error=ErrorInfo("listen-failed", "port 1080 is taken", "ask lsof")
    )
    result = env(FakeClient((cafe(taken),)))
    assert (result.code, result.out) == (1, "")
    assert result.words == "error: cafe: localhost:1080: port 1080 is taken hint: ask lsof"


def test_a_tunnel_that_does_not_come_up_is_an_error_and_prints_nothing() -> None:
    result = env(FakeClient((cafe(state=FAILED, error=REFUSED),)))
    assert (result.code, result.out) == (1, "")
    assert result.words.count("bastion refused the login") == 1


def test_one_that_is_taken_down_meanwhile_is_an_error() -> None:
    client = FakeClient((cafe(),), ())
    client.status = lambda: Snapshot(None)  # type: ignore[method-assign]
    result = env(client)
    assert result.code == 1
    assert "was taken down" in result.words


def test_one_that_runs_with_an_older_profile_needs_a_reload() -> None:
    result = env(FakeClient((cafe(proxy("localhost:9999"), state=UP),)))
    assert result.code == 1
    assert "tunnels reload" in result.words


def test_a_proxy_that_wants_a_password_is_not_put_into_an_environment() -> None:
    result = env(FakeClient((cafe(proxy(), name="guarded"),)), "guarded")
    assert (result.code, result.out) == (2, "")
    assert "wants a password" in result.words
