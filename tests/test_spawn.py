from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.daemon.served import daemon_thread
from tunnels import desired_state, paths, spawn
from tunnels.desired_state import DesiredState
from tunnels.errors import DaemonNotRunning, DaemonStartFailed, ServiceError, TunnelsError
from tunnels.service import here

CONFIG = Path("/etc/profiles.toml")


class Births:
    """The processes that were started, each played by ``life``, which gets the file descriptor to speak on."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.options: list[dict[str, Any]] = []
        self.life: Callable[[int], object] = lambda _: pytest.fail("a daemon was started")
        self.last_words = ""
        self.buried: list[float] = []  #: how long each was waited for that had to end
        self.held = contextlib.ExitStack()  #: ends with the test

    def __call__(self, command: list[str], **options: Any) -> SimpleNamespace:
        self.commands.append(command)
        self.options.append(options)
        assert options["pass_fds"] == (int(command[-1]),)
        self.life(options["pass_fds"][0])
        return SimpleNamespace(wait=self._wait)

    def _wait(self, timeout: float) -> int:
        self.buried.append(timeout)
        return 0

    def die(self, fd: int) -> None:
        os.write(self.options[-1]["stderr"], self.last_words.encode())

    def become_ready(self, fd: int) -> None:
        self.held.enter_context(daemon_thread())
        os.write(fd, b"ready\n")


@pytest.fixture
def births(monkeypatch: pytest.MonkeyPatch) -> Iterator[Births]:
    births = Births()
    monkeypatch.setattr(subprocess, "Popen", births)
    with births.held:
        yield births


class Clock:
    """Time that passes only while somebody sleeps; what happens then is up to the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(spawn, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=clock.sleep))
    return clock


def open_files() -> set[str]:
    return {path.name for path in Path("/dev/fd").iterdir()}


# --- starting one ---------------------------------------------------------------------------------


def test_a_daemon_that_runs_is_used_and_none_is_started(births: Births) -> None:
    with daemon_thread(), spawn.ensure_daemon(CONFIG) as client:
        assert client.status().tunnels == ()
    with daemon_thread(), spawn.find_daemon() as client:
        assert client.status().tunnels == ()


def test_without_a_daemon_one_is_started_with_the_profile_file(births: Births) -> None:
    births.life = births.become_ready
    with spawn.ensure_daemon(CONFIG) as client:
        assert client.status().tunnels == ()
    (command,) = births.commands
    assert command[1:-1] == ["-m", "tunnels", "--config", str(CONFIG), "daemon", "run", "--ready-fd"]


def test_the_daemon_is_detached_from_the_terminal_and_the_folder_of_the_command(births: Births) -> None:
    births.life = births.become_ready
    spawn.start_daemon(CONFIG).close()
    (options,) = births.options
    assert options["start_new_session"]
    assert options["stdin"] == subprocess.DEVNULL
    assert options["stdout"] == options["stderr"] != subprocess.PIPE
    assert options["cwd"] == "/", "a folder that the daemon stands in could not be unmounted"


def test_the_daemon_has_the_folders_that_the_command_looks_in(
    births: Births, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    births.life = births.become_ready
    monkeypatch.chdir(home)
    monkeypatch.setenv("TUNNELS_RUNTIME_DIR", "here")
    monkeypatch.setenv("TUNNELS_STATE_DIR", "there")
    spawn.start_daemon(CONFIG).close()
    looked_in = (paths.runtime_dir(), paths.state_dir())
    (options,) = births.options
    environment = options.get("env") or os.environ
    assert looked_in == (
        Path(options["cwd"], environment["TUNNELS_RUNTIME_DIR"]),
        Path(options["cwd"], environment["TUNNELS_STATE_DIR"]),
    )


def test_what_a_starting_daemon_says_goes_to_a_private_log_that_begins_anew(births: Births) -> None:
    births.life = births.die
    before = os.umask(0)
    try:
        for said in ("the first, at length\n", "the second\n"):
            births.last_words = said
            with pytest.raises(DaemonStartFailed):
                spawn.start_daemon(CONFIG)
            assert paths.startup_log().read_text() == said
    finally:
        os.umask(before)
    assert stat.S_IMODE(paths.startup_log().stat().st_mode) == 0o600


def test_starting_a_daemon_leaves_no_file_open(births: Births) -> None:
    births.life = lambda _: None
    before = open_files()
    with pytest.raises(DaemonStartFailed):
        spawn.start_daemon(CONFIG)
    assert open_files() == before


# --- it does not start ----------------------------------------------------------------------------


@pytest.fixture
def python(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a shell script instead of the daemon, as a real process."""

    def become(script: str) -> None:
        program = home / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))

    return become


#: The command line does not wait for the daemon, which is to live longer; `subprocess` would like it to.
not_waited_for = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


@not_waited_for
def test_the_last_words_of_a_daemon_that_dies_at_its_start_are_shown(python: Callable[[str], None]) -> None:
    python("echo at first; echo 'Traceback:' >&2; echo 'ImportError: no module' >&2; echo; exit 1")
    with pytest.raises(DaemonStartFailed) as caught:
        spawn.start_daemon(CONFIG)
    assert caught.value.hint == "its last words: ImportError: no module"
    assert caught.value.exit_code == 1


@not_waited_for
@pytest.mark.parametrize("script", ["exit 1", "kill -9 $$"])
def test_a_daemon_that_dies_without_a_word_leads_to_its_log(
    script: str, python: Callable[[str], None]
) -> None:
    python(script)
    with pytest.raises(DaemonStartFailed) as caught:
        spawn.start_daemon(CONFIG)
    assert str(paths.startup_log()) in (caught.value.hint or "")


@not_waited_for
def test_last_words_that_are_not_unicode_are_shown_as_well_as_possible(
    python: Callable[[str], None],
) -> None:
    python("printf 'caf\\351: no such file\\n'")
    with pytest.raises(DaemonStartFailed) as caught:
        spawn.start_daemon(CONFIG)
    assert "no such file" in (caught.value.hint or "")


def test_a_daemon_that_takes_too_long_is_not_waited_for_for_ever(
    births: Births, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "START_TIMEOUT", 0.02)
    births.life = lambda fd: births.held.callback(os.close, os.dup(fd))  # holds the line, says nothing
    with pytest.raises(DaemonStartFailed):
        spawn.start_daemon(CONFIG)


def test_half_a_word_is_not_ready(births: Births, monkeypatch: pytest.MonkeyPatch) -> None:
    births.life = lambda fd: os.write(fd, b"rea")
    with pytest.raises(DaemonStartFailed):
        spawn.start_daemon(CONFIG)


def test_a_python_that_cannot_be_run_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(home / "gone"))  # an upgrade has removed it
    with pytest.raises(TunnelsError):
        spawn.start_daemon(CONFIG)


# --- two at once ----------------------------------------------------------------------------------


def test_a_state_folder_that_cannot_be_written_to_is_said_with_its_path(births: Births) -> None:
    paths.startup_log().mkdir(mode=0o700, parents=True)  # as good as a read-only disk
    with pytest.raises(DaemonStartFailed, match="startup.log cannot be written") as caught:
        spawn.start_detached(paths.config_file())
    assert "TUNNELS_STATE_DIR" in (caught.value.hint or "")


def test_who_loses_the_race_to_start_it_waits_for_the_winner(births: Births, clock: Clock) -> None:
    births.life = lambda fd: os.write(fd, b"busy\n")
    looks = []

    def appear() -> None:
        looks.append(clock.now)
        if len(looks) == 3:
            births.held.enter_context(daemon_thread())

    clock.meanwhile = appear
    with spawn.ensure_daemon(CONFIG) as client:
        assert client.status().tunnels == ()
    assert len(births.commands) == 1
    assert len(births.buried) == 1  # its own process has ended when `up` goes on


def test_a_winner_that_never_listens_is_not_waited_for_for_ever(births: Births, clock: Clock) -> None:
    births.life = lambda fd: os.write(fd, b"busy\n")
    with pytest.raises(DaemonNotRunning):
        spawn.ensure_daemon(CONFIG)
    assert spawn.START_TIMEOUT <= clock.now < spawn.START_TIMEOUT + 1


# --- after a crash --------------------------------------------------------------------------------


def test_a_daemon_that_was_killed_is_started_again_with_its_own_profile_file(births: Births) -> None:
    desired_state.save(paths.state_file(), DesiredState(("work-db",), running=True, config="/its/own.toml"))
    births.life = births.become_ready
    with spawn.find_daemon() as client:
        assert client.status().tunnels == ()
    assert births.commands[0][4] == "/its/own.toml"


@pytest.mark.parametrize(
    "state",
    [
        None,
        DesiredState(),
        DesiredState(("work-db",), running=False),  # ended on purpose
        DesiredState((), running=True),  # killed, with nothing to bring back
    ],
)
def test_a_daemon_that_should_not_run_is_not_started_by_asking_for_it(
    state: DesiredState | None, births: Births
) -> None:
    if state is not None:
        desired_state.save(paths.state_file(), state)
    with pytest.raises(DaemonNotRunning):
        spawn.find_daemon()
    assert births.commands == []


# --- where it is a service ------------------------------------------------------------------------


class FakeService:
    """The service of this user, whose daemon is ready when it has been started."""

    def __init__(self, births: Births) -> None:
        self.births = births
        self.starts = 0
        self.error: TunnelsError | None = None

    def start(self) -> None:
        self.starts += 1
        if self.error is not None:
            raise self.error
        self.births.held.enter_context(daemon_thread())


@pytest.fixture
def service(births: Births, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """Have the service installed."""
    paths.service_file().parent.mkdir(parents=True)
    paths.service_file().touch()
    service = FakeService(births)
    monkeypatch.setattr(here, "installed", lambda _: service)
    return service


def test_a_daemon_that_is_a_service_is_started_by_it_and_by_nobody_else(
    births: Births, service: FakeService
) -> None:
    with spawn.ensure_daemon(CONFIG) as client:
        assert client.status().tunnels == ()
    assert service.starts == 1
    assert births.commands == []


def test_a_service_that_does_not_start_is_said_and_the_daemon_is_started_without_it(
    births: Births, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    service.error = ServiceError("systemd does not answer")
    births.life = births.become_ready
    with spawn.ensure_daemon(CONFIG) as client:
        assert client.status().tunnels == ()
    assert len(births.commands) == 1
    assert "systemd does not answer" in capsys.readouterr().err


def test_the_service_of_other_folders_is_not_started(
    births: Births, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "installed", lambda _: None)
    births.life = births.become_ready
    spawn.start_daemon(CONFIG).close()
    assert service.starts == 0
    assert len(births.commands) == 1


def test_without_a_service_nothing_more_than_a_look_is_spent_on_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys, tunnels.spawn; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "tunnels.service" not in done.stdout.split()


def test_the_daemon_does_not_speak_to_the_systemd_of_the_command_that_starts_it(
    births: Births, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    births.life = births.become_ready
    spawn.start_daemon(CONFIG).close()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(births.options[0]["env"])
