"""Addresses: who can reach them, which of them get in each other's way, and how they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core import address
from tunnels.core.address import (
    TcpAddress,
    UnixAddress,
    describe_connect,
    describe_listen,
    format_address,
    join_path,
    parse_connect,
    parse_listen,
    split_fields,
)
from tunnels.errors import UsageError


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        (None, True),
        ("localhost", True),
        ("LocalHost", True),
        ("127.0.0.1", True),
        ("127.9.8.7", True),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("*", False),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("127.0.0.1.example.com", False),
        ("my-laptop", False),  # whatever it may resolve to
    ],
)
def test_only_loopback_is_out_of_reach_of_others(host: str | None, loopback: bool) -> None:
    assert TcpAddress(host, 80).is_loopback is loopback


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (None, None, True),
        (None, "127.0.0.1", True),
        (None, "::1", True),
        (None, "localhost", True),
        (None, "127.0.0.2", False),
        ("127.0.0.1", "::1", False),
        ("*", None, True),
        ("*", "192.168.1.2", True),
        ("*", "my-laptop", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "::1", False),
        ("::", "::1", True),
        ("::", "127.0.0.1", False),
        ("0::0", "fe80::1", True),
        ("fe80:0::1", "fe80::1", True),
        ("my-laptop", "My-Laptop", True),
        ("my-laptop", "other", False),
    ],
)
def test_two_listeners_overlap_when_they_share_an_interface(
    one: str | None, other: str | None, overlap: bool
) -> None:
    assert TcpAddress(one, 80).overlaps(TcpAddress(other, 80)) is overlap
    assert TcpAddress(other, 80).overlaps(TcpAddress(one, 80)) is overlap


def test_other_ports_do_not_overlap_and_port_0_never_does() -> None:
    assert not TcpAddress("*", 80).overlaps(TcpAddress("*", 81))
    assert not TcpAddress("*", 0).overlaps(TcpAddress("*", 0))


def test_a_status_shows_localhost_where_no_bind_address_was_given() -> None:
    assert describe_listen(TcpAddress(None, 5432)) == "localhost:5432"
    assert describe_listen(TcpAddress("*", 5432)) == "*:5432"
    assert describe_listen(TcpAddress("::1", 5432)) == "[::1]:5432"
    assert describe_listen(UnixAddress("~/db.sock")) == "~/db.sock"


def test_a_status_shows_no_destination_for_a_proxy() -> None:
    assert describe_connect(None) is None
    assert describe_connect(TcpAddress("db.internal", 5432)) == "db.internal:5432"


@pytest.mark.parametrize(
    ("text", "address", "ports"),
    [
        ("6379", TcpAddress(None, 6379), 1),
        (" 6379 ", TcpAddress(None, 6379), 1),
        ("127.0.0.1:6379", TcpAddress("127.0.0.1", 6379), 1),
        ("[::1]:6379", TcpAddress("::1", 6379), 1),
        ("[fe80::1%eth0]:6379", TcpAddress("fe80::1%eth0", 6379), 1),
        ("*:6379", TcpAddress("*", 6379), 1),
        (":6379", TcpAddress("*", 6379), 1),
        ("[]:6379", TcpAddress("*", 6379), 1),  # as ssh -G prints it
        ("8000-8010", TcpAddress(None, 8000), 11),
        ("localhost:8000-8001", TcpAddress("localhost", 8000), 2),
        ("/run/x:y.sock", UnixAddress("/run/x:y.sock"), 1),
        ("~/x.sock", UnixAddress("~/x.sock"), 1),
    ],
)
def test_a_listening_address_is_a_port_a_host_and_a_port_or_a_path(
    text: str, address: TcpAddress | UnixAddress, ports: int
) -> None:
    assert parse_listen(text) == (address, ports)
    assert parse_listen(format_address(address, ports)) == (address, ports)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("", "port is missing", "number"),
        ("localhost", '"localhost" is not a port', "number"),
        ("http", '"http" is not a port', "number"),
        ("::1:80", "too many colons", "brackets"),
        ("0", "port 0", "between 1 and 65535"),
        ("65536", "too large", "between 1 and 65535"),
        ("99999999999999999999", "too large", "between 1 and 65535"),
        ("٨٠", "is not a port", "number"),
        ("-80", "is not a port", "number"),
        ("80-", "is not a port", "number"),
        ("90-80", "backwards", "80-90"),
        ("0-5", "port 0", "between 1 and 65535"),
        ("1-65535", "1024 are the most", ""),
        ("run/x.sock", "not absolute", "/run/"),
        ("10.0.0.256:80", "neither a name nor an IPv4 address", "192.0.2.7"),
        ("010.0.0.1:80", "neither a name nor an IPv4 address", "192.0.2.7"),
        ("a b:80", "not a host name", "db.internal"),
        ("-x:80", "not a host name", "db.internal"),
        ("[zz::]:80", "not an IPv6 address", "[::1]"),
        ("[::1:80", "bracket", "[::1]"),
        ("[::1]80:80", "bracket", "[::1]"),
        ("80\\", "backslash", ""),
        ("/run/%i/x.sock", "token", "whole path"),
        ("$HOME/x.sock", "not absolute", "/run/"),
        ("/run/", "not the path of a socket", "/run/"),
        ("/run/\x1b[31m.sock", "not the path of a socket", "/run/"),
        ("/" + "x" * 107, "at most 107 bytes", ""),
        ("x" * 300 + ":80", "at most 255", ""),
        ("x" * 2000, "at most 1024", ""),
    ],
)
def test_what_cannot_be_listened_on_is_explained(text: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_listen(text)

    assert said in caught.value.message
    assert hint in (caught.value.hint or "")
    assert caught.value.message.isprintable()


def test_port_0_is_for_listeners_that_allow_it() -> None:
    assert parse_listen("0", zero=True) == (TcpAddress(None, 0), 1)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("5432", "without a host", "localhost:5432"),
        ("10.0.0.7", "not a host and a port", "cache.internal:6379"),
        ("db", "not a host and a port", "cache.internal:6379"),
        (":5432", "the host is missing", "db.internal"),
        ("*:5432", "no destination", "one host"),
        ("me@db:5432", "user name", '"db"'),
        ("db:0", "port 0", "between 1"),
        ("a:b:80", "too many colons", "brackets"),
    ],
)
def test_what_cannot_be_connected_to_is_explained(text: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_connect(text)

    assert said in caught.value.message
    assert hint in (caught.value.hint or "")


def test_a_destination_is_a_host_and_a_port_or_a_path() -> None:
    assert parse_connect("db.internal:5432") == (TcpAddress("db.internal", 5432), 1)
    assert parse_connect("[2001:db8::1]:80-82") == (TcpAddress("2001:db8::1", 80), 3)
    assert parse_connect("bücher.example:80") == (TcpAddress("bücher.example", 80), 1)
    assert parse_connect("/run/x:y") == (UnixAddress("/run/x:y"), 1)


def test_fields_stand_between_colons_and_brackets_or_backslashes_hide_them() -> None:
    assert [field.text for field in split_fields(r"[::1]:80:a\:b:")] == ["::1", "80", "a:b", ""]


@given(st.lists(st.text(max_size=8).filter(lambda text: not text.startswith("[")), min_size=1, max_size=5))
def test_any_fields_can_be_joined_and_split_again(texts: list[str]) -> None:
    joined = ":".join(join_path(text) for text in texts)

    assert [field.text for field in split_fields(joined)] == texts


@given(st.text(alphabet="0123456789-:.[]/\\~*@ab% ", max_size=16) | st.text(max_size=30))
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    for parse in (parse_listen, parse_connect):
        try:
            address, ports = parse(text)
        except UsageError as error:
            assert f"{error.message}{error.hint}".isprintable()  # noqa: PT017 - most texts are errors
            continue

        assert parse(format_address(address, ports)) == (address, ports)


@pytest.mark.parametrize(
    ("host", "is_address"), [("192.0.2.7", True), ("::1", True), ("db.internal", False), ("1.2.3", False)]
)
def test_an_address_is_told_from_a_name(host: str, is_address: bool) -> None:
    assert address.is_ip_address(host) is is_address
