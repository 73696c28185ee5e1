"""Every foreign error has one name here: the table of what asyncssh and the system raise, row by row."""

from __future__ import annotations

import errno
import os
import socket

import asyncssh
import pytest

from tunnels.core.address import TcpAddress, UnixAddress
from tunnels.errors import (
    BadSetting,
    ConnectError,
    ConnectionLost,
    DialReason,
    HandshakeFailed,
    HostKeyRejected,
    HostUnreachable,
    JumpRefused,
    LoginRefused,
    NameNotResolved,
    TunnelsError,
)
from tunnels.ssh.faults import channel_error, connect_error, lost_error, onward_error

HOST = "me@vps.example.com:2222"
DB = TcpAddress("db.internal", 5432)


def system(number: int, file: str | None = None) -> OSError:
    """The error that the system has for a number; Python makes it the right subclass."""
    return (
        OSError(number, os.strerror(number)) if file is None else OSError(number, os.strerror(number), file)
    )


# --- connecting -----------------------------------------------------------------------------------

RETRIED: list[tuple[str, Exception, type[ConnectError], str]] = [
    ("refused", system(errno.ECONNREFUSED), HostUnreachable, "refused the connection"),
    ("no route", system(errno.EHOSTUNREACH), HostUnreachable, "No route to host"),
    ("no network", system(errno.ENETUNREACH), HostUnreachable, "Network is unreachable"),
    ("network down", system(errno.ENETDOWN), HostUnreachable, "Network is down"),
    ("no more files", system(errno.EMFILE), HostUnreachable, "Too many open files"),
    ("a firewall of this machine", system(errno.EPERM), HostUnreachable, "Operation not permitted"),
    ("the kernel timed out", system(errno.ETIMEDOUT), HostUnreachable, "did not answer in time"),
    ("we timed out", TimeoutError(), HostUnreachable, "did not answer in time"),
    ("unknown name", socket.gaierror(socket.EAI_NONAME, "not known"), NameNotResolved, "not known"),
    ("no name server", socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), NameNotResolved, "Temporary"),
    ("reset", system(errno.ECONNRESET), HostUnreachable, "hung up before the login"),
    ("broken pipe", system(errno.EPIPE), HostUnreachable, "hung up before the login"),
    ("silent", asyncssh.ConnectionLost("Login timeout expired"), HostUnreachable, "Login timeout expired"),
    ("hung up", asyncssh.ConnectionLost("Connection lost"), HostUnreachable, "Connection lost"),
    (
        "goodbye",
        asyncssh.DisconnectError(asyncssh.DISC_BY_APPLICATION, "Too many users"),
        HostUnreachable,
        "Too many users",
    ),
    ("damaged", asyncssh.MACError("MAC verification failed"), HostUnreachable, "damaged on its way"),
    (
        "badly packed",
        asyncssh.CompressionError("Decompression failed"),
        HostUnreachable,
        "damaged on its way",
    ),
]

FINAL: list[tuple[str, Exception, type[ConnectError], str]] = [
    (
        "SSH 1",
        asyncssh.ProtocolNotSupported("Unsupported version"),
        HandshakeFailed,
        "another version of SSH",
    ),
    ("junk", asyncssh.ProtocolError("Invalid packet"), HandshakeFailed, "does not speak SSH: Invalid packet"),
    (
        "nothing in common",
        asyncssh.KeyExchangeFailed("No matching encryption algorithm found"),
        HandshakeFailed,
        "no algorithm in common: No matching encryption",
    ),
    ("a bad certificate", asyncssh.HostKeyNotVerifiable("not trusted"), HandshakeFailed, "not trusted"),
    ("login denied", asyncssh.PermissionDenied("Permission denied"), LoginRefused, "refused the login"),
    (
        "too many keys",
        asyncssh.ProtocolError("Too many authentication failures for me"),
        LoginRefused,
        "after too many keys",
    ),
    ("no key file", system(errno.ENOENT, "/k/id"), BadSetting, "/k/id: No such file or directory"),
    ("closed key file", system(errno.EACCES, "/k/id"), BadSetting, "/k/id: Permission denied"),
    ("a folder", system(errno.EISDIR, "/k"), BadSetting, "/k: Is a directory"),
    ("no folder", system(errno.ENOTDIR, "/k/id"), BadSetting, "/k/id: Not a directory"),
    ("not a key", asyncssh.KeyImportError("Invalid private key"), BadSetting, "Invalid private key"),
    (
        "encrypted key",
        asyncssh.KeyEncryptionError("Incorrect passphrase"),
        BadSetting,
        "Incorrect passphrase",
    ),
    ("bad ssh_config", asyncssh.ConfigParseError("Invalid line"), BadSetting, "Invalid line"),
    ("bad algorithm", ValueError("Invalid algorithm"), BadSetting, "Invalid algorithm"),
    ("a name with an empty label", UnicodeError("label empty or too long"), BadSetting, "label empty"),
    ("bad option", TypeError("unexpected keyword"), BadSetting, "unexpected keyword"),
]


@pytest.mark.parametrize(
    ("exc", "cls", "words"), [pytest.param(*row[1:], id=row[0]) for row in RETRIED + FINAL]
)
def test_what_goes_wrong_in_connecting_has_one_name_and_says_what_it_was(
    exc: Exception, cls: type[ConnectError], words: str
) -> None:
    error = connect_error(exc, HOST)
    assert type(error) is cls
    assert words in error.message
    if cls is NameNotResolved:
        assert "the name vps.example.com " in error.message, "nobody looked up a user or a port"
    else:
        assert HOST in error.message or cls is BadSetting


@pytest.mark.parametrize("exc", [pytest.param(row[1], id=row[0]) for row in RETRIED])
def test_what_may_pass_by_itself_is_retried(exc: Exception) -> None:
    assert connect_error(exc, HOST).retryable


@pytest.mark.parametrize("exc", [pytest.param(row[1], id=row[0]) for row in FINAL])
def test_what_a_person_must_change_is_not_retried(exc: Exception) -> None:
    assert not connect_error(exc, HOST).retryable


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (system(errno.ECONNRESET), "MaxStartups"),
        (asyncssh.ConnectionLost("Connection lost"), "MaxStartups"),
        (system(errno.ECONNREFUSED), "is sshd running there"),
        (TimeoutError(), "firewall"),
        (socket.gaierror(socket.EAI_NONAME, "not known"), "VPN"),
        (asyncssh.ProtocolError("Too many authentication failures"), "set identity_file"),
        (asyncssh.ProtocolError("Invalid packet"), "check host and port"),
        (asyncssh.KeyExchangeFailed("No match"), "update the older"),
    ],
)
def test_an_error_that_has_a_usual_cause_names_it(exc: Exception, words: str) -> None:
    assert words in (connect_error(exc, HOST).hint or "")


def test_an_error_that_is_ours_already_stays_what_it_is() -> None:
    error = HostKeyRejected("the host key has changed")
    assert connect_error(error, HOST) is error


@pytest.mark.parametrize("bug", [ZeroDivisionError("a bug"), AssertionError(), KeyError("x")])
def test_a_bug_is_not_dressed_up_as_an_error_of_the_connection(bug: Exception) -> None:
    with pytest.raises(type(bug)) as caught:
        connect_error(bug, HOST)
    assert caught.value is bug


# --- from one server to the next ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "kind", "message"),
    [
        (
            asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED,
            "open failed",
            JumpRefused,
            f"jump host b does not allow connections to {HOST}: administratively prohibited",
        ),
        (
            asyncssh.OPEN_CONNECT_FAILED,
            "Name or service not known",
            NameNotResolved,
            f"jump host b does not know the name of {HOST}: Name or service not known",
        ),
        (
            asyncssh.OPEN_CONNECT_FAILED,
            "Connection refused",
            HostUnreachable,
            f"{HOST} refused the connection from jump host b",
        ),
        (
            asyncssh.OPEN_CONNECT_FAILED,
            "No route to host",
            HostUnreachable,
            f"jump host b could not reach {HOST}: No route to host",
        ),
    ],
)
def test_a_jump_host_that_does_not_connect_us_onwards_is_named_with_the_reason(
    code: int, reason: str, kind: type[TunnelsError], message: str
) -> None:
    error = onward_error(asyncssh.ChannelOpenError(code, reason), HOST, "jump host b")
    assert type(error) is kind
    assert error.message == message


def test_what_only_the_jump_hosts_administrator_can_change_is_not_retried() -> None:
    refused = asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")
    error = onward_error(refused, HOST, "jump host b")
    assert not error.retryable
    assert "PermitOpen" in (error.hint or "")


def test_a_lost_jump_host_is_named() -> None:
    assert lost_error(system(errno.ECONNRESET), "jump host b").message == (
        "the network ended the connection to jump host b: Connection reset by peer"
    )


# --- losing a connection --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exc", "message"),
    [
        (None, "the server closed the connection"),
        (
            asyncssh.ConnectionLost("Server not responding to keepalive messages"),
            "the server did not answer the keepalives",
        ),
        (asyncssh.ConnectionLost("Connection lost"), "the server closed the connection without a goodbye"),
        (asyncssh.ProtocolError("Bad packet"), "the server ended the connection: Bad packet"),
        (
            asyncssh.MACError("MAC verification failed"),
            "the server ended the connection: MAC verification failed",
        ),
        (system(errno.ETIMEDOUT), "what was sent to the server did not arrive any more"),
        (system(errno.ECONNRESET), "the network ended the connection: Connection reset by peer"),
        (ZeroDivisionError("a bug in a callback"), "the connection ended: a bug in a callback"),
    ],
)
def test_a_lost_connection_says_who_ended_it_and_is_always_retried(
    exc: Exception | None, message: str
) -> None:
    error = lost_error(exc)
    assert type(error) is ConnectionLost
    assert error.message == message
    assert error.retryable


# --- channels -------------------------------------------------------------------------------------

GLIBC = [
    ("Connection refused", DialReason.REFUSED),
    ("Connection timed out", DialReason.TIMED_OUT),
    ("No route to host", DialReason.HOST_UNREACHABLE),
    ("Network is unreachable", DialReason.NETWORK_UNREACHABLE),
    ("Name or service not known", DialReason.NAME_NOT_RESOLVED),
    ("No address associated with hostname", DialReason.NAME_NOT_RESOLVED),
    ("Temporary failure in name resolution", DialReason.NAME_NOT_RESOLVED),
]
MUSL = [  # Alpine: src/errno/__strerror.h and src/network/gai_strerror.c
    ("Connection refused", DialReason.REFUSED),
    ("Operation timed out", DialReason.TIMED_OUT),
    ("Host is unreachable", DialReason.HOST_UNREACHABLE),
    ("Network unreachable", DialReason.NETWORK_UNREACHABLE),
    ("Name does not resolve", DialReason.NAME_NOT_RESOLVED),
    ("Name has no usable address", DialReason.NAME_NOT_RESOLVED),
]
BSD = [  # and macOS
    ("Connection refused", DialReason.REFUSED),
    ("Operation timed out", DialReason.TIMED_OUT),
    ("No route to host", DialReason.HOST_UNREACHABLE),
    ("Network is unreachable", DialReason.NETWORK_UNREACHABLE),
    ("nodename nor servname provided, or not known", DialReason.NAME_NOT_RESOLVED),
]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(*row, id=f"{name}: {row[0]}")
        for name, rows in (("glibc", GLIBC), ("musl", MUSL), ("BSD", BSD))
        for row in rows
    ],
)
def test_the_words_of_a_refused_channel_are_understood_in_every_dialect(
    text: str, reason: DialReason
) -> None:
    for words in (text, text.lower(), text.upper()):
        error = channel_error(asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, words), DB)
        assert error.reason is reason
        assert error.message == f"db.internal:5432: {words}"
        assert "server" in (error.hint or ""), "it is said that it is the server which looks"


def test_a_channel_that_the_server_prohibits_names_what_may_prohibit_it() -> None:
    refused = asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "Connection refused")
    error = channel_error(refused, DB)
    assert error.reason is DialReason.PROHIBITED  # the code counts, whatever the text says
    assert "db.internal:5432" in error.message
    for word in ("AllowTcpForwarding", "PermitOpen", "authorized_keys"):
        assert word in (error.hint or "")


@pytest.mark.parametrize(
    ("text", "shown"), [("", "the server could not connect"), ("open failed", "open failed")]
)
def test_a_reason_that_nobody_knows_is_shown_as_it_is(text: str, shown: str) -> None:
    error = channel_error(asyncssh.ChannelOpenError(asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE, text), DB)
    assert error.reason is DialReason.OTHER
    assert error.message == f"db.internal:5432: {shown}"


def test_every_name_in_the_tables_is_an_error_of_ours() -> None:
    for _, exc, _, _ in RETRIED + FINAL:
        assert isinstance(connect_error(exc, HOST), TunnelsError)


def test_a_socket_that_the_server_cannot_connect_to_names_what_it_may_be() -> None:
    refused = asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")
    error = channel_error(refused, UnixAddress("/run/db.sock"))
    assert error.message.startswith("/run/db.sock: the server could not connect")
    assert "AllowStreamLocalForwarding" in error.message
    spoken = asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "Connection refused")
    assert channel_error(spoken, UnixAddress("/run/db.sock")).reason is DialReason.REFUSED
