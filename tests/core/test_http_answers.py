"""What the proxy says by itself: complete answers, readable by people, of no use to a page of another site."""

from __future__ import annotations

import re

import pytest

from tunnels.core import http_answers
from tunnels.core.http_answers import answer, dial_failure, rejection
from tunnels.core.http_head import HeadReader
from tunnels.errors import DialReason


def parts(reply: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    found = HeadReader(re.compile(rb"HTTP/1.1 .*")).receive(reply)
    assert found is not None
    head, body = found
    return head.first, {name.lower(): value for name, value in head.fields}, body


def test_an_answer_is_complete_and_says_that_the_connection_ends() -> None:
    first, fields, body = parts(answer(200, "für alle\n"))

    assert first == b"HTTP/1.1 200 OK"
    assert body == "für alle\n".encode()
    assert fields[b"content-length"] == b"%d" % len(body)
    assert fields[b"connection"] == b"close"
    assert fields[b"content-type"] == b"text/plain; charset=utf-8"


def test_no_page_of_another_site_may_read_an_answer_or_run_it_as_a_script() -> None:
    _, fields, _ = parts(answer(200, http_answers.pac("localhost:1080")))

    assert fields[b"x-content-type-options"] == b"nosniff"
    assert fields[b"cross-origin-resource-policy"] == b"same-origin"
    assert b"access-control-allow-origin" not in fields


def test_an_answer_to_head_has_the_length_of_the_body_and_no_body() -> None:
    _, fields, body = parts(answer(200, "text", with_body=False))

    assert (fields[b"content-length"], body) == (b"4", b"")


def test_a_rejection_is_a_sentence() -> None:
    first, _, body = parts(rejection(407, "this proxy wants it", http_answers.ASK_FOR_PASSWORD))

    assert first == b"HTTP/1.1 407 Proxy Authentication Required"
    assert body == b"This proxy wants it.\n"


@pytest.mark.parametrize(
    ("reason", "status", "error"),
    [
        (DialReason.PROHIBITED, 403, b"http_request_denied"),
        (DialReason.REFUSED, 502, b"connection_refused"),
        (DialReason.HOST_UNREACHABLE, 502, b"destination_ip_unroutable"),
        (DialReason.NETWORK_UNREACHABLE, 502, b"destination_ip_unroutable"),
        (DialReason.NAME_NOT_RESOLVED, 502, b"dns_error"),
        (DialReason.OTHER, 502, b"destination_unavailable"),
        (DialReason.LINK_DOWN, 503, b"proxy_internal_error"),
        (DialReason.TIMED_OUT, 504, b"connection_timeout"),
    ],
)
def test_a_failure_says_which_destination_and_why(reason: DialReason, status: int, error: bytes) -> None:
    first, fields, body = parts(dial_failure("db.internal:80", reason))

    assert first.split()[1] == b"%d" % status
    assert fields[b"proxy-status"] == b"tunnels; error=" + error
    assert body.startswith(f"db.internal:80: {reason.value}.\n".encode())


@pytest.mark.parametrize("reason", DialReason)
def test_every_reason_has_an_answer(reason: DialReason) -> None:
    assert parts(dial_failure("a:1", reason))


def test_the_page_shows_commands_that_work_with_this_port() -> None:
    page = http_answers.about("localhost:1080", auth=False)

    assert "curl -x http://localhost:1080 " in page
    assert "http://localhost:1080/proxy.pac" in page
    assert "PASSWORD" not in page
    assert "http://USER:PASSWORD@localhost:1080 " in http_answers.about("localhost:1080", auth=True)


def test_the_pac_file_leaves_no_way_around_the_proxy_and_no_name_to_be_looked_up_here() -> None:
    pac = http_answers.pac("[::1]:1080")

    assert '"PROXY [::1]:1080"' in pac
    assert "DIRECT" not in pac
    assert "SOCKS" not in pac
    assert "dns" not in pac.lower()
