from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunnels.ssh.known_hosts import (
    Entry,
    Marker,
    Standing,
    certificate_authorities,
    hashed_name,
    host_key_algorithms,
    host_names,
    key_type_of,
    lookup,
    lookup_ca,
    matches,
    new_line,
    parse,
    parse_keys,
    short_type,
)


def string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def ed25519(number: int) -> bytes:
    return string(b"ssh-ed25519") + string(bytes([number]) * 32)


def rsa(number: int) -> bytes:
    return string(b"ssh-rsa") + string(b"\1\0\1") + string(bytes([0, 0x80 + number]) * 128)


def ecdsa(number: int) -> bytes:
    point = b"\4" + bytes([number]) * 64
    return string(b"ecdsa-sha2-nistp256") + string(b"nistp256") + string(point)


def text(blob: bytes) -> str:
    return f"{key_type_of(blob)} {base64.b64encode(blob).decode()}"


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


# --- deciding -------------------------------------------------------------------------------------


def standing(blob: bytes, *lines: str, host: str = "h", port: int = 22, alias: str | None = None) -> Standing:
    return lookup(read(*lines), host_names(host, port, alias), blob).standing


def test_a_key_on_file_is_known() -> None:
    verdict = lookup(read(f"h {text(A)}", f"h {text(R)}"), ("h",), R)

    assert verdict.standing is Standing.KNOWN
    assert [entry.line for entry in verdict.entries] == [2]


def test_a_host_that_is_not_on_file_is_unknown() -> None:
    assert standing(A, f"other {text(A)}", f"@cert-authority h {text(A)}") is Standing.UNKNOWN


def test_another_key_is_a_changed_one_and_the_one_it_replaces_is_named_first() -> None:
    verdict = lookup(read(f"h {text(R)}", f"h {text(A)}"), ("h",), B)

    assert verdict.standing is Standing.CHANGED
    assert [entry.line for entry in verdict.entries] == [2, 1]
    assert not verdict.changed_type


def test_a_key_of_another_type_is_a_changed_one_too() -> None:
    verdict = lookup(read(f"h {text(A)}"), ("h",), R)

    assert verdict.standing is Standing.CHANGED
    assert verdict.changed_type


def test_a_revoked_key_is_revoked_even_where_nothing_else_is_on_file() -> None:
    assert standing(A, f"@revoked h {text(A)}") is Standing.REVOKED
    assert standing(A, f"h {text(A)}", f"@revoked * {text(A)}") is Standing.REVOKED
    assert standing(B, f"@revoked h {text(A)}") is Standing.UNKNOWN


@pytest.mark.parametrize("name", ["h", "[h]:2222"])
def test_a_key_is_revoked_under_both_names_of_a_host(name: str) -> None:
    lines = (f"[h]:2222 {text(A)}", f"@revoked {name} {text(A)}")

    assert standing(A, *lines, port=2222) is Standing.REVOKED


def test_another_port_is_another_host() -> None:
    assert standing(A, f"h {text(B)}", port=2222) is Standing.UNKNOWN
    assert standing(A, f"[h]:2222 {text(A)}") is Standing.UNKNOWN
    assert standing(A, f"[h]:2222 {text(A)}", port=2222) is Standing.KNOWN
    assert standing(A, f"[h]:2222 {text(B)}", port=2222) is Standing.CHANGED


def test_the_very_same_key_without_the_port_is_believed_while_there_is_none_with_it() -> None:
    assert standing(A, f"h {text(A)}", port=2222) is Standing.KNOWN
    assert standing(A, f"h {text(A)}", f"[h]:2222 {text(B)}", port=2222) is Standing.CHANGED


def test_an_alias_stands_for_name_and_port() -> None:
    assert standing(A, f"work {text(A)}", port=2222, alias="Work") is Standing.KNOWN
    assert standing(A, f"[h]:2222 {text(A)}", port=2222, alias="Work") is Standing.UNKNOWN


def test_a_hashed_name_is_found() -> None:
    hashed = hashed_name("[h]:2222", b"0123456789abcdefghij")

    assert standing(A, f"{hashed} {text(A)}", port=2222) is Standing.KNOWN
    assert standing(A, f"{hashed} {text(A)}", port=2223) is Standing.UNKNOWN


def test_authorities_are_those_of_the_host() -> None:
    entries = read(f"@cert-authority *.x {text(A)}", f"@cert-authority h {text(B)}", f"h {text(C)}")

    assert [entry.blob for entry in certificate_authorities(entries, ("h",))] == [B]
    assert lookup_ca(entries, ("h",), B).standing is Standing.KNOWN
    assert lookup_ca(entries, ("h",), A).standing is Standing.UNKNOWN
    assert lookup_ca(entries, ("h",), C).standing is Standing.UNKNOWN


def test_a_revoked_authority_is_revoked() -> None:
    entries = read(f"@cert-authority h {text(B)}", f"@revoked * {text(B)}")

    assert lookup_ca(entries, ("h",), B).standing is Standing.REVOKED


# --- what to ask the server for -------------------------------------------------------------------


def algorithms(*lines: str, configured: tuple[str, ...] = (), port: int = 22) -> list[str]:
    return host_key_algorithms(read(*lines), host_names("h", port), configured)


def test_a_new_host_is_asked_for_its_best_key() -> None:
    assert algorithms() == [
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "rsa-sha2-512",
        "rsa-sha2-256",
    ]


def test_the_types_on_file_are_asked_for_first_and_the_others_after_them() -> None:
    got = algorithms(f"h {text(R)}")

    assert got[:3] == ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]
    assert set(got) == set(algorithms())
    assert algorithms(f"[h]:2222 {text(E)}", port=2222)[0] == "ecdsa-sha2-nistp256"


def test_certificates_are_asked_for_only_where_an_authority_is_on_file() -> None:
    got = algorithms(f"@cert-authority * {text(A)}")

    assert got[0] == "ssh-ed25519-cert-v01@openssh.com"
    assert "rsa-sha2-512-cert-v01@openssh.com" in got
    assert got[-6:] == algorithms()
    assert not any("cert" in name for name in algorithms(f"@cert-authority other {text(A)}"))
    entries = read(f"@cert-authority * {text(A)}")
    assert host_key_algorithms(entries, ("h",), certificates=False) == algorithms()


def test_what_the_user_has_chosen_is_kept_to() -> None:
    chosen = ("ssh-rsa", "ssh-dss", "x-future", "ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com")

    assert algorithms(configured=chosen) == ["ssh-rsa", "ssh-ed25519"]
    assert algorithms(f"h {text(A)}", configured=chosen) == ["ssh-ed25519", "ssh-rsa"]
    assert algorithms(f"@cert-authority h {text(B)}", configured=chosen) == [
        "ssh-ed25519-cert-v01@openssh.com",
        "ssh-rsa",
        "ssh-ed25519",
    ]
    assert algorithms(configured=("x-future",)) == []


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


def test_types_have_the_names_that_people_know() -> None:
    assert [short_type(key_type_of(blob)) for blob in (A, R, E)] == ["ED25519", "RSA", "ECDSA"]
    assert short_type("ssh-dss") == "DSA"
    assert short_type("sk-ssh-ed25519@openssh.com") == "ED25519"
