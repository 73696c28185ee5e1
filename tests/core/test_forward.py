"""The forward grammar: what OpenSSH takes is taken, and what is wrong is explained."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.address import Address, TcpAddress, UnixAddress
from tunnels.core.forward import EXAMPLES, Forward, ForwardKind, ForwardRule, ProxyAuth, parse_forward
from tunnels.errors import UsageError

LOCAL, REMOTE, DYNAMIC = ForwardKind.LOCAL, ForwardKind.REMOTE, ForwardKind.DYNAMIC


def tcp(host: str | None, port: int) -> TcpAddress:
    return TcpAddress(host, port)


# Every form of ssh(1) -L and -R, and what `ssh -G` 9.2 makes of it.
BOTH_WAYS = [
    ("5432:db.internal:5432", tcp(None, 5432), tcp("db.internal", 5432)),
    ("127.0.0.1:80:web:8080", tcp("127.0.0.1", 80), tcp("web", 8080)),
    ("localhost:80:web:8080", tcp("localhost", 80), tcp("web", 8080)),
    ("*:80:web:8080", tcp("*", 80), tcp("web", 8080)),
    (":80:web:8080", tcp("*", 80), tcp("web", 8080)),
    ("[]:80:[web]:8080", tcp("*", 80), tcp("web", 8080)),
    ("[::1]:80:[2001:db8::2]:8080", tcp("::1", 80), tcp("2001:db8::2", 8080)),
    (r"\:\:1:80:web:8080", tcp("::1", 80), tcp("web", 8080)),
    ("80:/run/web.sock", tcp(None, 80), UnixAddress("/run/web.sock")),
    ("localhost:80:/run/web.sock", tcp("localhost", 80), UnixAddress("/run/web.sock")),
    (":80:/run/web.sock", tcp("*", 80), UnixAddress("/run/web.sock")),
    ("/run/web.sock:web:80", UnixAddress("/run/web.sock"), tcp("web", 80)),
    ("/run/here.sock:/run/there.sock", UnixAddress("/run/here.sock"), UnixAddress("/run/there.sock")),
    (r"80:/run/a\:b.sock", tcp(None, 80), UnixAddress("/run/a:b.sock")),
    ("80:[/run/a:b.sock]", tcp(None, 80), UnixAddress("/run/a:b.sock")),
    ("  080:web:80  ", tcp(None, 80), tcp("web", 80)),
]


@pytest.mark.parametrize("kind", [LOCAL, REMOTE])
@pytest.mark.parametrize(("text", "listen", "connect"), BOTH_WAYS)
def test_what_ssh_takes_as_a_local_or_remote_forward_is_taken(
    kind: ForwardKind, text: str, listen: Address, connect: Address
) -> None:
    assert parse_forward(kind, text) == ForwardRule(kind, listen, connect)


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("1080", tcp(None, 1080)),
        ("localhost:1080", tcp("localhost", 1080)),
        (":1080", tcp("*", 1080)),
        ("*:1080", tcp("*", 1080)),
        ("[::1]:1080", tcp("::1", 1080)),
    ],
)
@pytest.mark.parametrize("kind", [REMOTE, DYNAMIC])
def test_a_port_alone_is_a_proxy_here_or_on_the_server(kind: ForwardKind, text: str, listen: Address) -> None:
    rule = parse_forward(kind, text)

    assert rule == ForwardRule(kind, listen)
    assert rule.spread()[0].is_proxy


def test_a_server_may_choose_the_port() -> None:
    assert parse_forward(REMOTE, "0:web:80").listen == tcp(None, 0)
    assert parse_forward(REMOTE, "0").listen == tcp(None, 0)


def test_a_home_folder_is_kept_as_written_where_we_can_expand_it() -> None:
    assert parse_forward(LOCAL, "~/a.sock:web:80").listen == UnixAddress("~/a.sock")
    assert parse_forward(REMOTE, "80:~/a.sock").connect == UnixAddress("~/a.sock")


@pytest.mark.parametrize(("kind", "text"), [(LOCAL, "80:~/a.sock"), (REMOTE, "~/a.sock:web:80")])
def test_a_home_folder_of_the_server_is_refused_because_nobody_would_expand_it(
    kind: ForwardKind, text: str
) -> None:
    with pytest.raises(UsageError, match="on the server, which does not expand"):
        parse_forward(kind, text)


def test_a_range_spreads_into_forwards_of_single_ports() -> None:
    rule = parse_forward(LOCAL, "localhost:8000-8002:web:9000-9002")

    assert rule.spread() == (
        Forward(LOCAL, tcp("localhost", 8000), tcp("web", 9000)),
        Forward(LOCAL, tcp("localhost", 8001), tcp("web", 9001)),
        Forward(LOCAL, tcp("localhost", 8002), tcp("web", 9002)),
    )
    assert str(rule) == "localhost:8000-8002:web:9000-9002"


def test_a_range_of_proxies_spreads_too() -> None:
    assert [str(forward) for forward in parse_forward(DYNAMIC, "1080-1082").spread()] == [
        "1080",
        "1081",
        "1082",
    ]


def test_a_range_of_one_port_is_that_port() -> None:
    assert str(parse_forward(DYNAMIC, "1080-1080")) == "1080"


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (LOCAL, "5432", "a local forward needs a destination: 5432:db.internal:5432"),
        (LOCAL, "localhost:5432", "needs a destination: localhost:5432:db.internal:5432"),
        (LOCAL, "8080:80", "needs a destination: 8080:localhost:80"),
        (LOCAL, "/run/x.sock", "needs a destination: 5432:db.internal:5432"),
        (LOCAL, "db", "needs a destination: 5432:db.internal:5432"),
        (REMOTE, "8080:80", "a remote forward needs a destination: 8080:localhost:80"),
        (REMOTE, "/run/x.sock", "a proxy listens on a port"),
        (DYNAMIC, "/run/x.sock", "a proxy listens on a port"),
        (DYNAMIC, "1080:web:80", "a dynamic forward is only a port: 1080 or localhost:1080"),
        (DYNAMIC, "::1:1080", "too many colons"),
        (LOCAL, "", "an empty text is not a local forward"),
        (LOCAL, "::1:80:web:80", "too many colons"),
        (LOCAL, "::1:80", "too many colons"),
        (LOCAL, "80:::1:80", "too many colons"),
        (LOCAL, "80::80", "the host is missing"),
        (LOCAL, "80:web:", "the port is missing"),
        (LOCAL, "80:*:80", "no destination"),
        (LOCAL, "http:web:http", '"http" is not a port'),
        (LOCAL, "80:web:http", '"http" is not a port'),
        (LOCAL, "0:web:80", "which only a remote forward can listen on"),
        (DYNAMIC, "0", "which only a remote forward can listen on"),
        (REMOTE, "80:web:0", "which only a remote forward can listen on"),
        (LOCAL, "80:web:70000", '"70000" is too large'),
        (LOCAL, "80:web/80", "not absolute"),
        (LOCAL, "80:web:/run/x.sock", "a host and a socket"),
        (LOCAL, "localhost:80:web:/run/x.sock", "a host and a socket"),
        (LOCAL, "80:/run/a:b/c", "a path with a colon"),
        (LOCAL, "80:10.0.0.256:80", "neither a name nor an IPv4 address"),
        (LOCAL, "80:me@web:80", "user name"),
        (LOCAL, "8000-8010:web:8000-8009", "11 ports to listen on and 10 to connect to"),
        (LOCAL, "8000-8010:web:80", "11 ports to listen on and 1 to connect to"),
        (LOCAL, "80:web:8000-8010", "1 port to listen on and 11 to connect to"),
        (LOCAL, "8000-8010:/run/x.sock", "a socket goes with one port"),
        (REMOTE, "0-5:web:0-5", "port 0"),
    ],
)
def test_what_is_wrong_is_said_with_something_right_beside_it(
    kind: ForwardKind, text: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse_forward(kind, text)

    assert said in caught.value.message
    assert caught.value.hint or any(char.isdigit() for char in caught.value.message)


@pytest.mark.parametrize("kind", list(ForwardKind))
def test_the_examples_in_messages_are_right(kind: ForwardKind) -> None:
    assert str(parse_forward(kind, EXAMPLES[kind])) == EXAMPLES[kind]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (":80:web:80", "*:80:web:80"),
        ("[]:80:web:80", "*:80:web:80"),
        ("[web]:80:[db]:80", "web:80:db:80"),
        ("080:web:0080", "80:web:80"),
        ("80:[/run/a:b]", r"80:/run/a\:b"),
    ],
)
def test_one_meaning_has_one_way_to_be_printed(text: str, canonical: str) -> None:
    assert str(parse_forward(LOCAL, text)) == canonical


def forward(kind: ForwardKind, text: str) -> Forward:
    return parse_forward(kind, text).spread()[0]


def test_a_listener_is_reachable_by_others_unless_it_is_loopback_or_a_socket() -> None:
    assert not forward(LOCAL, "80:web:80").reachable_by_others
    assert not forward(LOCAL, "[::1]:80:web:80").reachable_by_others
    assert not forward(LOCAL, "/run/x.sock:web:80").reachable_by_others
    assert forward(LOCAL, "*:80:web:80").reachable_by_others
    assert forward(REMOTE, "192.0.2.1:80:web:80").reachable_by_others


def test_a_proxy_for_strangers_is_open_until_somebody_says_it_may_be() -> None:
    auth = ProxyAuth("me", "pass show proxy")

    assert forward(DYNAMIC, "*:1080").is_open_proxy
    assert forward(REMOTE, "*:1080").is_open_proxy
    assert not forward(DYNAMIC, "1080").is_open_proxy
    assert not forward(LOCAL, "*:80:web:80").is_open_proxy
    assert not Forward(DYNAMIC, tcp("*", 1080), auth=auth).is_open_proxy
    assert not Forward(DYNAMIC, tcp("*", 1080), expose=True).is_open_proxy


def test_forwards_clash_when_they_listen_on_one_socket_of_one_machine() -> None:
    local = forward(LOCAL, "80:web:80")

    assert local.clashes(forward(LOCAL, "127.0.0.1:80:other:81"))
    assert local.clashes(forward(DYNAMIC, "80"))
    assert not local.clashes(forward(REMOTE, "80:web:80"))
    assert forward(REMOTE, "80").clashes(forward(REMOTE, "*:80:web:80"))
    assert not forward(REMOTE, "0:web:80").clashes(forward(REMOTE, "0:web:81"))
    assert forward(LOCAL, "/x:web:80").clashes(forward(LOCAL, "/x:web:81"))
    assert not forward(LOCAL, "/x:web:80").clashes(local)


hosts = st.sampled_from(["web", "db.internal", "localhost", "192.0.2.7", "::1", "fe80::1%eth0", "bücher.de"])
binds = st.none() | st.just("*") | hosts
paths = st.text(alphabet="ab/:.\\[] ü~-", max_size=12).map(lambda text: f"/x{text}y")
ports = st.integers(1, 60_000)


@st.composite
def rules(draw: st.DrawFn) -> ForwardRule:
    kind = draw(st.sampled_from(ForwardKind))
    unix = draw(st.booleans())
    listen: Address = UnixAddress(draw(paths)) if unix else TcpAddress(draw(binds), draw(ports))
    connect: Address = (
        UnixAddress(draw(paths)) if draw(st.booleans()) else TcpAddress(draw(hosts), draw(ports))
    )
    spans = isinstance(listen, TcpAddress) and isinstance(connect, TcpAddress)
    count = draw(st.integers(1, 40)) if spans else 1
    if kind is DYNAMIC or (kind is REMOTE and draw(st.booleans())):
        return ForwardRule(kind, TcpAddress(draw(binds), draw(ports)), None, draw(st.integers(1, 40)))
    return ForwardRule(kind, listen, connect, count)


@given(rules())
def test_every_rule_that_is_printed_is_read_back(rule: ForwardRule) -> None:
    assert parse_forward(rule.kind, str(rule)) == rule


@given(rules())
def test_every_forward_of_a_rule_can_be_printed_and_read_back(rule: ForwardRule) -> None:
    spread = rule.spread()

    assert len(spread) == rule.ports
    assert [parse_forward(rule.kind, str(one)).spread() for one in spread[:3]] == [
        (one,) for one in spread[:3]
    ]


@given(
    st.sampled_from(ForwardKind),
    st.text(alphabet="0123456789:::-.[]/\\~*@abz% ", max_size=24) | st.text(max_size=40),
)
def test_any_text_is_a_forward_or_a_usage_error(kind: ForwardKind, text: str) -> None:
    try:
        rule = parse_forward(kind, text)
    except UsageError as error:
        assert f"{error.message}{error.hint}".isprintable()  # noqa: PT017 - most texts are errors
        return

    assert parse_forward(kind, str(rule)) == rule
    assert 1 <= len(rule.spread()) <= 1024
