"""``tunnels auth`` where the daemon is a list of snapshots."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from tests.cli.console import Result, tunnels
from tests.cli.fake_client import (
    BACKOFF,
    CONNECTING,
    FAILED,
    NEEDS_INPUT,
    REFUSED,
    FakeClient,
    FakeTerminal,
    run,
)
from tests.daemon.served import daemon_thread, profile_file, tunnel
from tunnels import paths
from tunnels.cli.options import complete_waiting
from tunnels.core.question import Question
from tunnels.core.status import TunnelStatus
from tunnels.errors import AlreadyAnswered, ErrorInfo, HostKeyRejected, QuestionExpired

PASSWORD = Question(
    "7", "password", "me@bastion asks for an answer", "Password:", secret=True, subject="p", lasting=True
)
CODE = Question("8", "challenge", "me@bastion asks for an answer", "Code:", secret=True)
TRUST = Question("9", "host-key", "the host key is not known", "Trust it?")
UNANSWERED = ErrorInfo("needs-input", "me@bastion asks for an answer", "tunnels auth work-db")


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file()


def waiting(question: Question = PASSWORD, name: str = "work-db", **rest: Any) -> TunnelStatus:
    return tunnel(name, NEEDS_INPUT, question=question, **rest)


def auth(client: FakeClient, *arguments: str, typed: tuple[object, ...] = ()) -> Result:
    """Type ``tunnels auth …`` on a terminal."""
    return run(client, "auth", *arguments, is_terminal=True, terminal=FakeTerminal(*typed))


def scripted(client: FakeClient, *arguments: str, lines: str, patch: pytest.MonkeyPatch) -> Result:
    """Type ``echo … | tunnels auth --stdin``."""
    from tests.cli.console import Stream

    patch.setattr(Stream, "buffer", io.BytesIO(lines.encode()), raising=False)
    return run(client, "auth", *arguments, "--stdin")


# --- answering ------------------------------------------------------------------------------------


def test_every_tunnel_that_waits_is_asked_for_and_what_came_of_it_is_said() -> None:
    first, second = waiting(), waiting(CODE, "work-web")
    client = FakeClient(
        (first, second, tunnel("home")),
        (first, second),
        (tunnel("work-db"), second),
        (tunnel("work-db"), tunnel("work-web")),
    )
    result = auth(client, typed=("s3cret", "123456"))
    assert result.code == 0
    assert client.calls == [("answer", "work-db", "7", "s3cret"), ("answer", "work-web", "8", "123456")]
    assert "work-db" in result.out
    assert "work-web" in result.out
    assert "home" not in result.out
    assert "work-db: me@bastion asks for an answer" in result.err
    assert "s3cret" not in result.out + result.err


def test_further_questions_of_the_same_login_are_asked_too() -> None:
    client = FakeClient((waiting(),), (waiting(),), (waiting(CODE),), (tunnel(),))
    assert auth(client, "work-db", typed=("s3cret", "123456")).code == 0
    assert [call[2:] for call in client.calls] == [("7", "s3cret"), ("8", "123456")]


def test_a_login_that_fails_after_the_answer_is_1_and_says_why() -> None:
    client = FakeClient((waiting(),), (waiting(),), (tunnel(state=FAILED, error=REFUSED),))
    result = auth(client, typed=("wrong",))
    assert result.code == 1
    assert "work-db: bastion refused the login" in result.err


def test_a_glob_means_those_that_wait() -> None:
    client = FakeClient((waiting(), tunnel("work-web")), (waiting(),), (tunnel(),))
    result = auth(client, "work-*", typed=("s3cret",))
    assert result.code == 0
    assert "work-web" not in result.out + result.err


def test_a_tunnel_that_is_on_its_way_to_its_question_is_waited_for() -> None:
    client = FakeClient((tunnel(state=CONNECTING),), (tunnel(state=CONNECTING),), (waiting(),), (tunnel(),))
    assert auth(client, "work-db", typed=("s3cret",)).code == 0
    assert len(client.calls) == 1


def test_who_says_no_to_a_host_key_leaves_the_tunnel_waiting() -> None:
    client = FakeClient((waiting(TRUST),))
    client.refusals = [HostKeyRejected("the host key of bastion was not trusted")]
    result = auth(client, typed=("no",))
    assert result.code == 1
    assert "it goes on waiting; `tunnels down work-db` ends it" in result.words
    assert [call[0] for call in client.calls] == ["answer"]


def test_ctrl_d_leaves_the_question_open() -> None:
    client = FakeClient((waiting(),))
    result = auth(client)
    assert result.code == 5
    assert client.calls == []
    assert "tunnels auth work-db" in result.err


# --- who has stopped waiting ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "stale", [waiting(PASSWORD._replace(stale=True)), tunnel(state=BACKOFF, error=UNANSWERED)]
)
def test_a_question_that_nobody_waits_for_any_more_is_asked_anew_first(stale: TunnelStatus) -> None:
    client = FakeClient((stale,), (tunnel(state=CONNECTING),), (waiting(CODE),), (tunnel(),))
    assert auth(client, typed=("123456",)).code == 0
    assert client.calls == [
        ("up", ["work-db"], str(paths.config_file())),
        ("answer", "work-db", "8", "123456"),
    ]


def test_a_question_that_goes_stale_while_the_person_types_is_asked_again() -> None:
    stale = waiting(PASSWORD._replace(stale=True))
    client = FakeClient(
        (waiting(),), (stale,), (stale,), (tunnel(state=CONNECTING),), (waiting(CODE),), (tunnel(),)
    )
    result = auth(client, typed=(..., "", "123456"))
    assert result.code == 0
    assert "Press Return, and it asks again" in result.err
    assert [call[0] for call in client.calls] == ["up", "answer"]


def test_an_answer_that_comes_a_moment_too_late_has_the_question_asked_again() -> None:
    client = FakeClient((waiting(),), (waiting(),), (waiting(CODE),), (tunnel(),))
    client.refusals = [QuestionExpired("the server has stopped waiting")]
    result = auth(client, typed=("s3cret", "123456"))
    assert result.code == 0
    assert "work-db: the server had stopped waiting for the answer; it asks again" in result.err
    assert [call[0] for call in client.calls] == ["answer", "up", "answer"]


def test_who_has_gone_is_not_asked_again_and_the_server_is_left_alone() -> None:
    stale = waiting(PASSWORD._replace(stale=True))
    client = FakeClient((waiting(),), (waiting(),), (stale,))
    result = auth(client, typed=(...,))
    assert result.code == 5
    assert client.calls == []


def test_a_tunnel_that_is_taken_down_while_its_server_waits_no_more_is_not_started_again() -> None:
    stale = waiting(PASSWORD._replace(stale=True))
    client = FakeClient((waiting(),), (stale,), ())
    result = auth(client, typed=(..., ...))
    assert result.code == 1
    assert client.calls == []


# --- two terminals --------------------------------------------------------------------------------


def test_a_question_that_is_answered_on_another_terminal_ends_here_without_a_keystroke() -> None:
    client = FakeClient((waiting(),), (waiting(),), (tunnel(state=CONNECTING),), (tunnel(),))
    result = auth(client, typed=(...,))
    assert result.code == 0
    assert client.calls == []
    assert "work-db: answered on another terminal" in result.err
    assert "work-db" in result.out


def test_a_tunnel_that_is_taken_down_while_a_person_thinks_is_said_and_not_started_again() -> None:
    client = FakeClient((waiting(),), (waiting(),), ())
    result = auth(client, typed=(...,))
    assert result.code == 1
    assert "work-db: it was taken down" in result.err
    assert client.calls == []


# --- nothing to answer ----------------------------------------------------------------------------


def test_where_nothing_waits_that_is_said_and_0() -> None:
    result = auth(FakeClient((tunnel(), tunnel("home", FAILED, error=REFUSED))))
    assert (result.code, result.out) == (0, "")
    assert "no tunnel waits for an answer" in result.err


def test_a_tunnel_that_is_up_has_nothing_to_answer_and_that_is_0() -> None:
    result = auth(FakeClient((tunnel(),)), "work-db")
    assert result.code == 0
    assert "work-db waits for no answer; it is up" in result.err


def test_a_tunnel_that_has_failed_has_nothing_to_answer_and_that_is_1() -> None:
    result = auth(FakeClient((tunnel(state=FAILED, error=REFUSED),)), "work-db")
    assert result.code == 1
    assert "it is failed: bastion refused the login" in result.words
    assert "set identity_file" in result.err


def test_a_tunnel_that_does_not_run_is_3_and_a_name_nobody_knows_4() -> None:
    assert auth(FakeClient(()), "work-db").code == 3
    assert "`tunnels up work-db` starts it" in auth(FakeClient(()), "work-db").words
    assert auth(FakeClient(()), "wrok-db").code == 4


def test_without_a_daemon_it_is_3_and_a_name_nobody_knows_is_still_4() -> None:
    assert tunnels("auth").code == 3
    assert tunnels("auth", "work-db").code == 3
    assert tunnels("auth", "wrok-db").code == 4


# --- without a terminal ---------------------------------------------------------------------------


def test_without_a_terminal_it_is_5_and_nothing_is_dialled() -> None:
    client = FakeClient((waiting(PASSWORD._replace(stale=True)),))
    result = run(client, "auth")
    assert result.code == 5
    assert client.calls == []


def test_a_script_answers_one_line_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient((waiting(),), (waiting(),), (waiting(CODE),), (tunnel(),))
    result = scripted(client, "work-db", lines="s3cret\n123456\n", patch=monkeypatch)
    assert result.code == 0
    assert [call[2:] for call in client.calls] == [("7", "s3cret"), ("8", "123456")]


def test_a_script_whose_lines_are_not_enough_ends_with_5(monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient((waiting(),), (waiting(),), (waiting(CODE),))
    result = scripted(client, lines="s3cret\n", patch=monkeypatch)
    assert result.code == 5
    assert "standard input has no further line" in result.words


@pytest.mark.parametrize("refusal", [QuestionExpired("too late"), AlreadyAnswered("another one is open")])
def test_a_line_that_came_too_late_is_the_answer_to_the_next_question(
    refusal: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient((waiting(),), (waiting(),), (waiting(PASSWORD._replace(id="10")),), (tunnel(),))
    client.refusals = [refusal]
    assert scripted(client, lines="s3cret\n", patch=monkeypatch).code == 0
    assert [call[2:] for call in client.calls if call[0] == "answer"] == [("7", "s3cret"), ("10", "s3cret")]


def test_a_terminal_is_no_standard_input_for_secrets() -> None:
    result = auth(FakeClient((waiting(),)), "--stdin")
    assert result.code == 2
    assert "a terminal would show what you type" in result.words


def test_a_standard_input_that_is_closed_has_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*arguments: str, **_: object) -> Result:
        monkeypatch.setattr(sys, "stdin", None)
        return tunnels(*arguments)

    assert closed("auth", "--stdin").code == 3


# --- keeping it -----------------------------------------------------------------------------------


def test_what_is_good_the_next_time_too_is_saved_if_that_is_wanted_and_a_code_never() -> None:
    client = FakeClient((waiting(),), (waiting(),), (waiting(CODE),), (tunnel(),))
    result = auth(client, "--save", typed=("s3cret", "123456"))
    assert result.code == 0
    assert client.calls == [
        ("answer", "work-db", "7", "s3cret", "save"),
        ("answer", "work-db", "8", "123456"),
    ]
    assert result.err.count("this answer is good for once, and is not saved") == 1


# --- for programs ---------------------------------------------------------------------------------


def test_as_json_it_is_one_document_and_the_person_is_asked_on_stderr() -> None:
    client = FakeClient((waiting(),), (waiting(),), (tunnel(),))
    result = auth(client, "--json", typed=("s3cret",))
    assert result.code == 0
    assert [(it["name"], it["state"]) for it in result.json["tunnels"]] == [("work-db", "up")]
    assert "Password:" in result.err


def test_as_json_nothing_to_answer_is_a_document_too() -> None:
    assert auth(FakeClient((tunnel(),)), "--json").json["tunnels"] == []
    assert auth(FakeClient((tunnel(),)), "work-db", "--json").json["tunnels"][0]["state"] == "up"
    assert tunnels("auth", "--json").json["error"]["code"] == "daemon-not-running"


# --- the shell ------------------------------------------------------------------------------------


def test_the_shell_offers_the_tunnels_that_wait() -> None:
    with daemon_thread(waiting(), tunnel("work-web"), waiting(CODE, "home")):
        assert complete_waiting("") == ["work-db", "home"]
        assert complete_waiting("w") == ["work-db"]
    assert complete_waiting("") == []
