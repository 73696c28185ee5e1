"""What a server asks: what may be kept of the answers, and what may be shown of the question."""

from __future__ import annotations

import pytest

from tunnels.core.challenge import (
    MAX_LINE,
    MAX_LINES,
    few_lines,
    is_password,
    is_password_change,
    one_line,
)


@pytest.mark.parametrize(
    "prompt",
    [
        "Password: ",
        "Password:",
        "password",
        "(me@bastion.example.com) Password: ",
        "(code@otp.example.com) Password: ",  # a user and a host may be called anything
        "me@bastion's password:",
        "Password for me:",
        "Password for me@EXAMPLE.COM:",
        "Password for user 'me':",
        "LDAP Password: ",
        "UNIX password: ",
        "Enter your password:",
        "Please enter the login password: ",
        "Active Directory password: ",
        "Passwort: ",
        "Bitte Passwort eingeben:",
        "Kennwort: ",
        "Mot de passe : ",
        "Contraseña: ",
        "Heslo: ",
        "Hasło: ",
        "Пароль: ",
        "密码\uff1a",
        "パスワード: ",
    ],
)
def test_what_is_the_same_every_time_may_be_kept(prompt: str) -> None:
    assert is_password(prompt, echo=False)
    assert not is_password_change(prompt, echo=False)


@pytest.mark.parametrize(
    "prompt",
    [
        "Verification code: ",
        "One-time password: ",
        "One-time password (OATH) for `me': ",
        "One Time Password:",
        "Onetime password:",
        "OTP password:",
        "Password + OTP: ",
        "Password/OTP:",
        "Password & token:",
        "Password (6 digits): ",
        "Password 2:",
        "Second password:",
        "Second factor password: ",
        "Password from your token:",
        "Password for your token:",
        "Password for token:",
        "Password, then code:",
        "Password or option (1-3): ",
        "Enter PASSCODE:",
        "Passcode or option (1-3):",
        "PIN: ",
        "Token: ",
        "SMS password:",
        "Dynamic password: ",
        "Temporary password:",
        "Einmalpasswort: ",
        "Mot de passe à usage unique :",
        "Response: ",
        "Yubikey for `me': ",
        "otp-md5 97 th9876 ext, Response: ",
        "Next password:",
        "Password Password:",
        "",
        ":",
        "Password: " + "x" * 1000,
    ],
)
def test_what_may_be_good_only_once_is_never_kept(prompt: str) -> None:
    assert not is_password(prompt, echo=False)


def test_what_is_shown_while_it_is_typed_is_no_password() -> None:
    assert not is_password("Password:", echo=True)


@pytest.mark.parametrize(
    "prompt",
    [
        "New password: ",
        "Retype new password: ",
        "Current password: ",
        "(current) UNIX password: ",
        "(me@host) New password:",
        "Neues Passwort: ",
    ],
)
def test_choosing_a_new_password_is_told_apart(prompt: str) -> None:
    assert is_password_change(prompt, echo=False)
    assert not is_password(prompt, echo=False)


def test_a_new_code_is_no_new_password() -> None:
    assert not is_password_change("Enter the new code:", echo=False)
    assert not is_password_change("New password:", echo=True)


def test_nothing_that_a_server_says_can_command_a_terminal() -> None:
    assert one_line("\x1b[2J\x1b]0;owned\x07Code\u202e:\r\n") == "[2J ]0;owned Code :"
    assert few_lines("Hello\x1b[31m\r\n\r\n  there\x00\n") == "Hello [31m\nthere"


def test_what_a_server_says_is_bounded() -> None:
    assert len(one_line("x" * 1_000_000)) == MAX_LINE
    many = few_lines("\n".join("y" * 1000 for _ in range(100_000)))
    assert many.count("\n") < MAX_LINES
    assert len(many) <= MAX_LINES * (MAX_LINE + 1)
