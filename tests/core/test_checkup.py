"""What a checkup comes to: the exit code and the document."""

from __future__ import annotations

from tunnels.core import checkup
from tunnels.core.checkup import HOP_STEPS, LABELS, Checkup, Step
from tunnels.errors import ErrorInfo

GOOD = Step("tcp", True, "192.0.2.7 answered", 12.34, host="me@bastion")
BAD = Step("login", False, host="me@bastion", error=ErrorInfo("login-refused", "refused", "ask"))
UNANSWERED = Step("host-key", False, host="me@bastion", error=ErrorInfo("needs-input", "who is it?"))
NOT_TRIED = Step("connect", None, forward="-L 1:db:1")


def code_of(*steps: Step) -> int:
    return checkup.exit_code([Checkup("work-db", list(steps))])


def test_it_is_good_only_if_every_step_is() -> None:
    assert Checkup("work-db", [GOOD, GOOD._replace(warning="mind the gap")]).ok
    assert not Checkup("work-db", [GOOD, BAD]).ok
    assert not Checkup("work-db", [GOOD, NOT_TRIED]).ok, "what was not tried is not known to work"


def test_the_exit_code_tells_a_missing_answer_from_a_failure() -> None:
    assert code_of(GOOD) == 0
    assert code_of(GOOD, BAD, NOT_TRIED) == 1
    assert code_of(GOOD, NOT_TRIED) == 1
    assert code_of(GOOD, UNANSWERED, NOT_TRIED) == 5
    assert code_of(UNANSWERED, BAD) == 1


def test_the_document_has_every_step_with_its_error() -> None:
    document = checkup.to_json([Checkup("work-db", [GOOD, BAD])])
    assert document == {
        "version": 1,
        "profiles": [
            {
                "name": "work-db",
                "ok": False,
                "steps": [
                    {
                        "step": "tcp",
                        "host": "me@bastion",
                        "forward": None,
                        "ok": True,
                        "ms": 12.3,
                        "detail": "192.0.2.7 answered",
                        "warning": None,
                        "error": None,
                    },
                    {
                        "step": "login",
                        "host": "me@bastion",
                        "forward": None,
                        "ok": False,
                        "ms": None,
                        "detail": "",
                        "warning": None,
                        "error": {"code": "login-refused", "message": "refused", "hint": "ask"},
                    },
                ],
            }
        ],
    }


def test_every_step_has_a_name_for_people() -> None:
    assert set(HOP_STEPS) < set(LABELS)
