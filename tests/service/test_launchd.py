from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.fake_manager import LOADED, FakeRunner
from tunnels.errors import ServiceError
from tunnels.service.files import Service
from tunnels.service.launchd import NOT_FOUND, Launchd
from tunnels.service.run import Done

SERVICE = Service(("/usr/bin/tunnels", "daemon", "run"), {})
TARGET = "gui/501/tunnels.daemon"


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture
def launchd(home: Path, runner: FakeRunner) -> Launchd:
    return Launchd(home / "agents" / "a.plist", uid=501, log=home / "log" / "startup.log", runner=runner)


def test_an_agent_is_written_enabled_and_started(launchd: Launchd, runner: FakeRunner, home: Path) -> None:
    launchd.check()
    launchd.put(launchd.render(SERVICE))
    runner.fail(f"print {TARGET}", "Could not find service", NOT_FOUND)
    launchd.start()
    assert [call for call in runner.calls if "print" not in call] == [
        f"launchctl enable {TARGET}",
        f"launchctl bootstrap gui/501 {launchd.file}",
        f"launchctl kickstart {TARGET}",
    ]
    assert (home / "log").is_dir(), "launchd does not make the folder of a log"


def test_an_agent_that_is_loaded_is_only_kicked(launchd: Launchd, runner: FakeRunner) -> None:
    runner.answers[f"print {TARGET}"] = Done(0, LOADED, "")
    launchd.start()
    assert runner.calls == [f"launchctl print {TARGET}", f"launchctl kickstart {TARGET}"]


def test_a_changed_agent_is_unloaded_first(launchd: Launchd, runner: FakeRunner) -> None:
    launchd.restart()
    assert runner.calls[0] == f"launchctl bootout {TARGET}"
    assert runner.calls[-1] == f"launchctl kickstart {TARGET}"


def test_how_it_stands_is_what_launchd_says(launchd: Launchd, runner: FakeRunner) -> None:
    assert not launchd.state(now=1.0, monotonic=1.0).installed
    launchd.put(launchd.render(SERVICE))
    runner.answers[f"print {TARGET}"] = Done(0, LOADED, "")
    state = launchd.state(now=1.0, monotonic=1.0)
    assert (state.installed, state.active, state.state, state.pid) == (True, True, "running", 4711)
    runner.fail(f"print {TARGET}", "Could not find service", NOT_FOUND)
    state = launchd.state(now=1.0, monotonic=1.0)
    assert (state.active, state.state, state.pid) == (False, "not loaded", None)


def test_uninstalling_an_agent_that_is_not_loaded_is_fine(launchd: Launchd, runner: FakeRunner) -> None:
    launchd.put(launchd.render(SERVICE))
    runner.fail("bootout", "No such process", 3)
    runner.fail(f"print {TARGET}", "Could not find service", NOT_FOUND)
    assert launchd.uninstall()
    assert not launchd.file.exists()


def test_an_agent_that_cannot_be_ended_stays(launchd: Launchd, runner: FakeRunner) -> None:
    launchd.put(launchd.render(SERVICE))
    runner.fail("bootout", "Operation not permitted", 1)
    with pytest.raises(ServiceError, match="not permitted"):
        launchd.uninstall()
    assert launchd.file.exists()


def test_without_a_session_nothing_is_installed(launchd: Launchd, runner: FakeRunner) -> None:
    runner.fail("print gui/501", "Domain does not support specified action", 125)
    with pytest.raises(ServiceError, match="no session"):
        launchd.check()


def test_an_agent_that_cannot_be_started_is_said(launchd: Launchd, runner: FakeRunner) -> None:
    runner.fail("kickstart", "Bootstrap failed: 5: Input/output error")
    with pytest.raises(ServiceError, match="Input/output error"):
        launchd.start()
