from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.cli.fake_client import (
    BACKOFF,
    CONNECTING,
    FAILED,
    NEEDS_INPUT,
    REFUSED,
    FakeClient,
    FakeTerminal,
    run,
    up,
)
from tests.daemon.served import NOW, profile_file, tunnel
from tunnels.cli import waiting
from tunnels.core.question import Question
from tunnels.errors import AlreadyAnswered, ErrorInfo, HostKeyRejected, UsageError

QUESTION = Question("7", "host-key", "the host key is not known\nSHA256:abc", "Trust it? (yes/no)")


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file()


ASKING = tunnel(state=NEEDS_INPUT, question=QUESTION)


def test_without_a_terminal_a_question_is_5_and_nobody_is_asked() -> None:
    client = FakeClient((ASKING,))
    result = up(client)
    assert (result.code, result.out) == (5, "")
    assert "work-db needs an answer: the host key is not known" in result.err
    assert "tunnels auth work-db" in result.err
    assert [call[0] for call in client.calls] == ["up"]


def test_as_json_nobody_is_asked_even_on_a_terminal() -> None:
    result = up(FakeClient((ASKING,)), "work-db", "--json", is_terminal=True)
    assert result.code == 5
    assert result.json["tunnels"][0]["question"]["prompt"] == "Trust it? (yes/no)"


def test_a_question_beside_a_failure_is_1() -> None:
    client = FakeClient((ASKING, tunnel("work-web", FAILED, error=REFUSED)))
    assert up(client, "work-*").code == 1


def test_on_a_terminal_the_question_is_asked_and_the_answer_passed_on_once() -> None:
    client = FakeClient((ASKING,), (ASKING,), (tunnel(state=CONNECTING),), (tunnel(),))
    result = up(client, is_terminal=True, typed="yes\n")
    assert result.code == 0
    assert "SHA256:abc" in result.err
    assert "Trust it? (yes/no)" in result.err
    assert "Trust it? (yes/no)" not in result.out
    assert client.calls[1:] == [("answer", "work-db", "7", "yes")]


def test_two_questions_in_a_row_are_two_questions() -> None:
    client = FakeClient(
        (ASKING,), (tunnel(state=NEEDS_INPUT, question=QUESTION._replace(id="8")),), (tunnel(),)
    )
    assert up(client, is_terminal=True, typed="yes\nno\n").code == 0
    assert client.calls[1:] == [("answer", "work-db", "7", "yes"), ("answer", "work-db", "8", "no")]


def test_an_answer_that_makes_no_sense_is_asked_for_again() -> None:
    client = FakeClient((ASKING,), (ASKING,), (tunnel(),))
    client.refusals = [UsageError("please answer yes or no")]
    result = up(client, is_terminal=True, typed="perhaps\nyes\n")
    assert result.code == 0
    assert "please answer yes or no" in result.err
    assert [call[-1] for call in client.calls[1:]] == ["perhaps", "yes"]


def test_a_person_who_says_no_ends_it_and_the_tunnel() -> None:
    client = FakeClient((ASKING,))
    client.refusals = [HostKeyRejected("you did not accept the host key", hint="compare it again")]
    result = up(client, is_terminal=True, typed="no\n")
    assert result.code == 1
    assert "work-db was not started: you did not accept the host key" in result.err
    assert client.calls[-1] == ("down", ["work-db"])


def test_a_secret_is_asked_for_as_one() -> None:
    secret = QUESTION._replace(secret=True, prompt="Passphrase:")
    client = FakeClient((tunnel(state=NEEDS_INPUT, question=secret),), (tunnel(),))
    terminal = FakeTerminal("hunter2")
    result = run(client, "up", "work-db", is_terminal=True, terminal=terminal)
    assert result.code == 0
    assert terminal.asked == [("Passphrase:", True)]
    assert client.calls[1:] == [("answer", "work-db", "7", "hunter2")]
    assert "hunter2" not in result.out + result.err


def test_ctrl_d_instead_of_an_answer_is_no_bug() -> None:
    result = up(FakeClient((ASKING,)), is_terminal=True, typed="")
    assert result.code != 0
    assert "this is a bug" not in result.err


def test_an_answer_that_comes_after_another_terminals_is_no_failure_and_not_asked_for_again() -> None:
    client = FakeClient((ASKING,), (ASKING,), (tunnel(),))
    client.refusals = [AlreadyAnswered("work-db no longer waits for this answer")]
    result = up(client, is_terminal=True, typed="yes\nyes\n")
    assert result.code == 0
    assert "no longer waits" not in result.err
    assert "work-db: answered on another terminal" in result.err
    assert [call[0] for call in client.calls[1:]] == ["answer"]


def test_the_time_a_person_takes_is_not_that_of_the_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    class Thinking(FakeClient):
        def answer(self, name: str, question_id: str, answer: str, *, save: bool = False) -> None:
            now[0] += 1

    def think() -> str:
        now[0] += 600
        return "yes"

    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: NOW))
    client = Thinking((ASKING,), (tunnel(state=CONNECTING),), (tunnel(),))
    terminal = FakeTerminal(think)
    result = run(client, "up", "work-db", "--timeout", "10s", is_terminal=True, terminal=terminal)
    assert result.code == 0


def test_a_step_from_a_server_cannot_command_the_terminal() -> None:
    evil = ErrorInfo("connection-lost", "bye \x1b]0;owned\x07\x1b[2J", None)
    result = up(FakeClient((tunnel(state=BACKOFF, error=evil),), (tunnel(),)), is_terminal=True)
    assert "bye" in result.err, "the step was not shown"
    assert "\x1b]0" not in result.err


def test_a_question_that_was_answered_elsewhere_meanwhile_is_waited_out() -> None:
    client = FakeClient((tunnel(state=NEEDS_INPUT, question=None),), (tunnel(),))
    assert up(client).code == 0


def test_an_answer_to_a_question_that_was_only_asked_anew_is_the_answer_to_that() -> None:
    again = tunnel(state=NEEDS_INPUT, question=QUESTION._replace(id="8"), attempt=2)
    client = FakeClient((ASKING,), (ASKING,), (tunnel(state=CONNECTING, attempt=2),), (again,), (tunnel(),))
    client.refusals = [AlreadyAnswered("work-db no longer waits for this answer")]
    result = up(client, is_terminal=True, typed="yes\n")
    assert result.code == 0
    assert client.calls[1:] == [("answer", "work-db", "7", "yes"), ("answer", "work-db", "8", "yes")]
    assert "another terminal" not in result.err
