"""Everybody who is told of changes: each of them is, whatever happens to another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import turns
from tunnels import history_file, paths
from tunnels.core.history import What
from tunnels.core.profile import Profile
from tunnels.core.state import TunnelState as S
from tunnels.core.transition import Transition
from tunnels.daemon.observers import Observers

HOME = Profile("home", "vps", on_up=("touch", "came-up"))
UP = Transition("home", S.CONNECTING, S.UP, 1_795_165_200.0)


def written() -> list[What]:
    return [record.what for record in history_file.load(paths.history_file())]


async def test_a_change_is_written_down_and_has_its_hook(home: Path) -> None:
    observers = Observers(history=True)
    observers.observe(HOME, UP)
    await turns()
    observers.slept(5)
    observers.ending()
    await observers.aclose()
    assert written() == [What.STARTED, What.UP, What.SLEPT, What.ENDED]
    assert (home / "came-up").exists()
    assert paths.alive_file().exists()


async def test_in_the_foreground_hooks_run_and_nothing_is_written_down(home: Path) -> None:
    observers = Observers(history=False)
    observers.observe(HOME, UP)
    observers.slept(5)
    observers.ending()
    await observers.aclose()
    assert (home / "came-up").exists()
    assert not paths.history_file().exists()


async def test_a_bug_in_one_is_logged_and_kept_from_the_others_and_from_the_tunnel(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    observers = Observers(history=True)

    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(observers._all[0], "observe", bug)
    observers.observe(replace(HOME), UP)
    await observers.aclose()
    assert "History ended with a bug" in caplog.text
    assert (home / "came-up").exists()
