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
from tests.daemon.test_notify import Systemd
from tunnels import desired_state, paths
from tunnels.client import Client
from tunnels.core.state import TunnelState
from tunnels.core.status import Snapshot
from tunnels.daemon import app, engine, handlers
from tunnels.desired_state import DesiredState
from tunnels.errors import DaemonNotRunning

OTHER = """\
[profiles.other]
host = "vps"
remote = ["2223:localhost:22"]
autostart = true
"""


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "connect", connect_for_ever)
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
    close, seen = engine.Engine.aclose, list[DesiredState]()

    async def look(self: engine.Engine) -> None:
        seen.append(desired())
        await close(self)

    monkeypatch.setattr(engine.Engine, "aclose", look)
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
        work, home = (await daemon.ask(Client.status)).tunnels
        assert (work.name, work.state) == ("work-db", TunnelState.CONNECTING)
        assert (home.name, home.state) == ("home", TunnelState.FAILED)
        assert home.error is not None
        assert "is not in" in home.error.message
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
        (work,) = (await daemon.ask(Client.status)).tunnels
        assert (work.name, work.state) == ("work-db", TunnelState.FAILED)
        assert work.error is not None
        assert "the profile file has a problem" in work.error.message
        profile_file(REMOTE)
        assert (await daemon.ask(Client.reload))["start"] == ["work-db"]
        assert await daemon.names() == ["work-db"]


async def test_after_a_start_with_a_bad_file_nobody_has_to_reload_when_it_is_mended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handlers, "FILE_INTERVAL", 0.01)
    profile_file(REMOTE + "hosst = 1\n")
    left_by("work-db")
    async with running() as daemon:
        profile_file(REMOTE + "autostart = true\n")
        async with logged("connecting to bastion"):
            pass
        assert sorted(await daemon.names()) == ["home", "work-db"]


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


# --- under systemd --------------------------------------------------------------------------------


async def test_systemd_is_told_from_the_start_to_the_end(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemd = Systemd(str(home / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.address)
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    profile_file(REMOTE)
    with systemd.socket:
        async with running() as daemon:
            assert daemon.said == ["ready"]
            assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(os.environ)
            assert await systemd.hears() == "READY=1\nSTATUS=no tunnels"
            assert await systemd.hears() == "STATUS=no tunnels\nWATCHDOG=1"
            await daemon.up("work-db")
            assert await systemd.hears() == "STATUS=0 of 1 tunnels up"
            async with logged("reloaded"):
                os.kill(os.getpid(), signal.SIGHUP)
            assert (await systemd.hears()).startswith("RELOADING=1")
            assert await systemd.hears() == "READY=1"
        assert systemd.heard()[0] == "STOPPING=1\nSTATUS=stopping"
