"""What the tests of this room have in common."""

from __future__ import annotations

import pytest

from tunnels.ssh import trials


@pytest.fixture(autouse=True)
def no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for what another one has begun, or knows what was refused to it."""
    monkeypatch.setattr(trials, "_trials", {})
    monkeypatch.setattr(trials, "_refused", {})
