"""What should be up is written down once for all that changes together, and again if it could not be."""

from __future__ import annotations

import asyncio

import pytest

from tests.forwarding.fakes import until
from tunnels import desired_state, paths
from tunnels.daemon import state
from tunnels.daemon.state import StateKeeper
from tunnels.desired_state import DesiredState


class Written:
    """Every write that succeeded, and whether the disk is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.states: list[DesiredState] = []
        self.full = False
        self.now = DesiredState(("home",), running=True)
        monkeypatch.setattr(desired_state, "save", self.save)
        self.keeper = StateKeeper(paths.state_file(), lambda: self.now)

    def save(self, _path: object, wanted: DesiredState) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.states.append(wanted)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    return Written(monkeypatch)


async def test_a_thousand_changes_at_once_are_one_write_of_the_last(written: Written) -> None:
    for number in range(1000):
        written.now = DesiredState((f"t{number}",), running=True)
        written.keeper.changed()
    await asyncio.sleep(0)
    assert written.states == [DesiredState(("t999",), running=True)]


async def test_what_is_written_already_is_not_written_again(written: Written) -> None:
    written.keeper.write()
    written.keeper.changed()
    await asyncio.sleep(0)
    written.keeper.write()
    assert len(written.states) == 1


async def test_what_could_not_be_written_is_tried_again_and_said_once(
    written: Written, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(state, "RETRY", 0.001)
    caplog.set_level("INFO")
    written.full = True
    written.keeper.write()
    written.keeper.write()
    written.full = False
    await until(lambda: written.states)
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "what should be up could not be written down",
        "what should be up is written down again",
    ]


async def test_after_the_end_nothing_is_written(written: Written) -> None:
    written.keeper.changed()
    written.keeper.close()
    await asyncio.sleep(0)
    assert written.states == []
