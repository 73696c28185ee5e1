from __future__ import annotations

import pytest

from tunnels.ssh.tokens import TokenError, Tokens

TOKENS = Tokens(
    home="/home/me",
    local_user="me",
    local_uid=1000,
    local_hostname="laptop.example.org",
    alias="work",
    hostname="db.internal",
    port=2222,
    user="admin",
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("%d/.ssh/%r@%h:%p", "/home/me/.ssh/admin@db.internal:2222"),
        ("%n %k %u %i %l %L", "work work me 1000 laptop.example.org laptop"),
        ("100%%", "100%"),
        ("%%h", "%h"),
        ("%j", ""),
        ("${HOME}", "${HOME}"),
    ],
)
def test_tokens_are_those_of_ssh_config(text: str, expected: str) -> None:
    assert TOKENS.expand(text) == expected


def test_variables_are_expanded_where_an_environment_is_given() -> None:
    assert TOKENS.expand("${KEYS}/%r", {"KEYS": "/k"}) == "/k/admin"


def test_what_a_variable_says_is_not_expanded_again() -> None:
    assert TOKENS.expand("${KEYS}", {"KEYS": "%h${KEYS}"}) == "%h${KEYS}"


@pytest.mark.parametrize("text", ["%q", "100%", "%", "${NOPE}", "${}"])
def test_a_token_that_does_not_exist_is_an_error(text: str) -> None:
    with pytest.raises(TokenError):
        TOKENS.expand(text, {})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~/.ssh/id", "/home/me/.ssh/id"),
        ("~", "/home/me"),
        ("~root/x", "/root/x"),
        ("~nobody-has-this-name/x", "~nobody-has-this-name/x"),
        ("/a~/b", "/a~/b"),
    ],
)
def test_a_tilde_is_the_home_that_ssh_sees(path: str, expected: str) -> None:
    assert TOKENS.expand_path(path, {}).replace("/var/root", "/root") == expected
