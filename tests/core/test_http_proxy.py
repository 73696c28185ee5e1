"""HTTP requests to a proxy: where they go, what the server gets of them, and what is refused."""

from __future__ import annotations

import base64

import pytest

from tunnels.core.http_head import MAX_HEAD
from tunnels.core.http_proxy import MAX_METHOD_BYTES, HttpProxy
from tunnels.core.socks import ConnectRequest, Fail
from tunnels.errors import DialReason, InternalError


def is_alice(username: bytes, password: bytes) -> bool:
    return (username, password) == (b"alice", "pä:ss".encode())


def proxy(*, auth: bool = False) -> HttpProxy:
    return HttpProxy(credentials=is_alice if auth else None)


def message(first: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([first, *fields, b"", b""])


def login(text: bytes, scheme: bytes = b"Basic") -> bytes:
    return b"Proxy-Authorization: " + scheme + b" " + base64.b64encode(text)


def connected(
    first: bytes, *fields: bytes, more: bytes = b"", auth: bool = False
) -> tuple[HttpProxy, ConnectRequest]:
    """A request that waits for the far end."""
    it = proxy(auth=auth)
    [request] = it.receive(message(first, *fields) + more)
    assert isinstance(request, ConnectRequest), request
    return it, request


def sent(first: bytes, *fields: bytes, more: bytes = b"") -> bytes:
    """What the server gets."""
    it, _ = connected(first, *fields, more=more)
    assert it.exchange is not None
    got = it.exchange.request(it.trailing)
    assert isinstance(got, bytes)
    return got


def refused(first: bytes, *fields: bytes, auth: bool = False) -> tuple[int, bytes]:
    """The status, and the whole reply."""
    it = proxy(auth=auth)
    [fail] = it.receive(message(first, *fields))
    assert isinstance(fail, Fail), fail
    assert repr(it) == "<HttpProxy CLOSED>"
    return int(fail.reply.split(b" ")[1]), fail.reply


# --- CONNECT --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        (b"example.com:443", "example.com", 443),
        (b"WWW.xn--p1b.:443", "WWW.xn--p1b.", 443),
        (b"my_host:1", "my_host", 1),
        (b"192.0.2.7:65535", "192.0.2.7", 65535),
        (b"[2001:DB8::1]:443", "2001:db8::1", 443),
    ],
)
def test_connect_says_where_to_go_and_the_name_stays_as_it_is(target: bytes, host: str, port: int) -> None:
    it, request = connected(b"CONNECT " + target + b" HTTP/1.1", b"Host: whatever")

    assert request == ConnectRequest(host, port)
    assert it.exchange is None


def test_the_200_exists_only_once_the_far_end_has_answered_and_has_no_length() -> None:
    it, _ = connected(b"CONNECT a:443 HTTP/1.0", more=b"hello")

    assert it.trailing == b"hello"
    assert it.receive(b" again") == []
    assert it.succeeded() == b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert it.trailing == b"hello again"
    with pytest.raises(InternalError):
        it.receive(b"x")


def test_a_failure_names_the_destination_and_the_reason() -> None:
    it, _ = connected(b"CONNECT db.internal:5432 HTTP/1.1", b"Host: db.internal:5432", more=b"early")

    reply = it.failed(DialReason.REFUSED)

    assert reply.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert reply.endswith(b"db.internal:5432: connection refused.\n")
    assert it.trailing == b""
    with pytest.raises(InternalError):
        it.succeeded()


@pytest.mark.parametrize(
    "target",
    [
        *(b"example.com", b"example.com:", b"example.com:0", b"example.com:65536", b"example.com:443a"),
        *(b":443", b"::1:443", b"[::1]", b"[::g]:443", b"[1.2.3.4]:443", b"[fe80::1%25eth0]:443", b"[]:443"),
        *(
            b"user@example.com:443",
            b"exa%6dple.com:443",
            b"b\xc3\xbccher:443",
            b"a" * 256 + b":443",
            b"a/b:443",
        ),
        *(b"http://example.com:443", b"*"),
    ],
)
def test_a_destination_that_is_none_is_refused(target: bytes) -> None:
    assert refused(b"CONNECT " + target + b" HTTP/1.1", b"Host: a")[0] == 400


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_a_connect_with_a_body_is_refused(field: bytes) -> None:
    assert refused(b"CONNECT a:443 HTTP/1.1", b"Host: a", field)[0] == 400
    connected(b"CONNECT a:443 HTTP/1.1", b"Host: a", b"Content-Length: 0")  # old programs do this


# --- plain requests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "first", "host", "where"),
    [
        (b"http://a/", b"GET / HTTP/1.1", b"a", ("a", 80)),
        (b"http://a", b"GET / HTTP/1.1", b"a", ("a", 80)),
        (
            b"HTTP://A.example:8080/x?y=http://b/",
            b"GET /x?y=http://b/ HTTP/1.1",
            b"A.example:8080",
            ("A.example", 8080),
        ),
        (b"http://a?q", b"GET /?q HTTP/1.1", b"a", ("a", 80)),
        (b"http://a:/", b"GET / HTTP/1.1", b"a", ("a", 80)),
        (b"http://[::1]:81/x", b"GET /x HTTP/1.1", b"[::1]:81", ("::1", 81)),
        (b"http://a//b/../c", b"GET //b/../c HTTP/1.1", b"a", ("a", 80)),
        (b"http://a/\xc3\xa4%20", b"GET /\xc3\xa4%20 HTTP/1.1", b"a", ("a", 80)),
    ],
)
def test_the_server_gets_the_path_and_its_own_name(
    target: bytes, first: bytes, host: bytes, where: tuple[str, int]
) -> None:
    request = (b"GET " + target + b" HTTP/1.1", b"Host: elsewhere.example", b"Accept: */*")

    assert connected(*request)[1] == ConnectRequest(*where)
    assert sent(*request) == message(first, b"Host: " + host, b"Accept: */*", b"Connection: close")


def test_what_is_for_the_proxy_does_not_reach_the_server() -> None:
    got = sent(
        b"GET http://a/ HTTP/1.1",
        b"Host: a",
        b"Proxy-Connection: keep-alive",
        b"Connection: keep-alive, Upgrade, X-Hop, Host, Content-Length",
        b"X-Hop: 1",
        b"Keep-Alive: 5",
        b"TE: trailers",
        b"Upgrade: h2c",
        login(b"alice:secret"),
        b"Authorization: Basic eDp5",
        b"Content-Length: 0",
    )

    assert got == message(
        b"GET / HTTP/1.1",
        b"Host: a",
        b"Authorization: Basic eDp5",
        b"Content-Length: 0",
        b"Connection: close",
    )


def test_a_body_passes_and_a_second_request_does_not() -> None:
    more = b"helloGET http://b/ HTTP/1.1\r\n\r\n"

    got = sent(b"POST http://a/ HTTP/1.1", b"Host: a", b"Content-Length: 5", more=more)

    assert (
        got == message(b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 5", b"Connection: close") + b"hello"
    )


def test_a_body_in_chunks_passes() -> None:
    got = sent(b"PUT http://a/ HTTP/1.1", b"Transfer-Encoding: chunked", more=b"1;x\r\n!\r\n0\r\n\r\n")

    assert got.endswith(b"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\n!\r\n0\r\n\r\n")


def test_expect_reaches_a_server_whose_answer_can_reach_the_client() -> None:
    fields = (b"Host: a", b"Content-Length: 5", b"Expect: 100-continue")

    assert b"\r\nExpect: 100-continue\r\n" in sent(b"POST http://a/ HTTP/1.1", *fields)
    assert b"Expect" not in sent(b"POST http://a/ HTTP/1.0", *fields)
    assert sent(b"POST http://a/ HTTP/1.0", *fields).startswith(b"POST / HTTP/1.0\r\n")


def test_a_websocket_is_asked_for_and_nothing_else_is_changed_to() -> None:
    fields = (b"Host: a", b"Connection: keep-alive, Upgrade", b"Sec-WebSocket-Key: k")

    got = sent(b"GET http://a/ HTTP/1.1", *fields, b"Upgrade: WebSocket")

    assert got.endswith(b"Sec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    for other in (b"Upgrade: h2c", b"Upgrade: websocket, h2c"):
        assert sent(b"GET http://a/ HTTP/1.1", *fields, other).endswith(b"k\r\nConnection: close\r\n\r\n")


def test_options_may_be_about_the_whole_server() -> None:
    assert sent(b"OPTIONS http://a HTTP/1.1", b"Host: a").startswith(b"OPTIONS * HTTP/1.1\r\n")
    assert sent(b"OPTIONS http://a/ HTTP/1.1", b"Host: a").startswith(b"OPTIONS / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (b"GET https://a/ HTTP/1.1", 501),
        (b"GET ftp://a/ HTTP/1.1", 501),
        (b"TRACE http://a/ HTTP/1.1", 501),
        (b"GET http:/a HTTP/1.1", 400),
        (b"GET http:///x HTTP/1.1", 400),
        (b"GET http://me:secret@a/ HTTP/1.1", 400),
        (b"GET http://a\\b/ HTTP/1.1", 400),
        (b"GET http://a/#x HTTP/1.1", 400),
        (b"GET a:80 HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET http://a/ x HTTP/1.1", 400),
        (b"GET  http://a/ HTTP/1.1", 400),
        (b"GET http://a/", 400),
        (b"GET http://a/ HTTP/1.1 ", 400),
        (b"GET http://a/ http/1.1", 400),
        (b"PRI * HTTP/2.0", 505),
        (b"GET http://a/ HTTP/0.9", 505),
    ],
)
def test_a_request_that_cannot_be_carried_is_refused(first: bytes, status: int) -> None:
    found, reply = refused(first, b"Host: a")

    assert found == status
    assert b"secret" not in reply


def test_two_hosts_or_two_lengths_are_refused() -> None:
    assert refused(b"GET http://a/ HTTP/1.1", b"Host: a", b"Host: a")[0] == 400
    assert refused(b"POST http://a/ HTTP/1.1", b"Content-Length: 1", b"Transfer-Encoding: chunked")[0] == 400
    assert refused(b"POST http://a/ HTTP/1.1", b"Content-Length: 1", b"Content-Length: 2")[0] == 400


def test_an_answer_to_head_has_no_body() -> None:
    it, _ = connected(b"HEAD http://a/ HTTP/1.1", b"Host: a")

    assert it.failed(DialReason.REFUSED).endswith(b"\r\n\r\n")
    assert refused(b"HEAD http://me@a/ HTTP/1.1", b"Host: a")[1].endswith(b"\r\n\r\n")
    assert refused(b"HEAD / HTTP/1.1", b"Host: localhost")[1].endswith(b"\r\n\r\n")


# --- this port itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "where"),
    [
        (b"localhost:1080", b"localhost:1080"),
        (b"LocalHost", b"localhost:80"),
        (b"127.0.0.1:1080", b"127.0.0.1:1080"),
        (b"[0:0::1]:1080", b"[::1]:1080"),
    ],
)
def test_the_pac_file_names_this_port_as_the_client_has_named_it(host: bytes, where: bytes) -> None:
    status, reply = refused(b"GET /proxy.pac?x HTTP/1.1", b"Host: " + host)

    assert status == 200
    assert b"\r\nContent-Type: application/x-ns-proxy-autoconfig\r\n" in reply
    assert b'return "PROXY ' + where + b'";' in reply


def test_any_other_page_says_what_this_port_is() -> None:
    for path, expected in ((b"/", 200), (b"/index.html", 404), (b"//a/b", 404)):
        status, reply = refused(b"GET " + path + b" HTTP/1.1", b"Host: localhost:1080")
        assert status == expected
        assert b"curl -x http://localhost:1080 " in reply


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example:1080",
        b"evil.example",
        b"localhost.evil.example",
        b"127.0.0.1.evil.example",
        b"2130706433",
    ],
)
def test_a_site_that_gave_its_own_name_our_address_learns_nothing(host: bytes) -> None:
    status, reply = refused(b"GET /proxy.pac HTTP/1.1", b"Host: " + host)

    assert status == 403
    assert b"1080" not in reply
    assert b"PROXY" not in reply


@pytest.mark.parametrize("host", [b"", b'a";alert(1);"', b"localhost:1080/", b"localhost:99999", b"a b"])
def test_a_host_that_is_none_is_not_written_into_a_script(host: bytes) -> None:
    assert refused(b"GET /proxy.pac HTTP/1.1", b"Host: " + host)[0] == 400


def test_the_pages_need_a_host() -> None:
    assert refused(b"GET / HTTP/1.0")[0] == 400


def test_a_form_that_a_page_sends_here_does_nothing() -> None:
    status, reply = refused(b"POST / HTTP/1.1", b"Host: localhost:1080", b"Content-Length: 5")

    assert status == 405
    assert b"\r\nAllow: GET, HEAD\r\n" in reply


# --- passwords ------------------------------------------------------------------------------------

RIGHT = "alice:pä:ss".encode()


@pytest.mark.parametrize("first", [b"CONNECT a:1 HTTP/1.1", b"GET http://a/ HTTP/1.1"])
def test_with_the_right_password_a_request_passes(first: bytes) -> None:
    assert connected(first, b"Host: a", login(RIGHT), auth=True)
    assert connected(first, b"Host: a", login(RIGHT, b"bAsIc"), auth=True)


@pytest.mark.parametrize("first", [b"CONNECT a:1 HTTP/1.1", b"GET http://a/ HTTP/1.1"])
@pytest.mark.parametrize(
    "fields",
    [
        [],
        [login(b"alice:wrong")],
        [login(b"alice")],
        [login(b"")],
        [login(RIGHT, b"Bearer")],
        [b"Proxy-Authorization: Basic"],
        [b"Proxy-Authorization: Basic !!!!"],
        [b"Proxy-Authorization: Basic \xff"],
        [login(b"alice:wrong"), login(RIGHT)],
        [b"Authorization: Basic " + base64.b64encode(RIGHT)],
    ],
)
def test_without_it_the_client_is_asked_for_it(first: bytes, fields: list[bytes]) -> None:
    status, reply = refused(first, b"Host: a", *fields, auth=True)

    assert status == 407
    assert b'\r\nProxy-Authenticate: Basic realm="tunnels proxy", charset="UTF-8"\r\n' in reply


def test_the_pac_file_and_the_page_need_no_password() -> None:
    assert refused(b"GET /proxy.pac HTTP/1.1", b"Host: localhost:1080", auth=True)[0] == 200
    assert b"PASSWORD" in refused(b"GET / HTTP/1.1", b"Host: localhost:1080", auth=True)[1]


# --- limits ---------------------------------------------------------------------------------------


def test_a_head_without_end_is_refused_and_nothing_is_kept() -> None:
    for start, status in ((b"GET http://a/", b"414"), (b"GET http://a/ HTTP/1.1\r\nX: ", b"431")):
        it = proxy()
        [fail] = it.receive(start + b"a" * MAX_HEAD)
        assert isinstance(fail, Fail)
        assert fail.reply.split(b" ")[1] == status
        assert it.receive(b"more") == []
        assert len(it._reader._line) == 0


def test_a_client_that_is_too_slow_is_told_so() -> None:
    it = proxy()
    it.receive(b"GET http://a/ HTTP/1.1\r\nHost")

    assert it.timed_out().startswith(b"HTTP/1.1 408 ")
    assert it.receive(b": a\r\n\r\n") == []


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH_9.9\r\n", b"HELO\r\n", b"A" * (MAX_METHOD_BYTES + 1), b"Get / "],
)
def test_what_only_begins_like_http_is_told_what_this_port_is(data: bytes) -> None:
    [fail] = proxy().receive(data)

    assert isinstance(fail, Fail)
    assert b"This port is a proxy" in fail.reply
    assert not fail.reply.startswith(b"HTTP/")


def test_repr_shows_the_state_and_never_a_password() -> None:
    it = proxy(auth=True)
    it.receive(b"GET http://a/ HTTP/1.1\r\n" + login(RIGHT))

    assert repr(it) == "<HttpProxy HEAD>"


@pytest.mark.parametrize("data", [b"", b"GET", b"GET http://a/ HTTP/1.1\r\n"])
def test_an_answer_without_a_request_is_our_bug(data: bytes) -> None:
    it = proxy()
    it.receive(data)

    for answer in (it.succeeded, lambda: it.failed(DialReason.OTHER)):
        with pytest.raises(InternalError):
            answer()
