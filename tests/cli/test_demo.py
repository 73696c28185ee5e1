from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from tests.cli.console import tunnels
from tunnels.daemon import demo as engine
from tunnels.errors import NotAsAsked


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    ours, theirs = logging.getLogger("tunnels"), logging.getLogger("asyncssh")
    handlers, level = list(ours.handlers), theirs.level
    yield
    ours.handlers[:] = handlers
    theirs.setLevel(level)


Say = Callable[[str, bool], None]


def test_each_step_is_a_line_and_the_end_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(say: Say) -> None:
        say("a server [of ours]", False)
        say("tunnel up", True)

    monkeypatch.setattr(engine, "run", run)
    result = tunnels("demo")
    first, second, last = result.out.splitlines()
    assert (first, second) == ("… a server [of ours]", "✓ tunnel up")
    assert last.startswith("2 steps in ")
    assert (result.code, result.err) == (0, "")


def test_a_step_that_fails_is_1_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(say: Say) -> None:
        say("tunnel up", True)
        raise NotAsAsked("the held client gave no answer")

    monkeypatch.setattr(engine, "run", run)
    result = tunnels("demo")
    assert result.code == 1
    assert "the held client gave no answer" in result.err
    assert "steps in" not in result.out


def test_nothing_of_the_engine_is_printed_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(say: Say) -> None:
        logging.getLogger("tunnels.tunnel").warning("connection lost")
        logging.getLogger("asyncssh").error("connection lost")

    # Without any handler, as in a command, Python prints what is worse than a warning.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(engine, "run", run)
    result = tunnels("demo")
    assert "connection lost" not in result.out + result.err


def test_ctrl_c_ends_it_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(say: Say) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run", run)
    assert tunnels("demo").code == 130
