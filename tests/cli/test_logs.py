from __future__ import annotations

import gc
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.console import Result, streams, tunnels
from tests.daemon.served import profile_file
from tunnels import log_file, paths
from tunnels.cli import logs as verb
from tunnels.core.logline import LogLine

#: One test below is about files that are left open; the others are about something else.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

TRACEBACK = "    Traceback (most recent call last):\n      File x\n    ValueError: bad\n"


def line(number: int, tunnel: str | None = None, message: str = "message", level: str = "INFO") -> str:
    return f"{LogLine(f'2026-11-20T09:00:{number:02}.000Z', level, tunnel, f'{message} {number}')}\n"


STORY = (
    line(1, None, "daemon started")
    + line(2, "work-db", "connecting")
    + line(3, "home", "connecting")
    + line(4, "work-db", "a bug", "ERROR")
    + TRACEBACK
    + line(5, "home", "up")
    + line(6, "work-db", "up")
)


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """Let what is left open be found here, and not in the middle of somebody else's test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def path() -> Path:
    profile_file()
    return paths.make_private(paths.log_dir()) / paths.log_file().name


def messages(result: Result) -> list[str]:
    """What was said, but for the indented lines."""
    return [each.split(" ", 3)[3] for each in result.out.splitlines() if each[0] != " "]


# --- what is shown --------------------------------------------------------------------------------


def test_where_a_program_reads_the_lines_are_as_they_are(path: Path) -> None:
    path.write_text(STORY)
    assert tunnels("logs") == Result(0, STORY, "")


def test_of_one_tunnel_come_its_lines_with_their_tracebacks_and_nothing_else(path: Path) -> None:
    path.write_text(STORY)
    result = tunnels("logs", "work-db")
    assert result.out == line(2, "work-db", "connecting") + line(
        4, "work-db", "a bug", "ERROR"
    ) + TRACEBACK + line(6, "work-db", "up")
    assert "Traceback" not in tunnels("logs", "home").out


def test_a_name_is_the_whole_name_and_the_daemon_is_no_tunnel(path: Path) -> None:
    path.write_text(line(1, "work-db-2", "work-db") + line(2, None, "work-db"))
    assert tunnels("logs", "work-db").out == ""


def test_the_last_lines_are_shown_as_many_as_were_asked_for(path: Path) -> None:
    path.write_text("".join(line(number % 60, message=f"number {number}") for number in range(200)))
    assert len(messages(tunnels("logs"))) == 50
    assert messages(tunnels("logs", "-n", "2")) == ["number 198 18", "number 199 19"]
    assert len(messages(tunnels("logs", "--lines", "1000"))) == 200
    assert tunnels("logs", "-n", "0").out == ""


@pytest.mark.parametrize("count", ["-1", "many"])
def test_a_number_that_is_none_is_a_bad_command_line(count: str, path: Path) -> None:
    path.write_text(STORY)
    result = tunnels("logs", "-n", count)
    assert (result.code, result.out) == (2, "")


def test_the_file_that_was_rotated_away_comes_first(path: Path) -> None:
    path.with_name("tunnels.log.1").write_text(line(1, "work-db") + line(2, "home"))
    path.write_text(line(3, "work-db"))
    assert messages(tunnels("logs", "work-db")) == ["message 1", "message 3"]
    assert messages(tunnels("logs", "-n", "2")) == ["message 2", "message 3"]
    path.unlink()  # at this moment the next one is being opened
    assert messages(tunnels("logs")) == ["message 1", "message 2"]


def test_bytes_that_are_not_unicode_are_shown_as_well_as_possible(path: Path) -> None:
    path.write_bytes(line(1).encode() + b"2026-11-20T09:00:02.000Z INFO - caf\xe9\n")
    assert messages(tunnels("logs"))[1].startswith("caf")


def test_on_a_terminal_time_is_local_and_levels_have_colours(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Etc/GMT-3")  # POSIX: three hours east
    time.tzset()
    try:
        path.write_text(line(1, None, "started") + line(2, "work-db", "[lost]", "WARNING") + TRACEBACK)
        shown = tunnels("logs", is_terminal=True).out
    finally:
        monkeypatch.undo()
        time.tzset()
    first, second, *rest = shown.splitlines()
    assert "2026-11-20 12:00:01" in first
    assert "daemon" in first
    assert "INFO" not in first
    assert "\x1b[33m[lost] 2" in second
    assert "\n".join(rest) + "\n" == TRACEBACK


# --- since ----------------------------------------------------------------------------------------


@pytest.fixture
def at_nine(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 09:00:10 UTC."""
    clock = SimpleNamespace(time=lambda: 1_795_165_210.0, sleep=time.sleep)
    monkeypatch.setattr(verb, "time", clock)


@pytest.mark.usefixtures("at_nine")
def test_since_shows_everything_from_a_moment_on_with_what_is_indented_there(path: Path) -> None:
    path.with_name("tunnels.log.1").write_text(line(1) + TRACEBACK)
    path.write_text(line(3) + line(4, "home") + TRACEBACK + "".join(line(5) for _ in range(60)))
    result = tunnels("logs", "--since", "6s")
    assert messages(result) == ["message 4", *["message 5"] * 60]
    assert result.out.count("Traceback") == 1
    assert len(messages(tunnels("logs", "--since", "2026-11-19"))) == 63


@pytest.mark.usefixtures("at_nine")
def test_since_goes_with_a_name_and_a_number(path: Path) -> None:
    path.write_text(STORY)
    assert messages(tunnels("logs", "work-db", "--since", "7s")) == ["a bug 4", "up 6"]
    assert messages(tunnels("logs", "--since", "7s", "-n", "1")) == ["up 6"]


@pytest.mark.usefixtures("at_nine")
def test_since_when_nothing_has_happened_is_said(path: Path) -> None:
    path.write_text(STORY)
    result = tunnels("logs", "--since", "1s")
    assert (result.code, result.out) == (0, "")
    assert "nothing has happened since 1s" in result.err
    assert tunnels("logs", "work-db", "--since", "1s").code == 0


@pytest.mark.usefixtures("at_nine")
@pytest.mark.parametrize("moment", ["5", "tea time", "2030-01-01"])
def test_a_moment_that_is_none_is_a_bad_command_line_with_a_hint(moment: str, path: Path) -> None:
    path.write_text(STORY)
    result = tunnels("logs", "--since", moment)
    assert (result.code, result.out) == (2, "")
    assert "hint: " in result.err


# --- there is nothing -----------------------------------------------------------------------------


def test_a_name_that_is_no_profile_and_never_was_is_4_with_the_close_ones(path: Path) -> None:
    path.write_text(STORY)
    result = tunnels("logs", "work-dbb")
    assert (result.code, result.out) == (4, "")
    assert "work-db" in result.err


def test_a_profile_to_which_nothing_has_happened_is_no_failure(path: Path) -> None:
    path.write_text(STORY)
    result = tunnels("logs", "work-web")
    assert (result.code, result.out) == (0, "")
    assert "nothing has happened yet to work-web" in result.err


def test_the_past_of_a_profile_that_is_gone_can_still_be_read(path: Path) -> None:
    path.write_text(line(1, "gone"))
    assert messages(tunnels("logs", "gone")) == ["message 1"]


def test_who_wants_none_of_the_lines_is_not_told_that_there_is_no_such_profile(path: Path) -> None:
    path.write_text(line(1, "gone"))
    assert tunnels("logs", "gone", "-n", "0").code == 0


def test_without_a_log_nothing_has_happened() -> None:
    result = tunnels("logs")
    assert (result.code, result.out) == (0, "")
    assert "nothing has happened yet" in result.err


def test_no_file_is_left_open(path: Path) -> None:
    path.write_text(STORY)
    path.with_name("tunnels.log.1").write_text(STORY)
    opened: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        original = log_file.open_log

        def remember(path: Path) -> object:
            opened.append(file := original(path))
            return file

        patch.setattr(log_file, "open_log", remember)
        tunnels("logs")
    assert [file.closed for file in opened if file is not None] == [True, True]  # type: ignore[attr-defined]


# --- following ------------------------------------------------------------------------------------


class Meanwhile:
    """What happens while nobody looks: one step for each time the command sleeps, and then Ctrl-C."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = iter(steps)

    def sleep(self, _: float) -> None:
        step = next(self.steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()


def follow(*steps: Callable[[], object], name: str | None = None, lines: int = 50) -> Result:
    with streams() as (out, err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(verb, "time", SimpleNamespace(sleep=Meanwhile(*steps).sleep))
        with pytest.raises(SystemExit) as ended:
            verb.logs(name, follow=True, lines=lines)
        assert ended.value.code == 130
        return Result(130, out.getvalue(), err.getvalue())


def append(path: Path, text: str) -> Callable[[], object]:
    def write() -> None:
        with path.open("a") as file:
            file.write(text)

    return write


def rotate(path: Path, text: str = "") -> Callable[[], object]:
    def write() -> None:
        path.rename(path.with_name(path.name + ".1"))
        path.write_text(text)

    return write


def test_what_is_written_is_shown_until_ctrl_c(path: Path) -> None:
    path.write_text(line(1))
    result = follow(append(path, line(2)), append(path, line(3) + line(4)))
    assert messages(result) == ["message 1", "message 2", "message 3", "message 4"]


def test_half_a_line_is_shown_when_it_is_whole(path: Path) -> None:
    path.write_text("")
    result = follow(append(path, line(1)[:30]), append(path, line(1)[30:]))
    assert result.out == line(1)


def test_of_one_tunnel_new_tracebacks_are_shown_too(path: Path) -> None:
    path.write_text(line(1, "home"))
    result = follow(
        append(path, line(2, "work-db") + TRACEBACK + line(3, "home") + TRACEBACK), name="work-db"
    )
    assert result.out == line(2, "work-db") + TRACEBACK


def test_a_log_that_does_not_exist_yet_is_waited_for(path: Path) -> None:
    assert messages(follow(lambda: None, append(path, line(1)))) == ["message 1"]


def test_following_goes_on_in_the_next_file_when_the_log_is_rotated(path: Path) -> None:
    path.write_text(line(1))
    result = follow(append(path, line(2)), rotate(path, line(3)), append(path, line(4)))
    assert messages(result) == ["message 1", "message 2", "message 3", "message 4"]


def test_what_was_written_just_before_the_rotation_is_not_lost(path: Path) -> None:
    def both() -> None:
        append(path, line(2))()
        rotate(path, line(3))()

    path.write_text(line(1))
    assert messages(follow(both)) == ["message 1", "message 2", "message 3"]


def test_what_is_written_between_a_look_and_the_rotation_is_not_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced, done = log_file.replaced_by_another, list[bool]()

    def busy(path: Path, file: object) -> bool:
        if not done:
            done.append(True)
            append(path, line(2))()
            rotate(path, line(3))()
        return replaced(path, file)  # type: ignore[arg-type]  # a file

    path.write_text(line(1))
    monkeypatch.setattr(log_file, "replaced_by_another", busy)
    assert messages(follow()) == ["message 1", "message 2", "message 3"]


def test_a_moment_without_a_file_is_waited_out(path: Path) -> None:
    path.write_text(line(1))
    result = follow(lambda: os.rename(path, f"{path}.1"), append(path, line(2)))  # noqa: PTH104
    assert messages(result) == ["message 1", "message 2"]


def test_following_a_name_that_is_nothing_is_4_and_ends(path: Path) -> None:
    path.write_text(STORY)
    assert tunnels("logs", "-f", "work-dbb").code == 4


def test_following_one_to_which_nothing_has_happened_waits_for_it(path: Path) -> None:
    path.write_text(line(1, "home"))
    assert messages(follow(append(path, line(2, "work-web")), name="work-web")) == ["message 2"]
