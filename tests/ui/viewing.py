"""The view around a daemon that is a list of snapshots: keys are pressed, and the screen is read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable

import pytest
from textual.pilot import Pilot

from tests.cli.fake_client import FakeClient
from tests.daemon.served import NOW, profile_file
from tunnels import spawn
from tunnels.client import Client
from tunnels.core.status import TunnelStatus
from tunnels.errors import DaemonNotRunning
from tunnels.ui.app import View


class Watched:
    """A view, who presses its keys, and what its daemon was asked."""

    def __init__(self, view: View, pilot: Pilot[None], client: FakeClient) -> None:
        self.view = view
        self.pilot = pilot
        self.client = client

    @property
    def screen(self) -> str:
        """What is to be seen, a line each."""
        lines = self.view.screen._compositor.render_strips()
        return "\n".join(strip.text.rstrip() for strip in lines)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def until(self, probe: Callable[[], object], within: float = 8.0) -> None:
        """Wait for something, and show the screen where it does not come."""
        deadline = time.monotonic() + within
        while not probe():
            assert time.monotonic() < deadline, self.screen + f"\n{self.client.calls}"
            self.view._feed.hurry()
            await self.pilot.pause(0.02)

    async def shows(self, *words: str) -> None:
        await self.until(lambda: all(word in self.screen for word in words))

    def show(self, *tunnels: TunnelStatus) -> None:
        """Be in this state from now on."""
        self.client.snapshots = (tunnels,)

    @property
    def orders(self) -> list[tuple[object, ...]]:
        """What the daemon was told to do."""
        return [call for call in self.client.calls if call[0] not in {"clients", "close"}]


@contextlib.asynccontextmanager
async def watched(
    *tunnels: TunnelStatus, size: tuple[int, int] = (80, 24), text: str = ""
) -> AsyncIterator[Watched]:
    """Look at these tunnels on a screen of this size."""
    profile_file(*([text] if text else []))
    client = FakeClient(tunnels)
    daemon = [client]

    def find(*_: object) -> FakeClient:
        if not daemon:
            raise DaemonNotRunning("the daemon is not running")
        return daemon[0]

    with pytest.MonkeyPatch.context() as patch:
        for name in ("find_daemon", "ensure_daemon"):
            patch.setattr(spawn, name, find)
        patch.setattr(Client, "connect", find)
        view = View(clock=lambda: NOW + 60)
        async with view.run_test(size=size) as pilot:
            yield Watched(view, pilot, client)
