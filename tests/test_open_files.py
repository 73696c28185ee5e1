from __future__ import annotations

import contextlib
import logging
import os
import resource
import subprocess
import sys
import time

import pytest

from tunnels import open_files
from tunnels.open_files import MAX_FILES, RESERVE, OpenFiles


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Limits that can be changed without changing those of the tests."""
    now = {"soft": 1024, "hard": 524_288}

    def set_limits(_: int, wanted: tuple[int, int]) -> None:
        now["soft"], now["hard"] = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: (now["soft"], now["hard"]))
    monkeypatch.setattr(resource, "setrlimit", set_limits)
    return now


@pytest.mark.parametrize(
    ("soft", "hard", "wanted"),
    [
        (1024, 524_288, MAX_FILES),
        (1024, 4096, 4096),
        (1024, resource.RLIM_INFINITY, MAX_FILES),
        (500_000, 524_288, 500_000),  # never lowered
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, resource.RLIM_INFINITY),
    ],
)
def test_the_limit_is_raised_as_far_as_the_system_lets_us(
    soft: int, hard: int, wanted: int, limits: dict[str, int]
) -> None:
    limits.update(soft=soft, hard=hard)
    files = OpenFiles()
    files.raise_limit()
    assert (files.limit, limits["hard"]) == (wanted, hard)


def test_where_the_system_does_not_let_us_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    before = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    monkeypatch.setattr(resource, "setrlimit", refuse)
    files = OpenFiles()
    files.raise_limit()
    assert files.limit == before
    assert files.as_before(["sh", "-c", "true"]) == ["sh", "-c", "true"]


def test_a_program_that_we_start_has_the_limit_that_we_were_started_with() -> None:
    script = (
        "import resource, subprocess\n"
        "from tunnels import open_files\n"
        "open_files.ours.raise_limit()\n"
        "print(open_files.ours.limit)\n"
        "print(subprocess.check_output(open_files.ours.as_before(['sh', '-c', 'ulimit -n; echo \"$1\"', 'x', 'a  b']),"
        " text=True))"
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    started_with = min(soft, 500)
    raised = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    said = subprocess.check_output(
        ["sh", "-c", f'ulimit -S -n {started_with}; exec "$@"', "sh", sys.executable, "-c", script], text=True
    )
    assert said.split("\n")[:3] == [str(raised), str(started_with), "a  b"]


def test_a_program_that_is_not_there_keeps_its_name_in_the_error(limits: dict[str, int]) -> None:
    files = OpenFiles()
    files.raise_limit()
    assert files.as_before(["/no/such/program", "x"]) == ["/no/such/program", "x"]
    assert files.as_before(["sh", "x"])[-2:] == ["sh", "x"]


def test_a_part_is_kept_for_ourselves(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 500
    files = OpenFiles()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, 4096))
    with contextlib.ExitStack() as opened:
        last = -1
        while last < limit - RESERVE - 1:
            assert not files.none_left()
            last = os.open(os.devnull, os.O_RDONLY)
            opened.callback(os.close, last)
        assert files.none_left()
    assert not files.none_left()


def test_of_a_small_limit_only_a_quarter_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    lowest = os.dup(0)
    os.close(lowest)
    files = OpenFiles()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (lowest * 2, 4096))
    assert not files.none_left()


def test_where_really_nothing_is_left_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", full)
    assert OpenFiles().none_left()


def test_who_is_turned_away_is_counted_each_time_and_said_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    files = OpenFiles()
    with caplog.at_level(logging.WARNING, "tunnels"):
        for _ in range(5):
            files.turn_away()
        now[0] += open_files.LOG_INTERVAL
        files.turn_away()
    assert files.turned_away == 6
    assert [message.split(" turned away")[0] for message in caplog.messages] == [
        "1 client was",
        "5 clients were",
    ]
