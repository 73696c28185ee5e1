"""``tunnels why``, from the files and from the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import daemon_thread, forward, profile_file, tunnel
from tunnels import history_file, paths
from tunnels.cli import why as verb
from tunnels.core.history import Facts, Record, What
from tunnels.core.state import TunnelState
from tunnels.core.status import DestinationStatus
from tunnels.errors import ErrorInfo

NOW = 1_795_165_200.0
"""2026-11-20T09:00:00Z, a Friday; 12:00 where the tests are."""

HOUR, DAY = 3600.0, 86_400.0
LOST = ErrorInfo("connection-lost", "the server did not answer\x1b[31m", "is it on?")
REFUSED = ErrorInfo("login-refused", "the server refused the key", "ssh-copy-id vps")


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    profile_file()
    clock = SimpleNamespace(time=lambda: NOW, strftime=time.strftime, localtime=time.localtime)
    monkeypatch.setattr(verb, "time", clock)
    monkeypatch.setenv("TZ", "Etc/GMT-3")  # POSIX: three hours east
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def happened(*records: tuple[float, What] | Record, ended: bool = False) -> None:
    """Have this in the files; times are seconds before `NOW`. The daemon's last sign is just now."""
    errors = {What.DOWN: LOST, What.FAILED: REFUSED, What.NEEDS_INPUT: REFUSED}
    made = [
        each if isinstance(each, Record) else Record(NOW - each[0], each[1], "work-db", errors.get(each[1]))
        for each in records
    ]
    if ended:
        made.append(Record(NOW - 60, What.ENDED))
    paths.make_private(paths.state_dir())
    writer = history_file.Writer(paths.history_file(), Facts())
    for record in made:
        writer.write(record)
    writer.close()
    history_file.give_sign(paths.alive_file(), NOW)


def up_again(ago: float, attempts: int = 1, error: ErrorInfo | None = None) -> Record:
    return Record(NOW - ago, What.UP, "work-db", error, attempts=attempts)


WEEK: list[tuple[float, What] | Record] = [
    *((20 * DAY, What.WANTED), (20 * DAY, What.UP)),
    *((3 * DAY, What.DOWN), up_again(3 * DAY - 12 * 60, 9, REFUSED)),
    *((HOUR, What.DOWN), up_again(HOUR - 90)),
]


def test_a_tunnel_that_is_up_shows_the_week_and_its_drops_the_newest_first() -> None:
    happened(*WEEK)
    with daemon_thread(tunnel("work-db", TunnelState.UP)):
        result = tunnels("why", "work-db")
    head, share, empty, *listed = result.out.splitlines()
    assert (result.code, result.err) == (0, "")
    assert head.startswith("● work-db  up for ")
    assert share == "    up 99.8 % of the last 7 days · 2 drops"
    assert empty == ""
    assert listed == [
        "    Fri 20 Nov 11:00  1m 30s   back by itself",
        "        the server did not answer [31m",
        "    Tue 17 Nov 12:00  12m      back by itself, 9 attempts",
        "        the server did not answer [31m",
        "        then the server refused the key",
    ]


def test_a_tunnel_that_is_down_says_first_why_and_what_to_do() -> None:
    happened((DAY, What.WANTED), (DAY, What.UP), (2 * HOUR, What.DOWN), (HOUR, What.FAILED))
    with daemon_thread(tunnel("work-db", TunnelState.FAILED, error=REFUSED)):
        lines = tunnels("why", "work-db").out.splitlines()
    assert lines[0].startswith("✗ work-db  failed for")
    assert lines[1:4] == [
        "    the server refused the key",
        "    → ssh-copy-id vps",
        "    up 91.6 % of the 1d it was wanted in the last 7 days · 1 drop",
    ]
    assert lines[5] == "    Fri 20 Nov 10:00  2h       still going on: somebody has to mend it"


def test_a_tunnel_that_is_up_and_whose_destination_refuses_says_so() -> None:
    happened((DAY, What.WANTED), (DAY, What.UP))
    refuses = forward()._replace(destination=DestinationStatus(3, 0.0, "refused", "db:5432: refused"))
    with daemon_thread(tunnel("work-db", TunnelState.UP, forwards=(refuses, forward()))):
        lines = tunnels("why", "work-db").out.splitlines()
    assert lines[1].endswith(": refused the last 3")
    assert len([line for line in lines if "refused" in line]) == 1


def test_without_a_daemon_the_files_are_enough_and_say_that_none_runs() -> None:
    happened(*WEEK, ended=True)
    lines = tunnels("why", "work-db").out.splitlines()
    assert lines[:5] == [
        "○ work-db  not running for 1m",
        "    the daemon was ended, or the machine was shut down",
        "    → tunnels up work-db",
        "    up 99.8 % of the last 7 days · 3 drops",
        "    of the rest: 1m no daemon ran",
    ]


def test_a_daemon_that_was_killed_is_down_since_its_last_sign() -> None:
    happened(*WEEK)
    history_file.give_sign(paths.alive_file(), NOW - 600)
    lines = tunnels("why", "work-db").out.splitlines()
    assert lines[0] == "○ work-db  not running for up to 10m"
    assert "killed, or the machine was off" in lines[1]


def test_a_daemon_that_was_killed_a_moment_ago_is_not_said_to_be_away_for_a_minute() -> None:
    happened((HOUR, What.WANTED), (HOUR, What.UP), Record(NOW, What.STARTED, since=NOW - 53), up_again(0))
    with daemon_thread(tunnel("work-db", TunnelState.UP)):
        lines = tunnels("why", "work-db").out.splitlines()
        document = tunnels("why", "work-db", "--json").json
    assert "    up at least 98.5 % of the 1h it was wanted in the last 7 days · 1 drop" in lines
    assert "    of the rest: up to 53s no daemon ran" in lines
    assert "up to 53s  back with the next daemon" in lines[-2]
    assert document["drops"][0]["unsure_seconds"] == 53


def test_the_latest_sign_counts_wherever_it_is() -> None:
    happened(*WEEK)
    history_file.give_sign(paths.alive_file(), NOW - 60)
    paths.make_private(paths.runtime_dir())
    history_file.give_sign(paths.pulse_file(), NOW - 4)
    assert tunnels("why", "work-db").out.splitlines()[0] == "○ work-db  not running for up to 4.0s"


def test_sleep_is_a_cause_and_named_beside_the_share() -> None:
    happened(
        *((DAY, What.WANTED), (DAY, What.UP)),
        Record(NOW - HOUR, What.SLEPT, seconds=2 * HOUR),
        *((HOUR - 5, What.DOWN), up_again(HOUR - 10), (60, What.STOPPED)),
    )
    lines = tunnels("why", "work-db").out.splitlines()
    assert "    of the rest: 2h the machine slept" in lines
    assert lines[-1] == "        this machine slept for 2h"


def test_how_many_drops_is_up_to_the_person() -> None:
    happened(*WEEK)
    assert tunnels("why", "work-db", "-n", "1").out.splitlines()[-1] == "    and 2 before; -n 3 shows all"
    assert "Nov" not in tunnels("why", "work-db", "-n", "0").out
    assert tunnels("why", "work-db", "-n", "-1").code == 2


def test_on_a_terminal_of_80_columns_nothing_is_cut_off() -> None:
    happened(
        (DAY, What.WANTED),
        (DAY, What.UP),
        Record(NOW - 60, What.DOWN, "work-db", ErrorInfo("c", "word " * 40)),
    )
    with daemon_thread(tunnel("work-db", TunnelState.BACKOFF)):
        shown = tunnels("why", "work-db", is_terminal=True).out
    assert max(map(len, shown.splitlines())) <= 100  # with colours
    assert shown.count("word") >= 40


def test_programs_get_one_document() -> None:
    happened(*WEEK)
    with daemon_thread(tunnel("work-db", TunnelState.UP)):
        document = tunnels("why", "work-db", "--json", "-n", "1").json
    assert (document["version"], document["name"], document["state"]) == (1, "work-db", "up")
    assert document["window"]["drops"] == 2
    assert 0.99 < document["window"]["share"] < 1
    assert document["drops"] == [
        {
            "from": "2026-11-20T08:00:00.000Z",
            "to": "2026-11-20T08:01:30.000Z",
            "seconds": 90.0,
            "unsure_seconds": 0.0,
            "cause": {"code": LOST.code, "message": LOST.message, "hint": LOST.hint},
            "then": None,
            "attempts": 1,
            "back": True,
            "summary": "back by itself",
        }
    ]


def test_a_profile_without_a_history_is_no_failure() -> None:
    result = tunnels("why", "work-web")
    assert (result.code, result.out) == (0, "")
    assert result.words == "nothing has happened yet to work-web; `tunnels up work-web` starts it"
    assert tunnels("why", "work-web", "--json").json["drops"] == []


def test_a_name_that_is_nothing_is_4_with_the_close_ones() -> None:
    result = tunnels("why", "work-dbb")
    assert (result.code, result.out) == (4, "")
    assert "work-db" in result.err
    assert tunnels("why", "work-dbb", "--json").json["error"]["code"] == "no-such-profile"


def test_a_glob_is_not_one_tunnel() -> None:
    assert tunnels("why", "work-*").code == 2


def test_the_past_of_a_profile_that_is_gone_can_still_be_read() -> None:
    happened(Record(NOW - 60, What.WANTED, "gone"), Record(NOW - 60, What.UP, "gone"), ended=True)
    assert tunnels("why", "gone").code == 0


@pytest.mark.parametrize(
    ("share", "shown"), [(1.0, "100 %"), (0.99999, "99.9 %"), (0.5, "50 %"), (0.0, "0 %"), (0.125, "12.5 %")]
)
def test_a_hundred_per_cent_is_said_only_where_nothing_is_missing(share: float, shown: str) -> None:
    assert verb._percent(share) == shown
