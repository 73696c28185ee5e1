"""How a checkup is shown; what is in it is tested with real servers, in tests/e2e/test_doctor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.cli.console import streams, tunnels
from tests.daemon.served import FILE, daemon_thread, profile_file, tunnel
from tunnels import profiles
from tunnels.cli import doctor as verb
from tunnels.cli.doctor import step_lines, verdict
from tunnels.core.checkup import Checkup, Step
from tunnels.core.profile import Profile
from tunnels.core.status import Snapshot
from tunnels.daemon import doctor as engine
from tunnels.errors import ErrorInfo

GOOD = Step("tcp", True, "192.0.2.7 answered on port 22", 12.3, host="me@bastion")
BAD = Step(
    "login",
    False,
    "takes publickey; id refused",
    1500.0,
    host="me@bastion",
    error=ErrorInfo("login-refused", "me@bastion refused the login", "is me the right user?"),
)
SKIPPED = Step("connect", None, forward="-L 5432:db:5432")
NOTED = Step("listen", True, "2222 is free", 0.2, forward="-R 2222:a:1", warning="others can reach it")

Examined = dict[str, object]


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> Examined:
    """Have an engine that finds what is in ``steps``; the rest is what it was asked."""
    asked: Examined = {"steps": [GOOD]}

    def run(file: Path, wanted: Sequence[Profile], reader: engine.Reader, **rest: object) -> list[Checkup]:
        asked.update(rest, names=[profile.name for profile in wanted])
        found = []
        for profile in wanted:
            reader.examining(profile)
            checkup = Checkup(profile.name)
            for step in asked["steps"]:  # type: ignore[attr-defined]
                reader.began("something")
                checkup.steps.append(step)
                reader.found(step)
            reader.done(checkup)
            found.append(checkup)
        return found

    monkeypatch.setattr(engine, "run_doctor", run)
    return asked


def lines(step: Step, *, words: bool = False) -> list[str]:
    return [(line.before + line.text).plain for line in step_lines(step, words=words)]


def test_a_step_is_a_line_with_its_mark_and_its_time() -> None:
    assert lines(GOOD) == ["  ✓ TCP       192.0.2.7 answered on port 22 · 12 ms"]
    assert lines(SKIPPED) == ["  \N{EN DASH} connect   not tried"]


def test_a_failure_says_first_what_is_wrong_and_at_last_what_to_do() -> None:
    indent = " " * len("  ✗ login     ")
    assert lines(BAD) == [
        "  ✗ login     me@bastion refused the login · 1.5 s",
        f"{indent}takes publickey; id refused",
        f"{indent}→ is me the right user?",
    ]


def test_what_there_is_to_know_stands_below_what_works() -> None:
    assert lines(NOTED)[0].startswith("  ! listen    2222 is free")
    assert lines(NOTED)[1].strip() == "others can reach it"


def test_where_there_are_no_colours_the_marks_are_words() -> None:
    firsts = [lines(step, words=True)[0].split()[0] for step in (GOOD, BAD, NOTED, SKIPPED)]
    assert firsts == ["ok", "failed", "note", "not"]


def test_what_a_server_says_cannot_command_the_terminal() -> None:
    assert "\x1b" not in "".join(lines(GOOD._replace(detail="\x1b[2JSSH-2.0", warning="\x1b]0;x\x07")))


def test_the_home_of_the_user_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    shown = lines(GOOD._replace(detail="/home/me/.ssh/id, /home/me2/id, /srv/home/me/id", ms=None))
    assert shown == ["  ✓ TCP       ~/.ssh/id, /home/me2/id, /srv/home/me/id"]


def test_the_verdict_counts() -> None:
    def of(*steps: Step) -> str:
        return verdict(Checkup("work-db", list(steps))).plain

    assert of(GOOD) == "work-db: everything works"
    assert of(GOOD, NOTED) == "work-db: works, with 1 thing to know"
    assert of(GOOD, BAD, SKIPPED) == "work-db: 1 step failed"
    assert of(BAD, BAD) == "work-db: 2 steps failed"


def test_on_a_terminal_long_lines_are_folded_beside_their_label(examined: Examined) -> None:
    profile_file()
    long = "word " * 40
    examined["steps"] = [GOOD._replace(detail=long)]
    shown = tunnels("doctor", "work-db", is_terminal=True).out
    folded = [line for line in shown.splitlines() if "word" in line]
    assert len(folded) > 2
    assert all(line.startswith(" " * 14) for line in folded[1:])
    assert all(len(line.rstrip()) <= 90 for line in folded)
    examined["steps"] = [GOOD._replace(detail=long)]
    assert len([line for line in tunnels("doctor", "work-db").out.splitlines() if "word" in line]) == 1


def test_the_steps_stand_below_the_server_or_forward_they_are_about(examined: Examined) -> None:
    profile_file()
    examined["steps"] = [Step("profile", True, "f"), GOOD, BAD, SKIPPED]
    shown = tunnels("doctor", "work-db")
    assert shown.code == 1
    order = [
        "work-db",
        "profile",
        "  me@bastion",
        "TCP",
        "login",
        "  -L 5432:db:5432",
        "connect",
        "1 step failed",
    ]
    places = [shown.out.index(word) for word in order]
    assert places == sorted(places)
    assert shown.out.count("  me@bastion\n") == 1


def test_json_is_one_document_and_nobody_is_asked(examined: Examined) -> None:
    profile_file()
    found = tunnels("doctor", "work-db", "--json", is_terminal=True)
    assert found.json["profiles"][0]["steps"][0]["step"] == "tcp"
    assert examined["may_ask"] is False
    assert tunnels("doctor", "work-db", is_terminal=True).code == 0
    assert examined["may_ask"] is True


def test_a_name_may_be_left_out_where_there_is_one_profile_only(examined: Examined) -> None:
    names = list(profiles.load(profile_file(FILE)).profiles)
    assert len(names) > 1
    assert tunnels("doctor").code == 2
    assert tunnels("doctor", "--all").code == 0
    assert examined["names"] == names
    profile_file('[profiles.alone]\nhost = "bastion"\ndynamic = ["1080"]\n')
    assert tunnels("doctor").code == 0
    assert examined["names"] == ["alone"]


def test_a_name_that_is_no_profile_and_a_bad_file_have_their_exit_codes(examined: Examined) -> None:
    profile_file()
    assert tunnels("doctor", "wrok-db").code == 4
    profile_file("[profiles.bad]\nhots = 1\n")
    assert tunnels("doctor", "bad").code == 2


def test_a_running_daemon_is_asked_what_it_has_and_none_is_started(examined: Examined) -> None:
    profile_file()
    tunnels("doctor", "work-db")
    assert examined["running"] == Snapshot(None)
    with daemon_thread(tunnel("work-db")):
        tunnels("doctor", "work-db")
    running = examined["running"]
    assert isinstance(running, Snapshot)
    assert [each.name for each in running.tunnels] == ["work-db"]


def test_the_spinner_is_gone_and_the_cursor_back_also_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    profile_file()

    def run(_file: Path, wanted: Sequence[Profile], reader: engine.Reader, **_: object) -> list[Checkup]:
        reader.examining(wanted[0])
        reader.began("something")
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run_doctor", run)
    assert tunnels("doctor", "work-db", is_terminal=True).code == 130


def test_the_spinner_is_away_while_somebody_is_asked() -> None:
    with streams(is_terminal=True) as (_, err):
        shown = verb._Shown()
        shown.began("logging in")
        started: Callable[[], bool] = lambda: bool(shown._spinner and shown._spinner._live.is_started)  # noqa: E731
        assert started()
        with shown.asking():
            assert not started()
        assert started()
        shown.close()
        assert err.getvalue()
