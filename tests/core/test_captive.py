"""What is a login page, what is none, and how its address is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.captive import (
    NO_DOUBT,
    NOBODY,
    REFUSAL,
    SILENCE,
    Doubt,
    Manner,
    Reply,
    Verdict,
    has_moved_inside,
    is_this_machine,
    judge,
    login_page,
    manner,
    portal_error,
    read_reply,
)

HOST = "9.9.9.9"
INSIDE = "10.0.0.1"
PAGE = Reply(200, present=True)
TO_LOGIN = Reply(302, "http://login.hotel.example/welcome", present=True)
TO_ITSELF = Reply(301, "https://www.example.com/", present=True)
TO_INSIDE = Reply(302, "http://10.0.0.1:8880/login", present=True)
MUST_LOG_IN = Reply(511, present=True)
PROXY_ERROR = Reply(503, present=True)

WEB = Doubt(Manner.HTTP)
TLS = Doubt(Manner.TLS)
MOVED = Doubt(moved=True)

LOGIN = "http://login.hotel.example/welcome"
ANYWHERE = f"http://{NOBODY}/"


@pytest.mark.parametrize(
    ("nobody", "host", "address", "doubt", "manager", "expected"),
    [
        # Whoever answers for nobody is in between.
        (TO_LOGIN, SILENCE, "", NO_DOUBT, "", Verdict(True, LOGIN)),
        (PAGE, SILENCE, "", NO_DOUBT, "", Verdict(True, ANYWHERE)),
        (MUST_LOG_IN, SILENCE, "", NO_DOUBT, "", Verdict(True, ANYWHERE)),
        (TO_LOGIN, PAGE, HOST, WEB, "full", Verdict(True, LOGIN)),
        # A transparent proxy does too, and says that there is nobody.
        (PROXY_ERROR, SILENCE, "", NO_DOUBT, "", Verdict(None)),
        (REFUSAL, SILENCE, "", NO_DOUBT, "", Verdict(None)),
        # Many SSH hosts have a web server, which redirects: that is none.
        (SILENCE, TO_ITSELF, HOST, WEB, "", Verdict(False)),
        (SILENCE, PAGE, HOST, WEB, "", Verdict(False)),
        (SILENCE, REFUSAL, HOST, WEB, "", Verdict(False)),
        (SILENCE, SILENCE, HOST, WEB, "", Verdict(None)),
        (SILENCE, TO_INSIDE, HOST, NO_DOUBT, "", Verdict(False)),
        # What leads into the local network, and comes from where no SSH server answers any more.
        (SILENCE, TO_INSIDE, HOST, WEB, "", Verdict(True, "http://10.0.0.1:8880/login")),
        (SILENCE, TO_INSIDE, HOST, TLS, "", Verdict(True, "http://10.0.0.1:8880/login")),
        (SILENCE, TO_INSIDE, INSIDE, WEB, "", Verdict(False)),  # a router of our own, on the wrong port
        # Only names are caught.
        (SILENCE, TO_LOGIN, INSIDE, MOVED, "", Verdict(True, LOGIN)),
        (SILENCE, PAGE, INSIDE, MOVED, "", Verdict(True, "http://10.0.0.1/")),
        (SILENCE, REFUSAL, INSIDE, MOVED, "", Verdict(False)),
        # It says it outright.
        (SILENCE, MUST_LOG_IN, HOST, WEB, "", Verdict(True, "http://9.9.9.9/")),
        # NetworkManager knows.
        (SILENCE, SILENCE, "", NO_DOUBT, "portal", Verdict(True, ANYWHERE, manager=True)),
        (SILENCE, SILENCE, "", NO_DOUBT, "limited", Verdict(None)),
        (SILENCE, SILENCE, "", NO_DOUBT, "", Verdict(None)),
    ],
)
def test_the_verdict(
    nobody: Reply, host: Reply, address: str, doubt: Doubt, manager: str, expected: Verdict
) -> None:
    assert judge(nobody, host, address=address, doubt=doubt, manager=manager) == expected


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", Manner.HTTP),
        (b"\n<!DOCTYPE html>", Manner.HTTP),
        (b"\x15\x03\x01\x00\x02\x02\x46", Manner.TLS),
        (b"220 mail.example.com ESMTP\r\n", Manner.OTHER),
        (b"\x15", Manner.OTHER),
    ],
)
def test_who_speaks_is_known_by_the_first_words(heard: bytes, expected: Manner) -> None:
    assert manner(heard) is expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://a/\r\n\r\n", Reply(302, "http://a/", present=True)),
        (b"HTTP/1.0 200 OK\nServer: x\n\n<html>", Reply(200, present=True)),
        (b"HTTP/1.1 302\r\n\r\n", Reply(302, present=True)),
        (b"HTTP/1.1 302 Found\r\nLocation: http://a", REFUSAL),  # cut off
        (b"SSH-2.0-OpenSSH_9.9\r\n", REFUSAL),
        (b"HTTP/2 200\r\n\r\n", REFUSAL),
        (b"\n", REFUSAL),
        (b"", REFUSAL),
    ],
)
def test_an_answer_is_read_as_far_as_it_matters(data: bytes, expected: Reply) -> None:
    assert read_reply(data) == expected


@given(st.binary(max_size=300))
def test_no_answer_is_too_strange(data: bytes) -> None:
    assert read_reply(b"HTTP/1.1 302 Found\r\n" + data).present


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://login.hotel/welcome?mac=02:00&session=hunter2#top", "http://login.hotel/welcome"),
        ("https://login.hotel:8443/", "https://login.hotel:8443/"),
        ("http://me:hunter2@login.hotel/", "http://login.hotel/"),
        ("/login", "http://203.0.113.113/login"),
        ("//login.hotel/a", "http://login.hotel/a"),
        ("", "http://203.0.113.113/"),
        (f"http://login.hotel/{'x' * 100}", "http://login.hotel/"),
        ("http://[fd00::1]/login", "http://[fd00::1]/login"),
        ("http://login.hotel", "http://login.hotel/"),
        # What nobody should be told to open.
        ("javascript:alert(1)", "http://203.0.113.113/"),
        ("file:///etc/passwd", "http://203.0.113.113/"),
        ("http://login.hotel:99999/", "http://203.0.113.113/"),
        ("http://[::1", "http://203.0.113.113/"),
        ("http://lo gin/", "http://203.0.113.113/"),
        ("http://login.hotel/\x1b[31m", "http://login.hotel/"),
        ("http://\u202elogin/", "http://203.0.113.113/"),
        ("http:///", "http://203.0.113.113/"),
    ],
)
def test_the_address_that_is_shown_can_be_typed_and_has_no_secrets(location: str, expected: str) -> None:
    assert login_page(location, NOBODY) == expected


@given(st.text(max_size=80))
def test_whatever_a_stranger_sends_becomes_a_plain_address(location: str) -> None:
    for shown in (login_page(location, NOBODY), login_page(f"http://{location}", "fd00::1")):
        assert shown.startswith(("http://", "https://"))
        assert shown.isascii()
        assert shown.isprintable()
        assert not set(" '\"`$;&|<>?#@") & set(shown)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (["9.9.9.9"], ["10.0.0.1"], True),
        (["2620:fe::9", "10.1.1.1"], ["100.64.0.1", "fd00::1"], True),
        (["9.9.9.9"], ["9.9.9.10"], False),
        (["9.9.9.9"], ["10.0.0.1", "9.9.9.9"], False),
        (["10.0.0.1"], ["10.0.0.2"], False),  # it has always been at home
        ([], ["10.0.0.1"], False),
        (["9.9.9.9"], [], False),
        (["9.9.9.9"], ["fe80::1%eth0"], True),
    ],
)
def test_a_name_that_leads_inside_is_known_by_where_it_led(
    before: list[str], now: list[str], expected: bool
) -> None:
    assert has_moved_inside(before, now) is expected


def test_nothing_is_in_the_way_to_this_machine() -> None:
    assert is_this_machine(["127.0.0.1", "::1"])
    assert not is_this_machine(["127.0.0.1", "9.9.9.9"])
    assert not is_this_machine([])


def test_the_error_says_where_to_log_in() -> None:
    error = portal_error(Verdict(True, LOGIN))
    assert (error.code, error.retryable) == ("captive-portal", True)
    assert error.message.startswith(f"Wi-Fi login page at {LOGIN}: ")
    assert error.hint is not None
    assert error.hint.startswith(f"open {LOGIN} in a browser")
