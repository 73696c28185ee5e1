from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tunnels.log_file import LogFile, Selection

ONE = "2026-11-20T09:00:00.000Z INFO work-db one\n"
TWO = "2026-11-20T09:00:01.000Z ERROR home two\n"
TRACE = "    Traceback\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tunnels.log"


@pytest.fixture
def log(path: Path) -> Iterator[LogFile]:
    log = LogFile(path)
    yield log
    log.close()


def test_each_line_is_told_once_and_only_when_it_is_whole(path: Path, log: LogFile) -> None:
    assert list(log.read()) == []
    path.write_text(ONE + TWO[:10])
    assert list(log.read()) == [ONE]
    assert list(log.read()) == []
    path.write_text(ONE + TWO)
    assert list(log.read()) == [TWO]


def test_no_line_is_lost_when_the_file_is_rotated(path: Path) -> None:
    path.write_text(ONE)
    log = LogFile(path)
    assert list(log.read()) == [ONE]
    with path.open("a") as file:
        file.write(TWO)
    path.rename(path.with_name("tunnels.log.1"))
    path.write_text(ONE)
    assert list(log.read()) == [TWO, ONE]
    assert list(log.older()) == [ONE, TWO]
    log.close()


def test_a_selection_has_what_is_indented_below_its_lines_also_later() -> None:
    selection = Selection("home")
    assert list(selection.of([ONE, TRACE, TWO])) == [TWO.rstrip()]
    assert list(selection.of([TRACE, ONE])) == [TRACE.rstrip()]
    assert len(list(Selection(None).of([TRACE, ONE, TWO]))) == 3
