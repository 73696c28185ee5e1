"""What the daemon and the foreground have in common."""

from __future__ import annotations

import pytest

from tests.daemon.served import connect_for_ever
from tests.supervisor.rig import WORK_DB
from tunnels.core.path import NetworkChange
from tunnels.daemon import engine
from tunnels.daemon.engine import Engine
from tunnels.supervisor.supervisor import Supervisor


async def test_tunnels_that_do_not_stop_do_not_keep_the_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def stuck(_: Supervisor) -> None:
        raise TimeoutError

    monkeypatch.setattr(Supervisor, "aclose", stuck)
    await Engine(on_desired=lambda _: None, history=False).aclose()
    assert "did not stop in time" in caplog.text


async def test_every_tunnel_hears_of_a_change_of_the_network_and_the_history_of_sleep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[NetworkChange] = []
    slept: list[float] = []
    clock_set: list[float] = []
    monkeypatch.setattr(engine, "connect", connect_for_ever)
    it = Engine(on_desired=lambda _: None, history=False)
    monkeypatch.setattr(it.supervisor, "network_changed", heard.append)
    monkeypatch.setattr(it._observers, "slept", slept.append)
    monkeypatch.setattr(it._observers, "clock_set", clock_set.append)
    await it.supervisor.up(WORK_DB)

    it._network_changed(NetworkChange())
    it._network_changed(NetworkChange(slept=3600.0))
    it._network_changed(NetworkChange(clock_set=60.0))

    assert heard == [NetworkChange(), NetworkChange(slept=3600.0), NetworkChange(clock_set=60.0)]
    assert (slept, clock_set) == ([3600.0], [60.0])
    await it.aclose()
