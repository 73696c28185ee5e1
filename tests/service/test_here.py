from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path

import pytest

from tests.service.fake_manager import FakeRunner
from tunnels import paths
from tunnels.errors import ServiceError, UsageError
from tunnels.service import here
from tunnels.service.files import Account
from tunnels.service.launchd import Launchd
from tunnels.service.systemd import Systemd

CONFIG = Path("/home/me/profiles.toml")
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def python(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have an environment of Python's own, without the script of the package."""
    monkeypatch.setattr(sys, "executable", str(home / "bin" / "python"))
    (home / "bin").mkdir()
    return home / "bin" / "python"


def test_the_service_starts_the_program_that_installs_it(python: Path) -> None:
    rest = ("--config", str(CONFIG), "daemon", "run")
    assert here.service(CONFIG, {}).command == (str(python), "-m", "tunnels", *rest)
    script = python.with_name("tunnels")
    script.touch(0o700)
    assert here.service(CONFIG, {}).command == (str(script), *rest)


def test_the_service_has_the_folders_that_are_set_now_wherever_it_stands(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    environment = {
        "TUNNELS_STATE_DIR": "here",
        "TUNNELS_RUNTIME_DIR": "/run/t",
        "TUNNELS_CONFIG": "/p.toml",
        "TUNNELS_DEBUG": "1",
        "TUNNELS_EMPTY": "",
        "XDG_STATE_HOME": "/state",
        "HOME": "/home/me",
    }
    kept = {"TUNNELS_STATE_DIR": str(home / "here"), "TUNNELS_RUNTIME_DIR": "/run/t", "TUNNELS_DEBUG": "1"}
    assert here.service(CONFIG, environment).environment == {**kept, "XDG_STATE_HOME": "/state"}
    assert here.service(CONFIG, environment, Account("me", 1000)).environment == kept


def test_linux_has_systemd_and_macos_has_launchd_and_others_are_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert isinstance(here.user_manager(), Systemd)
    assert here.user_manager().file == home / "config" / "systemd" / "user" / "tunnels.service"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(here.user_manager(), Launchd)
    assert here.user_manager().file == home / "Library" / "LaunchAgents" / "tunnels.daemon.plist"
    monkeypatch.setattr(sys, "platform", "freebsd14")
    with pytest.raises(ServiceError) as caught:
        here.user_manager()
    assert "@reboot" in (caught.value.hint or "")
    with pytest.raises(UsageError):
        here.system_manager(Account("me", 1000))


def test_two_users_of_one_machine_have_two_services() -> None:
    assert here.system_manager(Account("me", 1000)).file.name == "tunnels-me.service"


def test_a_service_of_the_system_runs_as_who_used_sudo_or_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert here.account_of(None, {"SUDO_USER": "nobody"}) == Account("nobody", pwd.getpwnam("nobody").pw_uid)
    assert here.account_of("nobody", {"SUDO_USER": "root"}).name == "nobody"
    assert here.account_of("root", {}).uid == 0


@pytest.mark.parametrize("environment", [{}, {"SUDO_USER": "root"}, {"SUDO_USER": ""}])
def test_a_service_of_the_system_runs_as_root_only_when_that_is_said(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UsageError, match="whose tunnels") as caught:
        here.account_of(None, environment)
    assert "--user NAME" in (caught.value.hint or "")


def test_who_is_not_root_yet_means_a_service_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    assert here.account_of(None, {}).name == "nobody"


def test_a_user_that_does_not_exist_is_said() -> None:
    with pytest.raises(UsageError, match="there is no user nobody-at-all"):
        here.account_of("nobody-at-all", {})


def test_the_profile_file_of_a_service_of_the_system_is_its_users() -> None:
    account = Account(ME, os.getuid())
    assert here.config_of(account) == Path(pwd.getpwnam(ME).pw_dir, ".config/tunnels/profiles.toml")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the unit of systemd")
def test_a_service_is_found_again_by_a_command_with_the_same_folders(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = FakeRunner()
    assert here.installed(os.environ, runner) is None
    manager = here.user_manager(runner)
    manager.put(manager.render(here.service(CONFIG, os.environ)))
    found = here.installed(os.environ, runner)
    assert found is not None
    assert found.file == paths.service_file()
    monkeypatch.setenv("TUNNELS_RUNTIME_DIR", "/somewhere/else")
    assert here.installed(os.environ, runner) is None


def test_a_unit_that_is_not_ours_starts_no_daemon_of_ours() -> None:
    paths.service_file().parent.mkdir(parents=True)
    paths.service_file().write_text("[Unit]\n")
    assert here.installed(os.environ, FakeRunner()) is None
