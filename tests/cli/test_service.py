from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.cli.console import Result, tunnels
from tests.daemon.served import daemon_thread, profile_file, tunnel
from tests.service.fake_manager import INACTIVE, FakeRunner
from tunnels import client, spawn
from tunnels.cli import service as verb
from tunnels.errors import DaemonNotRunning
from tunnels.service import here, systemd
from tunnels.service.systemd import Systemd


@pytest.fixture(autouse=True)
def runner(home: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRunner:
    """Have a systemd that is not there; nothing reaches the machine's own."""
    runner = FakeRunner()
    (home / "linger").mkdir()

    def user_manager() -> Systemd:
        return Systemd(
            home / "tunnels.service", user="me", runner=runner, linger=home / "linger", booted=home
        )

    monkeypatch.setattr(systemd, "SYSTEM_UNITS", home / "system")
    monkeypatch.setattr(here, "SYSTEM_UNITS", home / "system")
    monkeypatch.setattr(here, "user_manager", user_manager)
    monkeypatch.setattr(
        here,
        "system_manager",
        lambda account: Systemd(
            home / "system" / f"tunnels-{account.name}.service", user=account.name, system=True, runner=runner
        ),
    )
    runner.shown = INACTIVE
    profile_file()
    return runner


def install(*arguments: str) -> Result:
    return tunnels("service", "install", *arguments)


# --- install --------------------------------------------------------------------------------------


def test_install_says_what_it_wrote_and_starts_it(home: Path, runner: FakeRunner) -> None:
    result = install()
    assert result.code == 0
    assert result.out.splitlines()[0] == f"wrote {home / 'tunnels.service'}"
    assert runner.verbs == ["daemon-reload", "enable tunnels.service", "start tunnels.service"]
    assert (
        f"--config {home / 'config' / 'profiles.toml'} daemon run" in (home / "tunnels.service").read_text()
    )


def test_install_explains_lingering_only_where_it_is_off(home: Path) -> None:
    assert "loginctl enable-linger" in install().err
    (home / "linger" / "me").touch()
    assert "enable-linger" not in install().err


def test_install_says_that_the_agent_of_a_terminal_is_not_seen() -> None:
    result = install()
    assert "SSH_AUTH_SOCK" in result.err
    assert "identity_file" in result.err


def test_print_shows_the_file_and_installs_nothing(home: Path, runner: FakeRunner) -> None:
    result = install("--print")
    assert (result.code, result.err) == (0, "")
    assert "[Service]" in result.out
    assert not (home / "tunnels.service").exists()
    assert runner.calls == []


def test_install_twice_leaves_a_daemon_that_runs_alone(runner: FakeRunner) -> None:
    install()
    runner.shown = runner.shown.replace("inactive", "active")
    runner.calls.clear()
    result = install()
    assert (result.code, runner.verbs) == (0, ["daemon-reload", "enable tunnels.service"])
    assert "wrote" not in result.out


def test_install_again_with_another_file_restarts_it(runner: FakeRunner, home: Path) -> None:
    install()
    runner.shown = runner.shown.replace("inactive", "active")
    runner.calls.clear()
    assert install("--config", "/other.toml").code == 0
    assert runner.verbs[-1] == "restart tunnels.service"
    assert "/other.toml" in (home / "tunnels.service").read_text()


def test_a_changed_file_of_a_service_that_does_not_run_is_the_one_that_is_started(runner: FakeRunner) -> None:
    install()
    with daemon_thread(tunnel("work-db")):
        assert "these come back with it: work-db" in install("--config", "/other.toml").words
    assert runner.verbs[-1] == "restart tunnels.service"


def test_a_daemon_from_a_terminal_makes_room_and_its_tunnels_are_named(runner: FakeRunner) -> None:
    with daemon_thread(tunnel("work-db"), tunnel("home")):
        result = install()
        with pytest.raises(DaemonNotRunning):
            client.Client.connect()
    assert result.code == 0
    assert "these come back with it: work-db, home" in result.words
    assert runner.verbs[-1] == "start tunnels.service"


def test_where_systemd_does_not_answer_nothing_is_written_and_the_daemon_goes_on(
    runner: FakeRunner, home: Path
) -> None:
    runner.fail("show --property=Version", "Failed to connect to bus")
    with daemon_thread(tunnel("work-db")):
        result = install()
        client.Client.connect().close()
    assert result.code == 1
    assert "Failed to connect to bus" in result.words
    assert "log in as this user" in result.words
    assert not (home / "tunnels.service").exists()


def test_a_service_that_does_not_start_is_not_left_half_installed_and_the_daemon_is_back(
    runner: FakeRunner, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.fail("systemctl --user start", "Job for tunnels.service failed")
    started: list[object] = []

    class Started:
        def __init__(self, config: Path) -> None:
            started.append(config)

        def close(self) -> None:
            started.append("closed")

    monkeypatch.setattr(spawn, "start_detached", Started)
    with daemon_thread(tunnel("work-db")):
        result = install()
    assert result.code == 1
    assert "Job for tunnels.service failed" in result.words
    assert not (home / "tunnels.service").exists()
    assert started == [home / "config" / "profiles.toml", "closed"]


# --- for the whole system -------------------------------------------------------------------------


def test_a_service_of_the_system_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = install("--system", "--user", "nobody")
    assert result.code == 2
    assert "sudo tunnels service install --system --user nobody" in result.words


def test_a_service_of_the_system_is_its_users_and_ends_no_daemon_of_root(
    monkeypatch: pytest.MonkeyPatch, home: Path, runner: FakeRunner
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "nobody")
    monkeypatch.delenv("TUNNELS_CONFIG")
    with daemon_thread(tunnel("work-db")):
        result = install("--system")
        client.Client.connect().close()
    assert result.code == 0
    unit = (home / "system" / "tunnels-nobody.service").read_text()
    assert "User=nobody" in unit
    assert "/.config/tunnels/profiles.toml daemon run" in unit
    assert str(home) not in unit.replace("TUNNELS_", "").split("ExecStart=")[1].splitlines()[0]
    assert "enable-linger" not in result.err
    assert tunnels("service", "uninstall", "--system").code == 0
    assert not (home / "system" / "tunnels-nobody.service").exists()


def test_a_user_without_system_is_a_mistake() -> None:
    assert install("--user", "nobody").code == 2


# --- uninstall ------------------------------------------------------------------------------------


def test_uninstall_removes_what_was_installed(home: Path, runner: FakeRunner) -> None:
    install()
    runner.calls.clear()
    result = tunnels("service", "uninstall")
    assert result.code == 0
    assert runner.verbs == ["disable --now tunnels.service", "daemon-reload"]
    assert not (home / "tunnels.service").exists()


def test_uninstall_of_nothing_is_a_success() -> None:
    result = tunnels("service", "uninstall")
    assert result.code == 0
    assert "nothing to do" in result.words


@pytest.mark.parametrize("command", ["install", "uninstall", "status"])
def test_a_unit_of_somebody_else_is_left_alone(command: str, home: Path) -> None:
    (home / "tunnels.service").write_text("[Unit]\n")
    result = tunnels("service", command)
    assert result.code == 1
    assert "was not written by tunnels" in result.words
    assert (home / "tunnels.service").read_text() == "[Unit]\n"


# --- status ---------------------------------------------------------------------------------------


def test_status_of_one_that_runs(home: Path, runner: FakeRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    install()
    runner.shown = FakeRunner().shown
    monkeypatch.setattr(time, "monotonic", lambda: 100.0 + 720.0)
    result = tunnels("service", "status")
    assert result.code == 0
    assert result.out.splitlines() == [
        "active (running) for 12m, pid 4711",
        "3 of 4 tunnels up",
        "started again 2 times after it had failed",
        "starts by itself: at login",
        "ends at the logout: yes (`loginctl enable-linger` changes that)",
        f"file: {home / 'tunnels.service'}",
    ]


def test_status_of_one_that_does_not_run_is_3() -> None:
    assert tunnels("service", "status").code == 3
    assert "tunnels service install" in tunnels("service", "status").err
    install()
    result = tunnels("service", "status")
    assert result.code == 3
    assert result.out.splitlines()[0] == "inactive (dead)"
    assert "starts by itself: no" in result.out


def test_status_as_json_is_one_document(home: Path, runner: FakeRunner) -> None:
    result = tunnels("service", "status", "--json")
    assert result.code == 3
    assert result.json["service"]["installed"] is False
    install()
    runner.shown = FakeRunner().shown
    document = tunnels("service", "status", "--json").json
    since = document["service"].pop("since")
    assert since.endswith("Z")
    assert document == {
        "version": 1,
        "service": {
            "kind": "systemd-user",
            "file": str(home / "tunnels.service"),
            "installed": True,
            "enabled": True,
            "active": True,
            "state": "active (running)",
            "pid": 4711,
            "status": "3 of 4 tunnels up",
            "restarts": 2,
            "lingering": False,
        },
    }


def test_the_verb_is_where_the_help_looks_for_it() -> None:
    assert "install" in tunnels("service", "--help").out
    assert verb.NOT_RUNNING == 3
