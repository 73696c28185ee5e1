from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.service.fake_manager import INACTIVE, FakeRunner
from tunnels.errors import ServiceError
from tunnels.service import files
from tunnels.service.files import Service
from tunnels.service.manager import State
from tunnels.service.systemd import Systemd

UNIT = files.unit_of(Service(("/usr/bin/tunnels", "daemon", "run"), {}))


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture
def systemd(home: Path, runner: FakeRunner) -> Systemd:
    (home / "linger").mkdir()
    return Systemd(
        home / "user" / "tunnels.service", user="me", runner=runner, linger=home / "linger", booted=home
    )


def test_installing_writes_the_unit_and_enables_it(systemd: Systemd, runner: FakeRunner) -> None:
    systemd.check()
    assert systemd.put(UNIT) is None
    assert systemd.file.read_text() == UNIT
    assert stat.S_IMODE(systemd.file.stat().st_mode) == 0o600
    assert runner.verbs == ["daemon-reload", "enable tunnels.service"]
    assert [path.name for path in systemd.file.parent.iterdir()] == ["tunnels.service"]


def test_installing_twice_updates_the_unit(systemd: Systemd) -> None:
    systemd.put(UNIT)
    changed = UNIT.replace("RestartSec=1", "RestartSec=2")
    assert systemd.put(changed) == UNIT
    assert systemd.file.read_text() == changed


@pytest.mark.parametrize("step", ["daemon-reload", "enable"])
def test_an_installation_that_fails_leaves_nothing(step: str, systemd: Systemd, runner: FakeRunner) -> None:
    runner.fail(step, "no such thing")
    with pytest.raises(ServiceError, match="no such thing"):
        systemd.put(UNIT)
    assert not systemd.file.exists()


@pytest.mark.parametrize("step", ["daemon-reload", "enable"])
def test_an_update_that_fails_leaves_the_old_unit(step: str, systemd: Systemd, runner: FakeRunner) -> None:
    systemd.put(UNIT)
    runner.fail(step)
    with pytest.raises(ServiceError):
        systemd.put(UNIT + "# more\n")
    assert systemd.file.read_text() == UNIT


def test_a_unit_of_somebody_else_is_neither_replaced_nor_removed(
    systemd: Systemd, runner: FakeRunner
) -> None:
    systemd.file.parent.mkdir()
    systemd.file.write_text("[Unit]\n")
    for act in (lambda: systemd.put(UNIT), systemd.uninstall, systemd.text):
        with pytest.raises(ServiceError, match="was not written by tunnels"):
            act()
    assert systemd.file.read_text() == "[Unit]\n"
    assert runner.calls == []


def test_uninstalling_ends_it_removes_it_and_has_systemd_see_that(
    systemd: Systemd, runner: FakeRunner
) -> None:
    systemd.put(UNIT)
    runner.calls.clear()
    assert systemd.uninstall()
    assert runner.verbs == ["disable --now tunnels.service", "daemon-reload"]
    assert not systemd.file.exists()
    assert not systemd.uninstall()


def test_a_unit_that_cannot_be_disabled_stays(systemd: Systemd, runner: FakeRunner) -> None:
    systemd.put(UNIT)
    runner.fail("disable")
    with pytest.raises(ServiceError):
        systemd.uninstall()
    assert systemd.file.exists()


def test_a_folder_that_cannot_be_written_is_said_with_its_name(systemd: Systemd, home: Path) -> None:
    (home / "user").write_text("a file where a folder should be")
    with pytest.raises(ServiceError, match="tunnels.service cannot be"):
        systemd.put(UNIT)


def test_without_a_bus_it_says_what_to_do_instead(systemd: Systemd, runner: FakeRunner) -> None:
    runner.fail("show", "Failed to connect to bus: No medium found")
    with pytest.raises(ServiceError, match="No medium found") as caught:
        systemd.check()
    assert "log in as this user" in (caught.value.hint or "")
    assert "install --system" in (caught.value.hint or "")
    assert not systemd.file.exists()


def test_without_systemctl_it_says_what_to_do_instead(home: Path) -> None:
    def gone(_: object) -> None:
        raise ServiceError("there is no systemctl on this machine")

    systemd = Systemd(home / "tunnels.service", user="me", runner=gone)  # type: ignore[arg-type]
    with pytest.raises(ServiceError) as caught:
        systemd.check()
    assert "@reboot /the/path/of/tunnels daemon run" in (caught.value.hint or "")


@pytest.mark.parametrize("system", [False, True])
def test_a_machine_that_systemd_did_not_start_is_not_told_to_ask_systemd_in_another_way(
    system: bool, home: Path, runner: FakeRunner
) -> None:
    runner.fail("show", "System has not been booted with systemd as init system")
    systemd = Systemd(
        home / "tunnels.service", user="me", system=system, runner=runner, booted=home / "nothing"
    )
    with pytest.raises(ServiceError, match="has not been booted") as caught:
        systemd.check()
    assert "@reboot /the/path/of/tunnels daemon run" in (caught.value.hint or "")
    assert "--system" not in (caught.value.hint or "")


def test_a_systemd_of_the_machine_that_does_not_answer_is_to_be_looked_at(
    home: Path, runner: FakeRunner
) -> None:
    runner.fail("show", "Connection timed out")
    systemd = Systemd(home / "tunnels.service", user="me", system=True, runner=runner, booted=home)
    with pytest.raises(ServiceError, match="timed out") as caught:
        systemd.check()
    assert caught.value.hint == "`systemctl is-system-running` may say more"


def test_how_it_stands_is_what_systemd_says(systemd: Systemd) -> None:
    systemd.put(UNIT)
    assert systemd.state(now=1_800_000_000.0, monotonic=160.0) == State(
        "systemd-user",
        str(systemd.file),
        installed=True,
        enabled=True,
        active=True,
        state="active (running)",
        since=1_799_999_940.0,
        pid=4711,
        status="3 of 4 tunnels up",
        restarts=2,
        lingering=False,
    )


def test_one_that_does_not_run_has_no_since_and_no_pid(systemd: Systemd, runner: FakeRunner) -> None:
    systemd.put(UNIT)
    runner.shown = INACTIVE
    state = systemd.state(now=1.0, monotonic=1.0)
    assert (state.active, state.enabled, state.since, state.pid, state.status) == (
        False,
        False,
        None,
        None,
        None,
    )
    assert state.state == "inactive (dead)"


def test_where_none_is_installed_systemd_is_not_asked(systemd: Systemd, runner: FakeRunner) -> None:
    assert not systemd.state(now=1.0, monotonic=1.0).installed
    assert runner.calls == []


def test_lingering_is_known_for_a_user_and_no_question_for_the_system(systemd: Systemd, home: Path) -> None:
    before = systemd.lingering
    (home / "linger" / "me").touch()
    assert (before, systemd.lingering) == (False, True)
    assert Systemd(home / "s.service", user="me", system=True, linger=home / "linger").lingering is None


def test_a_service_of_the_system_is_not_looked_for_in_that_of_the_user(
    home: Path, runner: FakeRunner
) -> None:
    systemd = Systemd(home / "tunnels-me.service", user="me", system=True, runner=runner)
    systemd.put(UNIT)
    systemd.start()
    systemd.restart()
    assert stat.S_IMODE(systemd.file.stat().st_mode) == 0o644
    assert not [call for call in runner.calls if "--user" in call]
    assert runner.verbs[-2:] == ["start tunnels-me.service", "restart tunnels-me.service"]
