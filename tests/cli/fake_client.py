"""``tunnels up`` and ``auth`` where the daemon is a list of snapshots, and the person a list of lines."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator
from typing import Self

import pytest

from tests.cli.console import Result, tunnels
from tunnels import spawn
from tunnels.cli import asking, output
from tunnels.client import Client
from tunnels.core.client_status import Clients
from tunnels.core.state import TunnelState
from tunnels.core.status import Snapshot, TunnelStatus
from tunnels.errors import ErrorInfo
from tunnels.terminal import End, Interruption, Terminal

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
        self.found_clients = Clients()
        self.looked = 0
        self.unread = True

    def fileno(self) -> int:
        return -1

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

    def answer(self, name: str, question_id: str, answer: str, *, save: bool = False) -> None:
        self.calls.append(("answer", name, question_id, answer, *(["save"] if save else [])))
        if self.refusals:
            raise self.refusals.pop(0)

    def clients(self, names: list[str]) -> Clients:
        self.calls.append(("clients", names))
        return self.found_clients

    def close(self) -> None:
        self.calls.append(("close",))

    def down(self, names: list[str]) -> list[str]:
        self.calls.append(("down", names))
        return names


class FakeTerminal(Terminal):
    """A person who types these lines, then Ctrl-D; ``...`` is one who only watches until it is over."""

    def __init__(self, *lines: object) -> None:
        self.lines = list(lines)
        self.asked: list[tuple[str, bool]] = []  #: each prompt, and whether the answer is hidden

    @contextlib.contextmanager
    def quiet(self) -> Iterator[None]:
        yield

    def ask(self, prompt: str, *, secret: bool, meanwhile: Interruption | None = None) -> str | End:
        self.asked.append((prompt, secret))
        sys.stderr.write(f"{prompt} ")
        line = self.lines.pop(0) if self.lines else None
        if line is ...:
            assert meanwhile is not None
            while not meanwhile.over():
                pass
            return End.OVERTAKEN
        if callable(line):
            line = line()
        assert line is None or isinstance(line, str)
        return End.LEFT if line is None else line


def refuse_to_ask() -> asking.Person:
    raise AssertionError("a person was asked")


def run(
    client: FakeClient, *arguments: str, is_terminal: bool = False, terminal: Terminal | None = None
) -> Result:
    """Type ``tunnels …`` where the daemon is this one; without a ``terminal`` nobody may be asked."""

    def person() -> asking.Person | None:
        if not output.interactive():
            return None
        return asking.Person(terminal if terminal is not None else FakeTerminal(refuse_to_ask))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spawn, "ensure_daemon", lambda config: client)
        patch.setattr(spawn, "find_daemon", lambda: client)
        patch.setattr(Client, "connect", lambda: client)
        patch.setattr(asking, "person", person)
        return tunnels(*arguments, is_terminal=is_terminal)


def up(client: FakeClient, *arguments: str, is_terminal: bool = False, typed: str | None = None) -> Result:
    """Type ``tunnels up …``; ``typed`` is what the person types when asked."""
    terminal = None if typed is None else FakeTerminal(*typed.splitlines())
    return run(client, "up", *(arguments or ("work-db",)), is_terminal=is_terminal, terminal=terminal)
