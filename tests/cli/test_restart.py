from __future__ import annotations

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import FILE, daemon_thread, profile_file, tunnel
from tunnels import spawn
from tunnels.client import Client
from tunnels.core.state import TunnelState
from tunnels.errors import DaemonStartFailed


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file()


@pytest.mark.parametrize(
    ("arguments", "restarted"),
    [
        (["work-db"], ["work-db"]),
        (["work-*"], ["work-db", "work-web"]),
        (["--tag", "web", "home"], ["work-web", "home"]),
        (["--all"], ["work-db", "work-web", "home"]),
    ],
)
def test_the_named_tunnels_are_restarted_and_waited_for(arguments: list[str], restarted: list[str]) -> None:
    with daemon_thread(tunnel("home")) as daemon:
        result = tunnels("restart", *arguments)
        assert daemon.supervisor.calls == [("restart", restarted)]
    assert result.code == 0
    shown = [line.split()[1:3] for line in result.out.splitlines() if line[0] != " "]
    assert sorted(shown) == sorted([name, "up"] for name in restarted)


def test_a_tunnel_that_does_not_come_up_again_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon_thread() as daemon:
        restart = daemon.supervisor.restart

        async def fail(profiles: list[object]) -> None:
            await restart(profiles)  # type: ignore[arg-type]  # what the handlers gave us
            daemon.supervisor.show(tunnel("work-db", TunnelState.FAILED))

        monkeypatch.setattr(daemon.supervisor, "restart", fail)
        assert tunnels("restart", "work-db").code == 1


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 2), (["hom"], 4), (["home", "--timeout", "soon"], 2), (["--tag", "none"], 4)]
)
def test_what_makes_no_sense_restarts_nothing_and_starts_no_daemon(
    arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "start_daemon", None)
    assert tunnels("restart", *arguments).code == code


def test_a_bad_file_restarts_nothing() -> None:
    profile_file(FILE + "hosst = 1\n")
    with daemon_thread(tunnel("home")) as daemon:
        assert tunnels("restart", "home").code == 2
        assert daemon.supervisor.calls == []


def test_without_a_daemon_one_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(config: object) -> Client:
        raise DaemonStartFailed("no")

    monkeypatch.setattr(spawn, "start_daemon", start)
    assert tunnels("restart", "home", "--json").json["error"]["code"] == "daemon-start-failed"
