from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.served import REMOTE, connect_for_ever, profile_file
from tunnels import desired_state, paths, profiles
from tunnels.client import Client
from tunnels.core.profile import Profile
from tunnels.core.status import Snapshot
from tunnels.daemon import app
from tunnels.desired_state import DesiredState
from tunnels.errors import DaemonNotRunning
from tunnels.supervisor.connector import Connection, OnFound, OnLost
from tunnels.supervisor.supervisor import Supervisor

OTHER = """\
[profiles.other]
host = "vps"
remote = ["2223:localhost:22"]
autostart = true
"""


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "connect", connect_for_ever)
    monkeypatch.setattr(gc, "freeze", lambda: None)  # for the life of a process, not of a test


class Daemon:
    """The real daemon in the loop of the test, and the real client beside it."""

    def __init__(self, task: asyncio.Task[int], said: list[str]) -> None:
        self.task = task
        self.said = said

    async def ask(self, question: Callable[[Client], Any]) -> Any:
        def use() -> Any:
            with Client.connect() as client:
                return question(client)

        return await asyncio.to_thread(use)

    async def names(self) -> list[str]:
        snapshot: Snapshot = await self.ask(Client.status)
        return [tunnel.name for tunnel in snapshot.tunnels]

    async def up(self, *names: str) -> None:
        await self.ask(lambda client: client.up(list(names), str(paths.config_file())))


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Daemon]:
    """Be the daemon until the block ends; then it is told to stop, as systemd does it."""
    ready = asyncio.Event()
    said: list[str] = []

    def say(word: str) -> None:
        said.append(word)
        ready.set()

    task = asyncio.get_running_loop().create_task(app._daemon(paths.config_file(), say))
    waiting = asyncio.get_running_loop().create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        yield Daemon(task, said)
    finally:
        if said == ["ready"] and not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0


def desired() -> DesiredState:
    return desired_state.load(paths.state_file())


def left_by(*names: str, running: bool = True) -> None:
    """Have a daemon before this one."""
    desired_state.save(paths.state_file(), DesiredState(names, running, str(paths.config_file())))


# --- from start to end ----------------------------------------------------------------------------


async def test_it_says_ready_when_it_can_be_asked_and_is_gone_when_it_ends() -> None:
    profile_file(REMOTE)
    async with running() as daemon:
        assert daemon.said == ["ready"]
        assert await daemon.names() == []
        await daemon.up("work-db")
        assert await daemon.names() == ["work-db"]
    assert not paths.socket_path().exists()
    with pytest.raises(DaemonNotRunning):
        Client.connect()


async def test_what_should_be_up_is_on_the_disk_while_it_runs_and_when_it_has_ended() -> None:
    config = str(profile_file(REMOTE))
    async with running() as daemon:
        assert desired() == DesiredState((), running=True, config=config)
        await daemon.up("work-db", "home")
        assert desired() == DesiredState(("work-db", "home"), running=True, config=config)
        await daemon.ask(lambda client: client.down(["work-db"]))
        assert desired() == DesiredState(("home",), running=True, config=config)
    assert desired() == DesiredState(("home",), running=False, config=config)


async def test_a_daemon_that_is_about_to_end_is_not_brought_back(monkeypatch: pytest.MonkeyPatch) -> None:
    profile_file(REMOTE)
    close, seen = app.supervisor_close, list[DesiredState]()

    async def look(supervisor: Supervisor) -> None:
        seen.append(desired())
        await close(supervisor)

    monkeypatch.setattr(app, "supervisor_close", look)
    async with running() as daemon:
        await daemon.up("home")
    assert [(state.running, state.tunnels) for state in seen] == [(False, ("home",))]


async def test_a_new_daemon_takes_up_what_the_last_one_had() -> None:
    profile_file(REMOTE)
    async with running() as daemon:
        await daemon.up("home")
    async with running() as daemon:
        assert await daemon.names() == ["home"]


async def test_a_daemon_after_one_that_was_killed_says_so(caplog: pytest.LogCaptureFixture) -> None:
    profile_file(REMOTE)
    for killed in (False, True):
        left_by("work-db", running=killed)
        async with running() as daemon:
            assert await daemon.names() == ["work-db"]
        assert ("did not end on purpose" in caplog.text) is killed


async def test_a_shutdown_is_answered_before_the_daemon_ends() -> None:
    profile_file(REMOTE)
    async with running() as daemon:
        await daemon.up("work-db")
        assert await daemon.ask(Client.shutdown) == ["work-db"]
        assert await daemon.task == 0
    assert desired().tunnels == ("work-db",)


async def test_a_tunnel_whose_profile_is_missing_for_now_is_not_forgotten() -> None:
    profile_file(REMOTE.replace("profiles.home", "profiles.house"))
    left_by("work-db", "home")
    async with running() as daemon:
        assert await daemon.names() == ["work-db"]
        assert desired().tunnels == ("work-db", "home")
    assert desired().tunnels == ("work-db", "home")


async def test_a_tunnel_whose_profile_is_missing_for_now_is_not_forgotten_when_others_change() -> None:
    profile_file(REMOTE.replace("profiles.home", "profiles.house"))
    left_by("home")
    async with running() as daemon:
        await daemon.up("work-db")
        assert "home" in desired().tunnels


async def test_after_a_start_with_a_bad_file_mending_it_brings_the_tunnels_back() -> None:
    profile_file(REMOTE + "hosst = 1\n")
    left_by("work-db")
    async with running() as daemon:
        assert await daemon.names() == []
        profile_file(REMOTE)
        await daemon.ask(Client.reload)
        assert await daemon.names() == ["work-db"]


async def test_a_power_cut_while_the_daemon_starts_loses_no_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    profile_file(REMOTE)
    left_by("work-db", "home")
    save, saved = desired_state.save, list[set[str]]()

    def spy(path: Path, state: DesiredState) -> None:
        saved.append(set(state.tunnels))
        save(path, state)

    monkeypatch.setattr(desired_state, "save", spy)
    async with running():
        assert saved
        assert all(names == {"work-db", "home"} for names in saved), saved


async def test_a_disk_that_is_full_is_said_in_the_log_and_nothing_else_suffers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    profile_file(REMOTE)
    monkeypatch.setattr(desired_state, "save", full)
    async with running() as daemon:
        await daemon.up("work-db")
        assert await daemon.names() == ["work-db"]
    assert "No space left" in caplog.text


async def test_tunnels_that_do_not_stop_do_not_keep_the_daemon(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck:
        async def aclose(self) -> None:
            raise TimeoutError

    await app.supervisor_close(Stuck())  # type: ignore[arg-type]  # all it looks at
    assert "did not stop in time" in caplog.text


# --- signals --------------------------------------------------------------------------------------


async def test_ctrl_c_ends_it_like_a_stop() -> None:
    profile_file(REMOTE)
    async with running() as daemon:
        os.kill(os.getpid(), signal.SIGINT)
        assert await daemon.task == 0
    assert desired().running is False


class Heard(logging.Handler):
    """Waits for a line of the log."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.words in record.getMessage():
            self.event.set()


@contextlib.asynccontextmanager
async def logged(words: str) -> AsyncIterator[None]:
    """Wait at the end of the block until the log has said something."""
    logger, heard = logging.getLogger("tunnels"), Heard(words)
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(heard)
    try:
        yield
        await heard.event.wait()
    finally:
        logger.removeHandler(heard)
        logger.setLevel(before)


async def test_sighup_reloads_and_a_bad_file_changes_nothing() -> None:
    profile_file(REMOTE)
    async with running() as daemon:
        await daemon.up("work-db", "home")
        profile_file(REMOTE + "hosst = 1\n")
        async with logged("not reloaded"):
            os.kill(os.getpid(), signal.SIGHUP)
        assert await daemon.names() == ["work-db", "home"]
        profile_file(REMOTE.replace("profiles.home", "profiles.house"))
        async with logged("1 stopped"):
            os.kill(os.getpid(), signal.SIGHUP)
        assert await daemon.names() == ["work-db"]


# --- in the foreground ----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def foreground(config: Path, *names: str) -> AsyncIterator[None]:
    file = profiles.load(config)
    task = asyncio.get_running_loop().create_task(
        app._foreground(config, [file.profiles[name] for name in names])
    )
    await asyncio.sleep(0)  # until it listens to signals
    try:
        yield
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0


async def test_in_the_foreground_only_the_named_tunnels_run_and_nothing_is_written_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialled = []
    both = asyncio.Event()

    async def connect(profile: Profile, on_lost: OnLost, on_found: OnFound) -> Connection:
        dialled.append(profile.name)
        if len(dialled) == 2:
            both.set()
        return await connect_for_ever(profile, on_lost, on_found)

    monkeypatch.setattr(app, "connect", connect)
    config = profile_file(REMOTE + OTHER)
    async with foreground(config, "work-db", "home"):
        await both.wait()
    assert sorted(dialled) == ["home", "work-db"]
    assert not paths.state_file().exists()
    assert not paths.socket_path().exists()


async def test_in_the_foreground_sighup_reloads_what_runs_and_starts_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dialled: asyncio.Queue[Profile] = asyncio.Queue()

    async def connect(profile: Profile, on_lost: OnLost, on_found: OnFound) -> Connection:
        dialled.put_nowait(profile)
        return await connect_for_ever(profile, on_lost, on_found)

    monkeypatch.setattr(app, "connect", connect)
    config = profile_file(REMOTE)
    async with foreground(config, "work-db"):
        assert (await dialled.get()).host == "bastion"
        profile_file(REMOTE + "hosst = 1\n")
        async with logged("not reloaded"):
            os.kill(os.getpid(), signal.SIGHUP)
        profile_file(REMOTE.replace("bastion", "gateway"))
        os.kill(os.getpid(), signal.SIGHUP)
        again = await dialled.get()
        assert (again.name, again.host) == ("work-db", "gateway")
    assert dialled.empty()
