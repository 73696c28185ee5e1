"""``tunnels up`` where the daemon is a list of snapshots."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Self

import pytest

from tests.cli.console import Result, refuse_to_ask, tunnels
from tunnels import spawn
from tunnels.client import Client
from tunnels.core.state import TunnelState
from tunnels.core.status import Snapshot, TunnelStatus
from tunnels.errors import ErrorInfo

UP, CONNECTING, BACKOFF = TunnelState.UP, TunnelState.CONNECTING, TunnelState.BACKOFF
FAILED, NEEDS_INPUT = TunnelState.FAILED, TunnelState.NEEDS_INPUT

REFUSED = ErrorInfo("login-refused", "bastion refused the login", "set identity_file")


class FakeClient:
    """Shows one snapshot after the other, the last one again and again; remembers what it was asked."""

    def __init__(self, *snapshots: tuple[TunnelStatus, ...]) -> None:
        self.snapshots = snapshots
        self.found = "started"
        self.calls: list[tuple[object, ...]] = []
        self.refusals: list[Exception] = []  #: what the next answers are met with
        self.looked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def up(self, names: list[str], config: str) -> dict[str, str]:
        self.calls.append(("up", names, config))
        return dict.fromkeys(names, self.found)

    def status(self) -> Snapshot:
        return Snapshot(None, self.snapshots[0])

    def watch(self, interval: float) -> Iterator[Snapshot]:
        for shown in itertools.chain(self.snapshots, itertools.repeat(self.snapshots[-1])):
            self.looked += 1
            assert self.looked < 1000, "it waits for ever"
            yield Snapshot(None, shown)

    def answer(self, name: str, question_id: str, answer: str) -> None:
        self.calls.append(("answer", name, question_id, answer))
        if self.refusals:
            raise self.refusals.pop(0)

    def down(self, names: list[str]) -> list[str]:
        self.calls.append(("down", names))
        return names


def up(client: FakeClient, *arguments: str, is_terminal: bool = False, typed: str | None = None) -> Result:
    """Type ``tunnels up …`` where the daemon is this one; without ``typed`` nobody may be asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spawn, "ensure_daemon", lambda config: client)
        patch.setattr(Client, "connect", lambda: client)
        if typed is None:
            refuse_to_ask(patch)
        return tunnels("up", *(arguments or ("work-db",)), is_terminal=is_terminal, typed=typed or "")
