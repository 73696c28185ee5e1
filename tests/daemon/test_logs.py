from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunnels import paths
from tunnels.core.logline import LogLine, parse
from tunnels.daemon import logs

log = logging.getLogger("tunnels")

Install = Callable[[logging.Handler], logging.Handler]


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    """Take away what was installed, and close it."""
    loggers = [logging.getLogger(name) for name in ("", "tunnels", "asyncssh")]
    levels = [logger.level for logger in loggers]
    before = list(logging.getLogger().handlers)
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    for handler in set(logging.getLogger().handlers) - set(before):
        logging.getLogger().removeHandler(handler)
        handler.close()


@pytest.fixture
def path() -> Path:
    logs.to_file(paths.log_file())
    return paths.log_file()


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- lines ----------------------------------------------------------------------------------------


def test_a_line_has_time_level_tunnel_and_message(path: Path) -> None:
    log.info("daemon started, pid %d", 4711)
    log.warning("connection lost", extra={"tunnel": "work-db"})
    first, second = (parse(line) for line in lines(path))
    assert first == LogLine(first.time if first else "", "INFO", None, "daemon started, pid 4711")
    assert second is not None
    assert second[1:] == ("WARNING", "work-db", "connection lost")
    assert second.time.endswith("Z")


def test_a_message_with_line_breaks_and_escapes_is_one_line(path: Path) -> None:
    log.info("the server says: %s", "hi\n2026-01-01T00:00:00.000Z INFO home forged\r\x1b[2J")
    (line,) = lines(path)
    assert "\x1b" not in line


def test_a_traceback_is_indented_below_its_line_and_is_no_line_itself(path: Path) -> None:
    try:
        raise ValueError(
            "2026-01-01T00:00:00.000Z INFO home forged\n2026-01-01T00:00:00.000Z INFO home again"
        )
    except ValueError:
        log.exception("a bug", extra={"tunnel": "work-db"})
    first, *rest = lines(path)
    assert parse(first) is not None
    assert "ValueError: 2026" in "".join(rest)
    for line in rest:
        assert line.startswith("    ")
        assert parse(line) is None


def test_a_traceback_with_escapes_cannot_command_the_terminal_that_shows_it(path: Path) -> None:
    try:
        raise ValueError("the server says: \x1b]0;owned\x07\x1b[2J")
    except ValueError:
        log.exception("a bug")
    assert not set(path.read_text()) & {"\x1b", "\x07"}


def test_a_message_that_is_not_unicode_is_written_all_the_same(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.error("no such file: %s", "/caf\udce9")
    assert len(lines(path)) == 1
    assert capsys.readouterr().err == "", "logging complains on stderr, which is where nobody looks"


# --- what is written ------------------------------------------------------------------------------


def test_asyncssh_is_heard_only_when_it_fails(path: Path) -> None:
    its = logging.getLogger("asyncssh")
    for name in ("asyncssh", "asyncssh.sftp"):
        logging.getLogger(name).debug("the password is hunter2")
        logging.getLogger(name).info("Requested -> db.internal:5432")
        logging.getLogger(name).warning("something")
    assert lines(path) == []
    its.error("it is broken")
    assert [line.rpartition(" ")[2] for line in lines(path)] == ["broken"]


def test_other_libraries_are_heard_when_they_warn_and_we_always_but_for_details(path: Path) -> None:
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("careful")
    logging.getLogger("tunnels.tunnel").info("connecting")
    logging.getLogger("tunnels.tunnel").debug("a detail")
    assert [line.split(" ", 3)[3] for line in lines(path)] == ["careful", "connecting"]


def test_in_the_foreground_lines_go_to_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    logs.to_stderr()
    log.info("connecting", extra={"tunnel": "work-db"})
    found = parse(stderr.getvalue())
    assert found is not None
    assert (found.tunnel, found.message) == ("work-db", "connecting")


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 1000)


@pytest.mark.usefixtures("small")
def test_the_log_never_takes_more_than_two_files_and_keeps_what_is_new() -> None:
    logs.to_file(paths.log_file())
    for number in range(1000):
        log.info("line %d", number)
    found = sorted(paths.log_dir().iterdir())
    assert [file.name for file in found] == ["tunnels.log", "tunnels.log.1"]
    assert all(0 < file.stat().st_size <= 1000 for file in found)
    written = lines(found[1]) + lines(found[0])
    numbers = [int(line.rpartition(" ")[2]) for line in written]
    assert numbers == list(range(1000 - len(numbers), 1000))


@pytest.mark.usefixtures("small")
def test_every_file_of_the_log_is_for_its_user_only_whatever_the_umask() -> None:
    paths.make_private(paths.log_dir()).chmod(0o755)
    before = os.umask(0)
    try:
        logs.to_file(paths.log_file())
        for number in range(100):
            log.info("line %d", number)
    finally:
        os.umask(before)
    assert mode(paths.log_dir()) == 0o700
    found = list(paths.log_dir().iterdir())
    assert len(found) == 2
    assert [mode(file) for file in found] == [0o600, 0o600]


def test_a_new_daemon_goes_on_in_the_same_file(path: Path) -> None:
    log.info("first")
    logs.to_file(path).close()
    log.info("second")
    assert "first" in lines(path)[0]
