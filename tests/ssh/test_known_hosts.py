from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ssh.blobs import ecdsa, ed25519, rsa, string, text
from tunnels.ssh.host_key_verdict import Standing, lookup
from tunnels.ssh.known_hosts import (
    Entry,
    Marker,
    hashed_name,
    host_names,
    matches,
    new_line,
    parse,
    parse_keys,
)
from tunnels.ssh.public_key import key_type_of

A, B, C = ed25519(1), ed25519(2), ed25519(3)
R = rsa(1)
E = ecdsa(1)


def read(*lines: str) -> list[Entry]:
    return list(parse("\n".join(lines) + "\n", "/kh"))


# --- reading --------------------------------------------------------------------------------------


def test_a_line_keeps_its_file_and_number() -> None:
    (entry,) = read("# a comment", "", f"host {text(A)} a comment")

    assert entry == Entry("/kh", 3, Marker.HOST, "host", "ssh-ed25519", A)
    assert entry.where == "/kh:3"


def test_markers_are_read() -> None:
    entries = read(f"@cert-authority *.example.com {text(A)}", f"@revoked\t*\t{text(B)}")

    assert [entry.marker for entry in entries] == [Marker.CA, Marker.REVOKED]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "   ",
        "# host ssh-ed25519 AAAA",
        "host",
        "host ssh-ed25519",
        "host ssh-ed25519 ????",
        "host ssh-ed25519 AAAA",
        f"host ssh-rsa {text(A).split()[1]}",
        f"host {text(A)[:-8]}",
        f"host {text(string(b'ssh-ed25519') + string(b'short'))}",
        f"host {text(string(b'ssh-future') + string(b'x' * 32))}",
        "host 1024 35 1234567890",
        f"@unknown host {text(A)}",
        f"@revoked @cert-authority host {text(A)}",
        f"@revoked host{text(A)}",
        f"#host {text(A)}",
        "\0",
    ],
)
def test_a_line_that_makes_no_sense_is_skipped(line: str) -> None:
    assert read(line, f"after {text(B)}") == [Entry("/kh", 2, Marker.HOST, "after", "ssh-ed25519", B)]


def test_windows_line_ends_and_tabs_are_understood() -> None:
    (entry,) = parse(f"  host\t \t{text(A).replace(' ', chr(9))}\r\n")

    assert (entry.hosts, entry.blob) == ("host", A)


def test_a_line_separator_of_unicode_does_not_end_a_line() -> None:
    assert read(f"# x\u2028host {text(A)}") == []


def test_an_rsa_key_under_the_name_of_its_signature_is_an_rsa_key() -> None:
    (entry,) = read(f"host rsa-sha2-512 {text(R).split()[1]}")

    assert entry.key_type == "ssh-rsa"


def test_only_the_lines_about_a_host_are_read_when_it_is_named() -> None:
    content = f"a {text(A)}\nb {text(B)}\n{hashed_name('a', b's' * 20)} {text(C)}\n"

    assert [entry.line for entry in parse(content, names=("a",))] == [1, 3]


def test_a_list_of_keys_is_read() -> None:
    assert list(parse_keys(f"{text(A)} me\n# {text(B)}\njunk\n\n{text(R)}")) == [A, R]


@settings(deadline=None)  # a busy machine is not a failure
@given(st.text())
def test_no_text_breaks_the_parser(content: str) -> None:
    list(parse(content))
    list(parse(content, names=("host",)))
    list(parse_keys(content))


@settings(deadline=None)
@given(st.binary())
def test_no_bytes_break_the_parser(content: bytes) -> None:
    encoded = base64.b64encode(content).decode()
    list(parse(f"h ssh-ed25519 {encoded}\n{content.decode(errors='surrogateescape')}"))
    key_type_of(content)


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port", "alias", "names"),
    [
        ("Example.COM", 22, None, ("example.com",)),
        ("Example.COM", 2222, None, ("[example.com]:2222", "example.com")),
        ("::1", 22, None, ("::1",)),
        ("::1", 2222, None, ("[::1]:2222", "::1")),
        ("h", 2222, "Work", ("work",)),
    ],
)
def test_a_host_is_called_what_openssh_calls_it(
    host: str, port: int, alias: str | None, names: tuple[str, ...]
) -> None:
    assert host_names(host, port, alias) == names


@pytest.mark.parametrize(
    ("hosts", "name", "expected"),
    [
        ("host", "host", True),
        ("HOST", "host", True),
        ("host", "host.example.com", False),
        ("a,host,b", "host", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com,!bad.example.com", "bad.example.com", False),
        ("!bad.example.com,*.example.com", "bad.example.com", False),
        ("!*.example.com", "host", False),
        ("h?st", "host", True),
        ("h?st", "hst", False),
        ("h?st", "h?st", True),
        ("*", "[h]:2222", True),
        ("[*.example.com]:2222", "[a.example.com]:2222", True),
        ("[h]:2222", "h", False),
        ("h[ao]st", "host", False),
        ("", "host", False),
        ("|1|x", "host", False),
        ("|2|" + "A" * 28 + "|" + "A" * 28, "host", False),
        ("|1|AAAA|AAAA", "host", False),
    ],
)
def test_patterns_match_as_in_openssh(hosts: str, name: str, expected: bool) -> None:
    assert matches(hosts, name) is expected


@settings(deadline=None)
@given(st.text(alphabet="ab*?.[", max_size=12), st.text(alphabet="ab.[?", max_size=12))
def test_a_pattern_matches_what_the_regular_expression_matches(pattern: str, name: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)

    assert matches(pattern, name) is (re.fullmatch(expression, name) is not None)


def test_no_pattern_takes_for_ever() -> None:
    assert not matches("*a" * 400 + "b", "a" * 4000)


# --- writing --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.sampled_from([A, R, E]),
    st.sampled_from(["h", "[h]:2222", "::1", "a.example.com"]),
    st.none() | st.binary(min_size=20, max_size=20),
)
def test_what_is_written_is_found_again(blob: bytes, name: str, salt: bytes | None) -> None:
    line = new_line(name, blob, salt=salt)

    assert line.endswith("\n")
    assert line.startswith(f"{name} ") is (salt is None)
    assert lookup(list(parse(line)), (name,), blob).standing is Standing.KNOWN
