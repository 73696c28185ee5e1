from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.console import Result, tunnels
from tests.cli.fake_client import BACKOFF, CONNECTING, FAILED, REFUSED, UP, FakeClient, up
from tests.daemon.served import FILE, NOW, daemon_thread, forward, profile_file, tunnel
from tunnels import client as their_client
from tunnels import paths, spawn
from tunnels.cli import up as verb
from tunnels.cli import waiting
from tunnels.core.profile import Profile
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import Snapshot
from tunnels.daemon import foreground as engine
from tunnels.errors import ControlError, DaemonStartFailed, ErrorInfo, UsageError


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass with each look at the clock."""
    seconds = itertools.count()
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: next(seconds), time=lambda: NOW))


# --- up -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("clock")
def test_a_tunnel_that_comes_up_is_waited_for_and_shown_with_its_forwards() -> None:
    client = FakeClient(
        (tunnel(state=CONNECTING, forwards=()),),
        (tunnel(state=BACKOFF, forwards=()),),
        (tunnel(rtt_ms=23.4, forwards=(forward(), forward("localhost:6379", "cache:6379", name="redis"))),),
    )
    assert up(client) == Result(
        0,
        "● work-db  up 0.0s · bastion · 23.4 ms\n"
        "    localhost:5432 → db.internal:5432\n"
        "    localhost:6379 → cache:6379  redis\n",
        "",
    )
    assert client.calls == [("up", ["work-db"], str(paths.config_file()))]
    assert client.looked == 3


def test_a_tunnel_that_is_up_already_is_a_success() -> None:
    client = FakeClient((tunnel(error=REFUSED),))
    client.found = "already"
    result = up(client)
    assert (result.code, result.err) == (0, "")
    assert "refused" not in result.out, "an error of the past is none of this command"


def test_each_is_shown_when_it_is_up_and_once() -> None:
    client = FakeClient(
        (tunnel("work-db", CONNECTING), tunnel("work-web")),
        (tunnel("work-db", CONNECTING), tunnel("work-web")),
        (tunnel("work-db"), tunnel("work-web")),
    )
    result = up(client, "work-*")
    heads = [line.split()[1] for line in result.out.splitlines() if line[0] != " "]
    assert (result.code, heads) == (0, ["work-web", "work-db"])


def test_other_tunnels_of_the_daemon_are_no_concern() -> None:
    client = FakeClient((tunnel("home", FAILED, error=REFUSED), tunnel("work-db")))
    result = up(client)
    assert result.code == 0
    assert "home" not in result.out + result.err


def test_an_older_version_that_runs_is_said() -> None:
    client = FakeClient((tunnel(),))
    client.found = "changed"
    result = up(client)
    assert result.code == 0
    assert "tunnels reload" in result.err


def test_without_waiting_it_returns_at_once() -> None:
    client = FakeClient((tunnel("work-db", CONNECTING), tunnel("home")))
    assert up(client, "work-db", "--no-wait") == Result(0, "work-db: connecting\n", "")
    document = up(client, "work-db", "--no-wait", "--json").json
    assert [(it["name"], it["state"]) for it in document["tunnels"]] == [("work-db", "connecting")]
    assert client.looked == 0


# --- on demand ------------------------------------------------------------------------------------


def test_on_demand_it_is_as_asked_without_a_connection() -> None:
    result = up(FakeClient((tunnel(state=TunnelState.IDLE),)))
    assert result == Result(0, "◍ work-db  idle 0.0s · bastion\n    localhost:5432 → db.internal:5432\n", "")


def test_on_demand_its_ports_are_waited_for() -> None:
    binding = forward(state=ForwardState.PENDING)
    remote = forward("2222", "localhost:22", kind="remote", state=ForwardState.PENDING)
    client = FakeClient(
        (tunnel(state=TunnelState.IDLE, forwards=(binding, remote)),),
        (tunnel(state=TunnelState.IDLE, forwards=(forward(), remote)),),
    )
    assert up(client).code == 0
    assert client.looked == 2, "what listens on the server waits for the first client"


def test_on_demand_a_port_that_is_taken_is_1() -> None:
    taken = forward(state=ForwardState.FAILED, error=ErrorInfo("listen-failed", "port 5432 is taken", None))
    result = up(FakeClient((tunnel(state=TunnelState.IDLE, forwards=(taken,)),)))
    assert result.code == 1
    assert "port 5432 is taken" in result.err


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ({}, "connecting to bastion"),
        ({"error": REFUSED}, "bastion refused the login"),
        ({"error": REFUSED, "offline": True}, "offline, waits for the network"),
    ],
)
def test_beside_the_spinner_it_is_said_what_is_waited_for(rest: dict[str, Any], said: str) -> None:
    assert waiting._step(tunnel(state=BACKOFF, **rest)) == said


# --- not up ---------------------------------------------------------------------------------------


def test_a_tunnel_that_fails_is_1_with_why_and_what_to_do() -> None:
    result = up(FakeClient((tunnel(state=CONNECTING),), (tunnel(state=FAILED, error=REFUSED),)))
    assert result == Result(1, "", "error: work-db: bastion refused the login\nhint: set identity_file\n")


@pytest.mark.parametrize("state", [TunnelState.STOPPED, TunnelState.STOPPING])
def test_a_tunnel_that_somebody_takes_down_meanwhile_is_1(state: TunnelState) -> None:
    result = up(FakeClient((tunnel(state=state),)))
    assert result.code == 1
    assert "it was taken down" in result.err


def test_a_tunnel_that_is_taken_down_by_somebody_else_is_not_waited_for() -> None:
    client = FakeClient((tunnel(state=CONNECTING),), ())
    result = up(client)
    assert result.code == 1
    assert "work-db: it was taken down" in result.err
    assert client.looked == 2


def test_json_and_the_foreground_do_not_go_together() -> None:
    result = tunnels("up", "-f", "work-db", "--json")
    assert result.code == 2
    assert "--json" in result.json["error"]["message"]


def test_a_forward_that_cannot_listen_is_1_and_the_others_are_shown() -> None:
    failed = forward(
        "localhost:143",
        "localhost:143",
        state=ForwardState.FAILED,
        error=ErrorInfo("listen-failed", "port 143 needs a privilege", "port 8143 is free"),
    )
    result = up(FakeClient((tunnel(forwards=(forward(), failed)),)))
    assert result.code == 1
    assert "localhost:5432 → db.internal:5432" in result.out
    assert "143 needs" not in result.out, "it is said twice"
    assert result.err == (
        "error: work-db: localhost:143 → localhost:143: port 143 needs a privilege\nhint: port 8143 is free\n"
    )


def test_one_that_fails_does_not_end_the_wait_for_the_others() -> None:
    client = FakeClient(
        (tunnel("work-db", FAILED, error=REFUSED), tunnel("work-web", CONNECTING)),
        (tunnel("work-db", FAILED, error=REFUSED), tunnel("work-web", UP)),
    )
    result = up(client, "work-*")
    assert result.code == 1
    assert "work-web  up" in result.out
    assert result.err.count("refused the login") == 1


@pytest.mark.usefixtures("clock")
def test_when_the_time_is_over_it_says_why_and_that_it_goes_on_trying() -> None:
    lost = ErrorInfo("host-unreachable", "bastion did not answer in time", None)
    result = up(FakeClient((tunnel(state=BACKOFF, error=lost),)), "work-db", "--timeout", "10s")
    assert result.code == 1
    assert "work-db is not up after 10 s: bastion did not answer in time" in result.err
    assert "tunnels down work-db" in result.err


@pytest.mark.usefixtures("clock")
def test_when_the_time_is_over_the_hint_of_the_error_wins() -> None:
    result = up(FakeClient((tunnel(state=BACKOFF, error=REFUSED),)), "work-db", "--timeout", "1s")
    assert "hint: set identity_file\n" in result.err
    assert "tunnels status" not in result.err


@pytest.mark.usefixtures("clock")
def test_only_what_is_not_up_is_said_when_the_time_is_over() -> None:
    client = FakeClient((tunnel("work-db"), tunnel("work-web", BACKOFF)))
    result = up(client, "work-*", "--timeout", "3s")
    assert result.code == 1
    assert "work-web is not up" in result.err
    assert "work-db is not up" not in result.err


@pytest.mark.parametrize("timeout", ["soon", "10", "-1s", ""])
def test_a_time_that_is_none_starts_nothing(timeout: str) -> None:
    client = FakeClient((tunnel(),))
    result = up(client, "work-db", "--timeout", timeout)
    assert (result.code, client.calls) == (2, [])
    assert "--timeout" in result.err


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("2m", 120), ("0", 0), ("1.5s", 1.5)])
def test_the_time_is_a_duration_as_everywhere(text: str, seconds: float) -> None:
    assert verb.seconds_of(text) == seconds
    with pytest.raises(UsageError):
        verb.seconds_of("soon")


def test_ctrl_c_ends_the_wait_with_130_and_leaves_the_tunnel() -> None:
    class Interrupted(FakeClient):
        def watch(self, interval: float) -> Iterator[Snapshot]:
            raise KeyboardInterrupt

    client = Interrupted((tunnel(state=CONNECTING),))
    assert up(client).code == 130
    assert [call[0] for call in client.calls] == ["up"]


def test_a_daemon_that_dies_meanwhile_is_said() -> None:
    class Dying(FakeClient):
        def watch(self, interval: float) -> Iterator[Snapshot]:
            yield Snapshot(None, self.snapshots[0])
            raise ControlError("the daemon hung up")

    result = up(Dying((tunnel(state=CONNECTING),)))
    assert result.code == 1
    assert "the daemon hung up" in result.err


# --- as json --------------------------------------------------------------------------------------


def test_as_json_it_is_one_status_document_of_what_was_asked_for() -> None:
    client = FakeClient((tunnel("home"), tunnel("work-db", CONNECTING)), (tunnel("home"), tunnel("work-db")))
    result = up(client, "work-db", "--json", is_terminal=True)
    assert (result.code, result.err) == (0, "")
    assert [(it["name"], it["state"]) for it in result.json["tunnels"]] == [("work-db", "up")]


def test_as_json_a_failure_is_the_same_document_with_exit_code_1() -> None:
    result = up(FakeClient((tunnel(state=FAILED, error=REFUSED),)), "work-db", "--json")
    assert (result.code, result.err) == (1, "")
    assert result.json["tunnels"][0]["error"]["code"] == "login-refused"


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 2), (["hom"], 4), (["home", "--timeout", "soon"], 2), (["--tag", "none"], 4)]
)
def test_what_makes_no_sense_starts_no_daemon(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "ensure_daemon", None)
    assert tunnels("up", *arguments).code == code
    result = tunnels("up", *arguments, "--json")
    assert (result.code, result.err) == (code, "")
    assert "error" in result.json


def test_a_bad_file_starts_no_daemon_and_names_every_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "ensure_daemon", None)
    profile_file(FILE + "hosst = 1\nlocall = 2\n")
    result = tunnels("up", "work-db")
    assert result.code == 2
    assert "hosst" in result.err
    assert "locall" in result.err


# --- which ones, and how --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["home", "work-db"], ["work-db", "home"]),
        (["work-*"], ["work-db", "work-web"]),
        (["--tag", "web", "--tag", "work"], ["work-db", "work-web"]),
        (["--all"], ["work-db", "work-web", "home"]),
    ],
)
def test_names_globs_tags_and_all(arguments: list[str], names: list[str]) -> None:
    client = FakeClient(tuple(tunnel(name) for name in names))
    assert up(client, *arguments).code == 0
    assert client.calls == [("up", names, str(paths.config_file()))]


def test_in_the_foreground_there_is_no_daemon_and_its_exit_code_is_that_of_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def run_foreground(config: Path, profiles: list[Profile], ready_file: Path | None) -> int:
        seen.append((config, [profile.name for profile in profiles], ready_file))
        return 7

    monkeypatch.setattr(engine, "run_foreground", run_foreground)
    monkeypatch.setattr(spawn, "ensure_daemon", None)
    assert tunnels("up", "-f", "work-*").code == 7
    assert tunnels("up", "-f", "home", "--ready-file", "/run/ready").code == 7
    assert seen == [
        (paths.config_file(), ["work-db", "work-web"], None),
        (paths.config_file(), ["home"], Path("/run/ready")),
    ]


def test_in_the_foreground_a_tunnel_that_the_daemon_has_too_is_named_before_it_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "run_foreground", lambda *_: 0)
    with daemon_thread(tunnel("work-db"), tunnel("home", BACKOFF)):
        alone, both = tunnels("up", "-f", "work-web"), tunnels("up", "-f", "work-*", "home")
    assert (alone.code, alone.err) == (0, "")
    assert both.code == 0
    assert "the daemon keeps work-db, home as well" in both.words
    assert "`tunnels down work-db home`" in both.words


def test_a_daemon_that_cannot_be_asked_does_not_keep_the_foreground_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stuck() -> None:
        raise ControlError("the daemon does not answer")

    monkeypatch.setattr(engine, "run_foreground", lambda *_: 0)
    monkeypatch.setattr(their_client.Client, "connect", stuck)
    result = tunnels("up", "-f", "home")
    assert (result.code, result.err) == (0, "")


def test_a_ready_file_without_the_foreground_is_a_mistake() -> None:
    result = tunnels("up", "home", "--ready-file", "/run/ready")
    assert result.code == 2
    assert "tunnels status" in result.words


def test_with_the_real_client_and_control_server() -> None:
    with daemon_thread() as daemon:
        result = tunnels("up", "work-db", "home", is_terminal=True)
        assert daemon.supervisor.names == ("work-db", "home")
    assert result.code == 0
    assert "work-db" in result.out


def test_a_daemon_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(config: Path) -> object:
        raise DaemonStartFailed("the daemon did not start", hint="its last words: no")

    monkeypatch.setattr(spawn, "ensure_daemon", fail)
    result = tunnels("up", "work-db")
    assert result.code == 1
    assert "its last words: no" in result.err
