"""Where the agent is looked for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tunnels.ssh.agent_places import AgentPlaces


@pytest.fixture
def listening(home: Path) -> Iterator[list[str]]:
    """Sockets in the places of a home, and their paths."""
    with ExitStack() as stack:
        paths = []
        for name in ("one", "two", "run/openssh_agent", ".ssh/agent/s.abc"):
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.bind(str(path))
            paths.append(str(path))
        yield paths


def places(home: Path, uid: int | None = None) -> AgentPlaces:
    return AgentPlaces({"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")}, uid)


def test_what_was_handed_over_last_is_first_and_well_known_places_are_last(
    home: Path, listening: list[str]
) -> None:
    one, two, *known = listening
    it = places(home)
    assert it.candidates("/own") == ["/own", *known]
    it.hand_over(one)
    it.hand_over(two)
    assert it.candidates("/own") == [two, one, "/own", *known]
    it.hand_over(one)
    assert it.candidates(two) == [one, two, *known]
    assert it.candidates(None) == [one, two, *known]


def test_what_is_no_socket_or_has_gone_is_not_taken(home: Path, listening: list[str]) -> None:
    it = places(home)
    (home / "file").write_text("")
    for path in ("", "one", str(home / "file"), str(home / "missing"), "/nul\0"):
        it.hand_over(path)
    assert it.candidates(None) == listening[2:]
    it.hand_over(listening[0])
    Path(listening[0]).unlink()
    assert it.candidates(None) == listening[2:]


def test_sockets_of_others_are_not_taken(home: Path, listening: list[str]) -> None:
    it = places(home, os.getuid() + 1)
    it.hand_over(listening[0])
    assert it.candidates(None) == []
    assert it.candidates("/own") == ["/own"], "as ssh takes it"


def test_no_more_than_a_few_are_remembered(home: Path) -> None:
    it = AgentPlaces({})
    with ExitStack() as stack:
        for number in range(20):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.bind(str(home / str(number)))
            it.hand_over(str(home / str(number)))
        assert it.candidates(None)[:8] == [str(home / str(number)) for number in range(19, 11, -1)]
