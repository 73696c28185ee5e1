"""SOCKS as wire scripts: what a client sends, field by field, and what it must be answered."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.core.socks import ConnectRequest, Event, Fail, Send, SocksServer, Speech, sniff
from tunnels.errors import DialReason, InternalError

USERNAME = b"alice"
PASSWORD = b"p\xc3\xa4ss"  # bytes, not only ASCII


def is_alice(username: bytes, password: bytes) -> bool:
    return username == USERNAME and password == PASSWORD


def server(*, auth: bool = False) -> SocksServer:
    return SocksServer(credentials=is_alice if auth else None)


GREETING = (
    b"\x05"  # VER
    b"\x01"  # NMETHODS
    b"\x00"  # METHODS: no authentication
)
GREETING_WITH_PASSWORD = (
    b"\x05"  # VER
    b"\x01"  # NMETHODS
    b"\x02"  # METHODS: username and password
)
LOGIN = (
    b"\x01"  # VER of the subnegotiation
    b"\x05alice"  # ULEN, UNAME
    b"\x05p\xc3\xa4ss"  # PLEN, PASSWD
)
WRONG_LOGIN = b"\x01" + b"\x05alice" + b"\x05wrong"
CONNECT5 = (
    b"\x05"  # VER
    b"\x01"  # CMD: CONNECT
    b"\x00"  # RSV
)
NAME5 = b"\x03" + b"\x0bexample.com"  # ATYP: name; length, name
IPV4_5 = b"\x01" + b"\xc0\x00\x02\x07"  # ATYP: IPv4; 192.0.2.7
IPV6_5 = b"\x04" + b"\x20\x01\x0d\xb8" + bytes(11) + b"\x01"  # ATYP: IPv6; 2001:db8::1
PORT = b"\x01\xbb"  # 443

CONNECT4 = b"\x04" + b"\x01" + PORT  # VN; CD: CONNECT; DSTPORT
IPV4_4 = b"\xc0\x00\x02\x07"  # DSTIP: 192.0.2.7
BY_NAME = b"\x00\x00\x00\x01"  # DSTIP: 0.0.0.x, so a name follows the user id (4a)
USER = b"bob\x00"  # USERID, NUL
NAME4 = b"example.com\x00"  # name, NUL


def reply5(rep: int) -> bytes:
    return (
        b"\x05"  # VER
        + bytes([rep])  # REP
        + b"\x00"  # RSV
        + b"\x01"  # ATYP: IPv4
        + b"\x00\x00\x00\x00"  # BND.ADDR: 0.0.0.0
        + b"\x00\x00"  # BND.PORT: 0
    )


def reply4(code: int) -> bytes:
    return b"\x00" + bytes([code]) + bytes(2) + bytes(4)  # VN; CD; DSTPORT; DSTIP


NO_AUTHENTICATION = Send(b"\x05\x00")  # VER, METHOD
GIVE_PASSWORD = Send(b"\x05\x02")  # VER, METHOD
WELCOME = Send(b"\x01\x00")  # VER, STATUS

REFUSED4 = reply4(0x5B)


@dataclass(frozen=True)
class Script:
    """What a client sends, and what has to come of it. The reason of a ``Fail`` is a part of the real one."""

    name: str
    sends: bytes
    events: list[Event]
    auth: bool = False

    def __str__(self) -> str:
        return self.name


def open5(name: str, request: bytes, event: Event) -> Script:
    """SOCKS 5 without authentication: ``request`` follows the greeting."""
    return Script(f"5 {name}", GREETING + request, [NO_AUTHENTICATION, event])


def login5(name: str, methods: bytes, login: bytes, *events: Event) -> Script:
    """SOCKS 5 with a password, and a request that only counts if it was right."""
    greeting = b"\x05" + bytes([len(methods)]) + methods  # VER, NMETHODS, METHODS
    return Script(f"5 {name}", greeting + login + CONNECT5 + NAME5 + PORT, list(events), auth=True)


def four(name: str, sends: bytes, event: Event, *, auth: bool = False) -> Script:
    """SOCKS 4 and 4a, which are one message."""
    return Script(f"4 {name}", sends, [event], auth=auth)


EXAMPLE = ConnectRequest("example.com", 443)

CONNECTS = [
    open5("name", CONNECT5 + NAME5 + PORT, EXAMPLE),
    open5("IPv4", CONNECT5 + IPV4_5 + PORT, ConnectRequest("192.0.2.7", 443)),
    open5("IPv6", CONNECT5 + IPV6_5 + PORT, ConnectRequest("2001:db8::1", 443)),
    open5("long name", CONNECT5 + b"\x03\xff" + b"n" * 255 + b"\xff\xff", ConnectRequest("n" * 255, 65535)),
    open5("name as it is", CONNECT5 + b"\x03\x0cWWW.xn--p1b." + PORT, ConnectRequest("WWW.xn--p1b.", 443)),
    Script(
        "5 no authentication, among methods of no use",
        b"\x05" + b"\x04" + b"\x80\x02\x01\x00" + CONNECT5 + NAME5 + PORT,  # VER, NMETHODS, METHODS
        [NO_AUTHENTICATION, EXAMPLE],
    ),
    login5("password", b"\x02", LOGIN, GIVE_PASSWORD, WELCOME, EXAMPLE),
    login5("password, offered last", b"\x00\x01\x02", LOGIN, GIVE_PASSWORD, WELCOME, EXAMPLE),
    login5("password, offered first", b"\x02\x00", LOGIN, GIVE_PASSWORD, WELCOME, EXAMPLE),
    four("IPv4", CONNECT4 + IPV4_4 + USER, ConnectRequest("192.0.2.7", 443)),
    four("no user id", CONNECT4 + IPV4_4 + b"\x00", ConnectRequest("192.0.2.7", 443)),
    four("0.0.0.0 is not the mark of 4a", CONNECT4 + bytes(4) + USER, ConnectRequest("0.0.0.0", 443)),
    four("a: name", CONNECT4 + BY_NAME + USER + NAME4, ConnectRequest("example.com", 443)),
    four(
        "a: longest user id and name",
        CONNECT4 + BY_NAME + b"u" * 255 + b"\x00" + b"n" * 255 + b"\x00",
        ConnectRequest("n" * 255, 443),
    ),
]

REFUSALS = [
    # SOCKS 5, the methods
    Script("5 no methods at all", b"\x05\x00", [Fail(b"\x05\xff", "the method 'no authentication'")]),
    Script("5 only GSSAPI", b"\x05\x01\x01", [Fail(b"\x05\xff", "the method 'no authentication'")]),
    login5("no password", b"\x00", b"", Fail(b"\x05\xff", "the method 'username and password'")),
    login5("wrong password", b"\x02", WRONG_LOGIN, GIVE_PASSWORD, Fail(b"\x01\x01", "wrong username")),
    login5("empty password", b"\x02", b"\x01\x00\x00", GIVE_PASSWORD, Fail(b"\x01\x01", "wrong username")),
    login5("password, other version", b"\x02", b"\x05", GIVE_PASSWORD, Fail(b"\x01\x01", "version")),
    login5("password, left out", b"\x02", b"", GIVE_PASSWORD, Fail(b"\x01\x01", "version")),
    # SOCKS 5, the request
    open5("BIND", b"\x05\x02\x00" + NAME5 + PORT, Fail(reply5(0x07), "BIND")),
    open5("UDP ASSOCIATE", b"\x05\x03\x00\x01" + bytes(4) + bytes(2), Fail(reply5(0x07), "UDP ASSOCIATE")),
    open5("Tor's RESOLVE", b"\x05\xf0\x00" + NAME5 + PORT, Fail(reply5(0x07), "command 0xF0")),
    open5("address type", CONNECT5 + b"\x02" + bytes(4) + PORT, Fail(reply5(0x08), "address type 0x02")),
    open5("other version", b"\x04\x01\x00" + NAME5 + PORT, Fail(reply5(0x01), "version 0x04")),
    open5("empty name", CONNECT5 + b"\x03\x00" + PORT, Fail(reply5(0x01), "host name is empty")),
    open5("name with line break", CONNECT5 + b"\x03\x04a\r\nb" + PORT, Fail(reply5(0x01), "host name")),
    open5("name with space", CONNECT5 + b"\x03\x03a b" + PORT, Fail(reply5(0x01), "host name")),
    open5("name in UTF-8", CONNECT5 + b"\x03\x08b\xc3\xbccher." + PORT, Fail(reply5(0x01), "ASCII")),
    # SOCKS 4 and 4a
    four("BIND", b"\x04\x02" + PORT + IPV4_4 + USER, Fail(REFUSED4, "BIND")),
    four("unknown command", b"\x04\x63" + PORT + IPV4_4 + USER, Fail(REFUSED4, "command 0x63")),
    four("password needed", CONNECT4 + IPV4_4 + USER, Fail(REFUSED4, "password"), auth=True),
    four("a: password needed", CONNECT4 + BY_NAME + USER + NAME4, Fail(REFUSED4, "password"), auth=True),
    four("user id too long", CONNECT4 + IPV4_4 + b"u" * 256 + b"\x00", Fail(REFUSED4, "user id longer")),
    four("a: name too long", CONNECT4 + BY_NAME + USER + b"n" * 256 + b"\x00", Fail(REFUSED4, "name longer")),
    four("a: empty name", CONNECT4 + BY_NAME + USER + b"\x00", Fail(REFUSED4, "host name")),
    four("a: name not ASCII", CONNECT4 + BY_NAME + USER + b"\xe9\x00", Fail(REFUSED4, "not graphic ASCII")),
    # not SOCKS
    Script("zeroes", bytes(600), [Fail(b"", "first byte 0x00")]),
    Script("TLS", b"\x16\x03\x01\x02\x00\x01", [Fail(b"", "first byte 0x16")]),
    Script("HTTP", b"GET / HTTP/1.1\r\n", [Fail(b"", "first byte 0x47")]),
]

BOTH = pytest.mark.parametrize("script", CONNECTS + REFUSALS, ids=str)


def match(expected: list[Event], got: list[Event]) -> None:
    assert len(expected) == len(got), got
    for ours, theirs in zip(expected, got, strict=True):
        if isinstance(ours, Fail) and isinstance(theirs, Fail):
            assert ours.reply == theirs.reply
            assert ours.reason in theirs.reason
        else:
            assert ours == theirs


def trickle(socks: SocksServer, data: bytes) -> list[Event]:
    return [event for byte in data for event in socks.receive(bytes([byte]))]


def requested(data: bytes = GREETING + CONNECT5 + NAME5 + PORT) -> SocksServer:
    """A handshake that waits for the far end."""
    socks = server()
    assert isinstance(socks.receive(data)[-1], ConnectRequest)
    return socks


@BOTH
def test_a_client_that_sends_everything_at_once_is_understood(script: Script) -> None:
    match(script.events, server(auth=script.auth).receive(script.sends))


@BOTH
def test_a_client_that_sends_byte_by_byte_gets_the_same(script: Script) -> None:
    match(script.events, trickle(server(auth=script.auth), script.sends))


@pytest.mark.parametrize("script", CONNECTS, ids=str)
def test_nothing_but_the_last_byte_completes_a_request(script: Script) -> None:
    events = trickle(server(auth=script.auth), script.sends[:-1])

    assert not any(isinstance(event, ConnectRequest | Fail) for event in events)


@pytest.mark.parametrize("whole", [True, False], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("script", CONNECTS, ids=str)
def test_data_sent_before_the_answer_is_kept_for_the_relay(script: Script, whole: bool) -> None:
    optimistic = b"\x16\x03\x01 hello \x00\x05"
    socks = server(auth=script.auth)
    sends = script.sends + optimistic

    events = socks.receive(sends) if whole else trickle(socks, sends)

    match(script.events, events)
    assert socks.trailing == optimistic
    assert socks.receive(b" and more") == []
    assert socks.trailing == optimistic + b" and more"
    socks.succeeded()
    assert socks.trailing == optimistic + b" and more"


def test_there_is_no_trailing_data_before_the_request() -> None:
    socks = server()
    socks.receive(GREETING + CONNECT5)

    assert socks.trailing == b""


def test_success_is_said_in_the_version_of_the_client() -> None:
    assert requested().succeeded() == reply5(0x00)
    assert requested(CONNECT4 + IPV4_4 + USER).succeeded() == reply4(0x5A)
    assert requested(CONNECT4 + BY_NAME + USER + NAME4).succeeded() == reply4(0x5A)


@pytest.mark.parametrize("script", CONNECTS, ids=str)
def test_no_byte_that_means_success_is_sent_before_the_far_end_answers(script: Script) -> None:
    events = server(auth=script.auth).receive(script.sends)

    sent = [event.data for event in events if isinstance(event, Send)]
    assert all(len(data) == 2 for data in sent)  # METHOD and STATUS are answers of two bytes, REP is not


@pytest.mark.parametrize(
    ("reason", "rep"),
    [
        (DialReason.OTHER, 0x01),
        (DialReason.PROHIBITED, 0x02),
        (DialReason.NETWORK_UNREACHABLE, 0x03),
        (DialReason.LINK_DOWN, 0x03),
        (DialReason.HOST_UNREACHABLE, 0x04),
        (DialReason.NAME_NOT_RESOLVED, 0x04),
        (DialReason.REFUSED, 0x05),
        (DialReason.TIMED_OUT, 0x06),
    ],
)
def test_the_client_is_told_why_the_destination_failed(reason: DialReason, rep: int) -> None:
    assert requested().failed(reason) == reply5(rep)


@pytest.mark.parametrize("reason", DialReason)
def test_every_reason_has_a_reply_in_both_versions(reason: DialReason) -> None:
    assert requested().failed(reason)[1] != 0x00
    assert requested(CONNECT4 + IPV4_4 + USER).failed(reason) == REFUSED4


def test_the_first_byte_tells_what_a_client_speaks() -> None:
    assert sniff(CONNECT4[0]) is Speech.SOCKS4
    assert sniff(GREETING[0]) is Speech.SOCKS5
    assert sniff(b"CONNECT"[0]) is Speech.HTTP
    assert sniff(b"\x16\x03\x01"[0]) is Speech.TLS
    assert sniff(b"get"[0]) is sniff(0x00) is sniff(0xFF) is Speech.UNKNOWN


def test_the_password_is_checked_as_the_bytes_that_came() -> None:
    seen: list[tuple[bytes, bytes]] = []

    def check(username: bytes, password: bytes) -> bool:
        seen.append((username, password))
        return True

    socks = SocksServer(credentials=check)

    socks.receive(GREETING_WITH_PASSWORD + b"\x01" + b"\x02\xff\x00" + b"\x01\xfe")

    assert seen == [(b"\xff\x00", b"\xfe")]


@pytest.mark.parametrize("data", [b"", GREETING, CONNECT4])
def test_an_answer_without_a_request_is_our_bug(data: bytes) -> None:
    socks = server()
    socks.receive(data)

    with pytest.raises(InternalError, match="answer to no request"):
        socks.succeeded()
    with pytest.raises(InternalError, match="answer to no request"):
        socks.failed(DialReason.REFUSED)


def test_a_second_answer_is_our_bug() -> None:
    for first in (SocksServer.succeeded, lambda socks: socks.failed(DialReason.OTHER)):
        socks = requested()
        first(socks)

        with pytest.raises(InternalError):
            socks.succeeded()


def test_bytes_given_to_a_finished_handshake_are_our_bug_and_are_not_lost_silently() -> None:
    socks = requested()
    socks.succeeded()

    with pytest.raises(InternalError, match="belong to the relay"):
        socks.receive(b"data")


def test_after_a_refusal_the_client_may_go_on_talking_and_nothing_is_kept() -> None:
    refused, failed = server(), requested(CONNECT4 + IPV4_4 + USER + b"data")
    refused.receive(b"\x00")
    failed.failed(DialReason.REFUSED)

    for socks in (refused, failed):
        assert socks.receive(GREETING + CONNECT5) == []
        assert socks.trailing == socks._buffer == b""
        assert repr(socks) == "<SocksServer CLOSED>"


def test_repr_shows_the_state_and_never_a_password() -> None:
    socks = server(auth=True)
    socks.receive(GREETING_WITH_PASSWORD + LOGIN[:-1])

    assert repr(socks) == "<SocksServer CREDENTIALS>"


FIVE = [GREETING, GREETING_WITH_PASSWORD, LOGIN, WRONG_LOGIN, CONNECT5, NAME5, IPV4_5, IPV6_5, PORT]
FOUR = [CONNECT4, BY_NAME, IPV4_4, USER, NAME4]
FRAGMENTS = st.sampled_from([*FIVE, *FOUR, b"GET / HTTP/1.1\r\n", b"\x03\xff", b"u" * 254])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40) | FRAGMENTS, max_size=12), st.booleans())
def test_no_bytes_of_a_stranger_raise_and_how_they_are_cut_makes_no_difference(
    chunks: list[bytes], auth: bool
) -> None:
    whole, cut, trickled = (server(auth=auth) for _ in range(3))
    data = b"".join(chunks)

    events = whole.receive(data)

    assert [event for chunk in chunks for event in cut.receive(chunk)] == events
    assert trickle(trickled, data) == events
    assert whole.trailing == cut.trailing == trickled.trailing
    assert repr(whole) == repr(cut) == repr(trickled)
    assert sum(isinstance(event, ConnectRequest | Fail) for event in events) <= 1


UNFINISHED4 = [CONNECT4 + IPV4_4, CONNECT4 + BY_NAME + b"u" * 255 + b"\x00"]
UNFINISHED5 = [b"\x05\xff", GREETING + CONNECT5 + b"\x03\xff", GREETING_WITH_PASSWORD]


@pytest.mark.parametrize("start", [b"", b"GET", *UNFINISHED4, *UNFINISHED5])
@pytest.mark.parametrize("auth", [True, False])
@pytest.mark.parametrize("filler", [b"A", b"\xff", b"\x05", b"\x01"])
def test_a_stranger_cannot_make_a_handshake_hold_more_than_a_kibibyte(
    start: bytes, auth: bool, filler: bytes
) -> None:
    socks = server(auth=auth)
    socks.receive(start)

    for _ in range(5000):
        if any(isinstance(event, ConnectRequest) for event in socks.receive(filler)):
            break  # from here on the caller bounds it
        assert len(socks._buffer) <= 1024
    else:
        assert repr(socks) == "<SocksServer CLOSED>"
