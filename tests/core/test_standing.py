"""What has become of a question while somebody looked at it."""

from __future__ import annotations

import pytest

from tests.daemon.served import tunnel
from tunnels.core.question import Question
from tunnels.core.standing import Asked, Standing, needs_answer, waits_in_vain
from tunnels.core.state import TunnelState as S
from tunnels.core.status import TunnelStatus
from tunnels.errors import ErrorInfo

PASSWORD = Question("1", "password", "bastion asks", "Password:", secret=True, subject="password bastion")
TRUST = Question("2", "host-key", "the host key is not known", "Trust it?", subject="SHA256:abc")
UNANSWERED = ErrorInfo("needs-input", "bastion asks", "tunnels auth work-db")


def waiting(question: Question, *, attempt: int = 1) -> TunnelStatus:
    return tunnel(state=S.NEEDS_INPUT, question=question, attempt=attempt)


@pytest.mark.parametrize(
    ("now", "standing"),
    [
        (waiting(PASSWORD), Standing.OPEN),
        (waiting(PASSWORD._replace(stale=True)), Standing.EXPIRED),
        (waiting(PASSWORD._replace(id="9", prompt="Code:")), Standing.ANSWERED),
        (tunnel(state=S.CONNECTING, attempt=1), Standing.ANSWERED),
        (tunnel(state=S.CONNECTING, attempt=2), Standing.UNSURE),
        (tunnel(state=S.UP), Standing.ANSWERED),
        (tunnel(state=S.FAILED), Standing.ANSWERED),
        (tunnel(state=S.BACKOFF, error=UNANSWERED), Standing.EXPIRED),
        (tunnel(state=S.BACKOFF, error=ErrorInfo("connection-lost", "bye")), Standing.ANSWERED),
        (tunnel(state=S.STOPPING), Standing.OVER),
        (None, Standing.OVER),
    ],
)
def test_what_a_snapshot_says_of_a_password_that_was_asked_for(
    now: TunnelStatus | None, standing: Standing
) -> None:
    asked = Asked(PASSWORD, 1)
    assert asked.standing(now) == (standing, asked)


def test_a_host_key_may_be_asked_about_anew_and_until_then_nobody_knows() -> None:
    assert Asked(TRUST, 1).standing(tunnel(state=S.CONNECTING, attempt=2))[0] is Standing.UNSURE


def test_a_question_that_is_asked_again_word_for_word_is_the_same_and_the_answer_names_the_new_one() -> None:
    again = TRUST._replace(id="3")
    assert Asked(TRUST, 1).standing(waiting(again, attempt=2)) == (Standing.OPEN, Asked(again, 2))


def test_a_question_with_another_word_is_another_question() -> None:
    other = TRUST._replace(id="3", text="the host key is another one")
    assert Asked(TRUST, 1).standing(waiting(other, attempt=2))[0] is Standing.ANSWERED


def test_an_answer_is_needed_by_who_asks_and_by_who_has_asked_in_vain() -> None:
    assert needs_answer(waiting(PASSWORD))
    assert not waits_in_vain(waiting(PASSWORD))
    assert waits_in_vain(waiting(PASSWORD._replace(stale=True)))
    assert needs_answer(tunnel(state=S.BACKOFF, error=UNANSWERED))
    assert not needs_answer(tunnel(state=S.BACKOFF, error=ErrorInfo("connection-lost", "bye")))
    assert not needs_answer(tunnel(state=S.UP, error=UNANSWERED))
