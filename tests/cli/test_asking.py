"""Who answers: a person who shares the question with other terminals, or a script."""

from __future__ import annotations

import io
import itertools
from types import SimpleNamespace

import pytest

from tests.cli.console import streams
from tests.cli.fake_client import CONNECTING, NEEDS_INPUT, FakeClient, FakeTerminal
from tests.daemon.served import tunnel
from tunnels.cli import asking
from tunnels.cli.asking import PATIENCE, Look, Person, Script, Vain
from tunnels.core.question import Question
from tunnels.core.standing import Standing
from tunnels.core.status import TunnelStatus
from tunnels.errors import UsageError
from tunnels.terminal import MAX_LINE, End

TRUST = Question("7", "host-key", "the host key is not known\nSHA256:abc", "Trust it? (yes/no)")
ASKING = tunnel(state=NEEDS_INPUT, question=TRUST, attempt=1)
REDIALLED = tunnel(state=CONNECTING, attempt=2)


def look(*later: TunnelStatus, kind: type[Look] = Look) -> Look:
    client = FakeClient(*((it,) for it in later))
    return kind(client, client.watch(0.25), ASKING)  # type: ignore[arg-type]  # stands in for it


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a quarter of a second pass with each look at the clock."""
    ticks = itertools.count(0.0, 0.25)
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


# --- what others do meanwhile ---------------------------------------------------------------------


def test_a_question_goes_on_until_it_is_answered_elsewhere() -> None:
    watching = look(ASKING, tunnel())
    assert not watching.over()
    assert watching.over()
    assert watching.standing is Standing.ANSWERED


@pytest.mark.usefixtures("clock")
def test_an_up_on_another_terminal_has_it_asked_anew_and_nobody_here_notices() -> None:
    again = ASKING._replace(question=TRUST._replace(id="8"), attempt=2)
    watching = look(REDIALLED, again, again)
    assert not any(watching.over() for _ in range(3))
    assert watching.asked.question.id == "8", "the answer must name the question that is open now"


@pytest.mark.usefixtures("clock")
def test_a_question_that_is_gone_for_a_while_was_answered() -> None:
    watching = look(REDIALLED)
    looks = next(n for n in itertools.count(1) if watching.over())
    assert watching.standing is Standing.ANSWERED
    assert looks > PATIENCE / 2, "it was given up at once"


def test_while_nothing_waits_for_an_answer_another_terminal_may_have_it_asked_anew() -> None:
    stale = ASKING._replace(question=TRUST._replace(stale=True))
    watching = look(stale, stale, REDIALLED, kind=Vain)
    assert [watching.over() for _ in range(3)] == [False, False, True]


# --- a person -------------------------------------------------------------------------------------


def test_a_person_reads_which_tunnel_asks_and_what_for() -> None:
    terminal = FakeTerminal("yes")
    with streams(is_terminal=True) as (out, err):
        assert Person(terminal).answer("work-db", TRUST, look(ASKING)) == "yes"
    assert err.getvalue().startswith("\nwork-db: the host key is not known\nSHA256:abc\n")
    assert out.getvalue() == ""
    assert terminal.asked == [("Trust it? (yes/no)", False)]


def test_a_server_can_neither_command_the_terminal_nor_flood_it() -> None:
    evil = TRUST._replace(
        text="asks\n" + "\x1b[2J\n" * 1000, prompt="one-time\x1b]0;owned\x07" + "x" * 9999, secret=True
    )
    terminal = FakeTerminal("1")
    with streams(is_terminal=True) as (_, err):
        Person(terminal).answer("work-db", evil, look(ASKING))
    ((prompt, secret),) = terminal.asked
    assert secret
    assert len(prompt) <= 500
    assert "\x1b]" not in prompt + err.getvalue()
    assert "\x1b[2J" not in err.getvalue()
    assert len(err.getvalue().splitlines()) < 30


def test_a_person_is_asked_for_a_sign_of_life_before_a_server_asks_again() -> None:
    terminal = FakeTerminal("half of a passw")
    with streams(is_terminal=True):
        assert Person(terminal).again(look(ASKING, kind=Vain)) is not End.LEFT
        assert Person(terminal).again(look(ASKING, kind=Vain)) is End.LEFT
    assert [secret for _, secret in terminal.asked] == [True, True], "half of a password is no text to show"


def test_a_return_that_came_too_late_for_the_invitation_is_not_sent_as_a_password() -> None:
    """Another terminal has had it asked anew, and the prompt changed under the finger."""
    secret = TRUST._replace(kind="password", secret=True)
    watching = look(ASKING, tunnel(), kind=Vain)
    terminal = FakeTerminal(..., "", "s3cret")
    person = Person(terminal)
    with streams(is_terminal=True):
        assert person.again(watching) is End.OVERTAKEN
        assert person.answer("work-db", secret, look(ASKING)) == "s3cret"


def test_an_empty_answer_to_a_question_is_an_answer() -> None:
    with streams(is_terminal=True):
        assert Person(FakeTerminal("")).answer("work-db", TRUST, look(ASKING)) == ""


# --- a script -------------------------------------------------------------------------------------


def script(text: bytes) -> Script:
    return Script(io.BytesIO(text))


def test_a_script_answers_one_line_after_the_other_and_then_no_more() -> None:
    who = script("s3cret \r\n123456\ncaf\u00e9".encode())
    answers = [who.answer("work-db", TRUST, look(ASKING)) for _ in range(4)]
    assert answers == ["s3cret ", "123456", "caf\u00e9", End.LEFT]


def test_a_script_whose_answer_was_wrong_is_told_so() -> None:
    who = script(b"wrong\n")
    who.answer("work-db", TRUST, look(ASKING))
    assert who.answer("home", TRUST, look(ASKING)) is End.LEFT
    assert who.silence.format("home") == "home needs an answer, and standard input has no further line"
    assert who.answer("work-db", TRUST, look(ASKING)) is End.LEFT
    assert who.silence.format("work-db").startswith("work-db did not take the answer, and ")


def test_a_line_that_was_not_taken_is_the_next_answer() -> None:
    who = script(b"123456\nnext\n")
    answer = who.answer("work-db", TRUST, look(ASKING))
    assert isinstance(answer, str)
    who.keep(answer)
    assert who.answer("work-db", TRUST, look(ASKING)) == "123456"
    assert who.answer("work-db", TRUST, look(ASKING)) == "next"


@pytest.mark.parametrize("line", [b"x" * MAX_LINE + b"\n", b"caf\xe9\n"])
def test_a_line_that_is_no_answer_is_refused(line: bytes) -> None:
    with pytest.raises(UsageError):
        script(line).answer("work-db", TRUST, look(ASKING))


def test_without_a_terminal_there_is_nobody() -> None:
    with streams():
        assert asking.person() is None
    with streams(is_terminal=True):
        assert asking.person() is not None
