"""Every line of the leak test says what was found, and no more than that."""

from __future__ import annotations

import pytest

from tests.daemon.served import forward
from tunnels.core import leak_report
from tunnels.core.leak_report import Verdict
from tunnels.core.status import ForwardStatus


def proxy(**rest: object) -> ForwardStatus:
    return forward("localhost:1080", None, kind="dynamic", **rest)


def test_only_the_refusal_of_the_command_itself_is_a_refusal() -> None:
    assert leak_report.refused("udp", "UDP", 7).verdict is Verdict.PASSED
    assert leak_report.refused("udp", "UDP", 0).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("saw", "how", "verdict"),
    [
        (False, "packets", Verdict.PASSED),
        (True, "packets", Verdict.FAILED),
        (None, "packets", Verdict.UNKNOWN),
        (None, None, Verdict.UNKNOWN),
    ],
)
def test_that_names_are_resolved_far_away_is_claimed_only_if_it_was_watched(
    saw: bool | None, how: str | None, verdict: Verdict
) -> None:
    check = leak_report.names_are_resolved_far_away("new.example.com", 4, saw, how, "DNS over TLS")
    assert check.verdict is verdict
    assert "new.example.com" in check.text


@pytest.mark.parametrize(
    ("code", "known_here", "verdict"),
    [
        (0, False, Verdict.PASSED),
        (5, False, Verdict.PASSED),  # an address has refused, so there was one
        (0, True, Verdict.UNKNOWN),
        (4, False, Verdict.UNKNOWN),
    ],
)
def test_a_far_name_proves_something_only_if_it_is_reached_and_not_known_here(
    code: int, known_here: bool, verdict: Verdict
) -> None:
    assert leak_report.far_name("intranet.corp", code, known_here=known_here).verdict is verdict


def test_requests_by_address_are_counted_and_named_as_what_they_are_a_sign_of() -> None:
    check = leak_report.by_address(proxy(clients_total=20, by_address=12))
    assert check.verdict is Verdict.NOTICED
    assert check.text.startswith("12 requests so far came with an address")
    assert leak_report.by_address(proxy(clients_total=1)).verdict is Verdict.PASSED
    assert leak_report.by_address(proxy(clients_total=0)).verdict is Verdict.UNKNOWN


def test_a_proxy_that_others_can_reach_is_worth_a_look() -> None:
    assert leak_report.reach(proxy(reachable_by_others=True)).verdict is Verdict.NOTICED
    assert leak_report.reach(proxy()).verdict is Verdict.PASSED


def test_the_document_says_in_one_word_whether_something_leaks() -> None:
    good = [leak_report.refused("udp", "UDP", 7), leak_report.exit_address("http://x", "192.0.2.7")]
    assert leak_report.to_json("cafe", "127.0.0.1:1080", good)["leaks"] is False
    bad = leak_report.to_json("cafe", "127.0.0.1:1080", [*good, leak_report.refused("bind", "BIND", 0)])
    assert bad["leaks"] is True
