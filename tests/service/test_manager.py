from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.service.fake_manager import FakeRunner
from tunnels.errors import ServiceError
from tunnels.service import files
from tunnels.service.files import Service
from tunnels.service.systemd import Systemd

UNIT = files.unit_of(Service(("/usr/bin/tunnels",), {}))


def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_beside_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = Systemd(home / "units" / "tunnels.service", user="me", runner=FakeRunner())
    manager.put(UNIT)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ServiceError, match="No space left"):
        manager.put(UNIT + "# more\n")
    assert [path.name for path in manager.file.parent.iterdir()] == ["tunnels.service"]
    assert manager.file.read_text() == UNIT


def test_putting_back_what_was_not_there_removes_it(home: Path) -> None:
    runner = FakeRunner()
    manager = Systemd(home / "tunnels.service", user="me", runner=runner)
    manager.put_back(manager.put(UNIT))
    assert not manager.file.exists()
    assert runner.verbs[-2:] == ["disable --now tunnels.service", "daemon-reload"]


def test_putting_back_goes_as_far_as_it_can_and_says_nothing(home: Path) -> None:
    runner = FakeRunner()
    manager = Systemd(home / "tunnels.service", user="me", runner=runner)
    manager.put(UNIT)
    runner.fail("disable")
    manager.put_back(None)
    assert not manager.file.exists(), "what went wrong first is said, and the file goes whatever systemd says"
