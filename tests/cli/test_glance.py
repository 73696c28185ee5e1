from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.cli.console import Result, streams, tunnels
from tests.daemon.served import FILE, NOW, daemon_thread, profile_file, tunnel
from tunnels import desired_state, paths, spawn
from tunnels.cli import glance
from tunnels.client import Client
from tunnels.core.state import TunnelState
from tunnels.core.status import Snapshot
from tunnels.desired_state import DesiredState
from tunnels.errors import ControlError, DaemonStartFailed, NoSuchProfile

UP, BACKOFF, FAILED = TunnelState.UP, TunnelState.BACKOFF, TunnelState.FAILED


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file()


def show(*names: str, as_json: bool = False) -> Result:
    with streams() as (out, err):
        code = glance.show(list(names), as_json=as_json)
    return Result(code, out.getvalue(), err.getvalue())


# --- what is shown --------------------------------------------------------------------------------


def test_every_tunnel_is_shown_in_the_order_of_their_start() -> None:
    with daemon_thread(tunnel("work-db"), tunnel("home", FAILED)):
        result = show()
    assert [line.split()[1] for line in result.out.splitlines() if line[0] != " "] == ["work-db", "home"]
    assert (result.code, result.err) == (0, "")


def test_only_the_named_ones_are_shown_also_by_glob() -> None:
    with daemon_thread(tunnel("work-db"), tunnel("work-web"), tunnel("home")):
        assert "home" not in show("work-*").out
        assert "work" not in show("home").out
        assert [it["name"] for it in show("*-web", "home", as_json=True).json["tunnels"]] == [
            "work-web",
            "home",
        ]


def test_a_problem_of_the_file_is_said_with_and_without_tunnels() -> None:
    profile_file(FILE + 'hosst = "typo"\n')
    with daemon_thread(tunnel("work-db")) as daemon:
        assert "hosst" in show().out
        daemon.do(daemon.supervisor.paper.clear)
        result = show()
        assert "no tunnel is running" in result.err
        assert "hosst" in result.err


@pytest.mark.parametrize("runs", [True, False])
def test_nothing_that_runs_is_no_failure_and_leads_on(runs: bool) -> None:
    if runs:
        with daemon_thread():
            result = show()
    else:
        result = show()
    assert (result.code, result.out) == (0, "")
    assert "tunnels up" in result.err


def test_as_json_it_is_the_document_of_the_contract_also_without_a_daemon() -> None:
    with daemon_thread(tunnel("work-db")) as daemon:
        document = show(as_json=True).json
        assert document == daemon.do(daemon.handlers.snapshot).to_json()
    assert document["version"] == 1
    assert document["daemon"]["config"] == str(paths.config_file())
    assert show(as_json=True).json == {"version": 1, "daemon": None, "tunnels": []}


# --- the exit code --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ([], 0),  # asking for everything is always answered
        (["work-db"], 0),
        (["work-db", "cafe"], 0),
        (["home"], 3),  # not up
        (["work-db", "home"], 3),
        (["*"], 3),
        (["c*"], 0),
        (["work-web"], 3),  # in the file, and does not run
        (["work-*"], 0),  # what runs of them is up
    ],
)
def test_named_tunnels_must_be_up_and_the_rest_does_not_count(names: list[str], code: int) -> None:
    with daemon_thread(tunnel("work-db"), tunnel("cafe"), tunnel("home", BACKOFF)):
        assert show(*names).code == code
        assert show(*names, as_json=True).code == code


def test_what_waits_for_clients_works() -> None:
    with daemon_thread(tunnel("work-db"), tunnel("cafe", TunnelState.IDLE)):
        result = show("cafe")
        assert (result.code, show("*").code) == (0, 0)
        assert "idle" in result.out


def test_without_a_daemon_a_profile_is_not_running() -> None:
    result = show("home")
    assert (result.code, result.out) == (3, "")
    assert "home: not running" in result.err
    assert show("home", as_json=True).code == 3


@pytest.mark.parametrize("runs", [True, False])
def test_a_name_that_is_nothing_is_a_mistake(runs: bool) -> None:
    daemon = daemon_thread(tunnel("work-db")) if runs else contextlib.nullcontext()
    with daemon, pytest.raises(NoSuchProfile, match="hom") as caught:
        show("work-db", "hom")
    assert "home" in (caught.value.hint or "")


def test_a_tunnel_whose_profile_is_gone_can_still_be_looked_at() -> None:
    profile_file("")
    with daemon_thread(tunnel("gone")):
        assert show("gone").code == 0


def test_a_killed_daemon_is_started_again_by_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(config: Path) -> Client:
        raise DaemonStartFailed(f"with {config}")

    desired_state.save(paths.state_file(), DesiredState(("work-db",), running=True, config="/p.toml"))
    monkeypatch.setattr(spawn, "start_daemon", start)
    with pytest.raises(DaemonStartFailed, match=r"with /p\.toml"):
        show()


# --- watching -------------------------------------------------------------------------------------


class Watched:
    """A client whose watch shows what the test has for it, and then breaks off."""

    def __init__(self, *snapshots: Snapshot, end: BaseException) -> None:
        self.snapshots = snapshots
        self.end = end
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def watch(self, interval: float) -> Iterator[Snapshot]:
        assert interval > 0
        yield from self.snapshots
        raise self.end


ONE = Snapshot(None, (tunnel("work-db"),))
TWO = Snapshot(None, (tunnel("work-db", FAILED), tunnel("home")))


def watch(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, *arguments: str, is_terminal: bool = False
) -> Result:
    monkeypatch.setattr(spawn, "find_daemon", lambda: watched)
    result = tunnels("status", "--watch", *arguments, is_terminal=is_terminal)
    assert watched.closed
    return result


def test_a_watch_goes_on_until_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    result = watch(Watched(ONE, TWO, end=KeyboardInterrupt()), monkeypatch)
    heads = [line.split()[:3] for line in result.out.splitlines() if line[0] != " "]
    assert heads == [["●", "work-db", "up"], ["✗", "work-db", "failed"], ["●", "home", "up"]]
    assert result.code == 130


def test_a_watch_on_a_terminal_redraws_one_screen_and_gives_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    result = watch(Watched(ONE, TWO, end=KeyboardInterrupt()), monkeypatch, is_terminal=True)
    assert "\x1b[?1049h" in result.out, "the screen of the shell is overwritten"
    assert result.out.rstrip().endswith("\x1b[?25h") or "\x1b[?1049l" in result.out
    assert "1 of 1 up" in result.out
    assert "1 of 2 up" in result.out


def test_a_watch_of_one_tunnel_leaves_out_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_terminal in (False, True):
        watched = Watched(TWO, ONE, end=KeyboardInterrupt())
        assert "home" not in watch(watched, monkeypatch, "work-db", is_terminal=is_terminal).out


def test_a_watch_of_nothing_that_exists_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(Watched(ONE, end=AssertionError()), monkeypatch, "hom").code == 4


def test_a_watch_as_json_is_one_document_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    result = watch(Watched(ONE, TWO, end=KeyboardInterrupt()), monkeypatch, "--json")
    decoder, text, documents = json.JSONDecoder(), result.out, []
    while text.strip():
        document, end = decoder.raw_decode(text.lstrip())
        documents.append(document)
        text = text.lstrip()[end:]
    assert [len(document["tunnels"]) for document in documents] == [1, 2]


def test_a_watch_ends_with_the_daemon_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    result = watch(Watched(ONE, end=ControlError("the daemon hung up")), monkeypatch)
    assert result.code == 1
    assert "hung up" in result.err


def test_a_watch_without_a_daemon_says_that_nothing_runs() -> None:
    result = tunnels("status", "-w")
    assert result.code == 0
    assert "no tunnel is running" in result.err


def test_a_watch_sees_a_change_in_the_real_daemon() -> None:
    with daemon_thread(tunnel("work-db", BACKOFF)) as daemon, Client.connect() as client:
        snapshots = client.watch(10)
        assert next(snapshots).tunnels[0].state is BACKOFF
        daemon.do(lambda: daemon.supervisor.show(tunnel("work-db", UP)))
        seen = next(states for states in snapshots if states.tunnels[0].state is UP)
        assert seen.tunnels[0].since == NOW


def test_the_time_shown_is_that_of_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(int(NOW) + 10, 10)
    monkeypatch.setattr("tunnels.cli.glance.time.time", lambda: float(next(clock)))
    result = watch(Watched(ONE, ONE, end=KeyboardInterrupt()), monkeypatch)
    assert "up 10s" in result.out
    assert "up 20s" in result.out
