"""Every foreign error of connecting, and what it is called here. One table; nothing else matches asyncssh's errors.

The order matters: `TimeoutError`, `gaierror` and `FileNotFoundError` are all `OSError`. Text is looked at
only where there is no type: the reason of a refused channel is free text (RFC 4254 section 5.1), and a
server that has had too many keys says so only in words (RFC 4253 section 11.1).
"""

from __future__ import annotations

import socket

import asyncssh

from tunnels.core.address import Address, UnixAddress
from tunnels.errors import (
    BadSetting,
    ConnectionLost,
    DialError,
    DialReason,
    HandshakeFailed,
    HostUnreachable,
    JumpRefused,
    LoginRefused,
    NameNotResolved,
    TunnelsError,
)

# A bad sort of error for each sort of file that asyncssh reads while it connects.
_FILE_ERRORS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_SETTING_ERRORS = (
    asyncssh.KeyImportError,
    asyncssh.KeyEncryptionError,
    asyncssh.ConfigParseError,
    ValueError,
    TypeError,
)


_HUNG_UP = (
    "the server may be starting, overloaded (MaxStartups), blocking this address, or no SSH server at all"
)


def connect_error(exc: Exception, where: str) -> TunnelsError:
    """Why no connection came of an attempt. ``where`` names the host, as the user knows it."""
    match exc:
        case TunnelsError():
            return exc
        case socket.gaierror() if exc.errno == socket.EAI_AGAIN:
            return NameNotResolved(
                f"the name {_name(where)} could not be looked up: {exc.strerror or exc}",
                hint="no name server answered: is this machine online, and its VPN up if there is one?",
            )
        case socket.gaierror():
            return NameNotResolved(
                f"the name {_name(where)} was not found: {exc.strerror or exc}",
                hint="check the name and the network; a VPN may be needed",
            )
        case asyncssh.PermissionDenied():
            return LoginRefused(f"{where} refused the login")
        case asyncssh.KeyExchangeFailed():
            return HandshakeFailed(
                f"{where} and this side have no algorithm in common: {exc.reason}",
                hint="update the older of the two, or set `ciphers`",
            )
        case asyncssh.ProtocolNotSupported():
            return HandshakeFailed(f"{where} speaks another version of SSH: {exc.reason}")
        case asyncssh.ProtocolError() if "too many authentication failures" in exc.reason.lower():
            return LoginRefused(
                f"{where} ended the login after too many keys",
                hint="set identity_file, so that only the right key is offered",
            )
        case asyncssh.ProtocolError():
            return HandshakeFailed(f"{where} does not speak SSH: {exc.reason}", hint="check host and port")
        case asyncssh.MACError() | asyncssh.CompressionError():
            return HostUnreachable(f"the connection to {where} was damaged on its way: {exc.reason}")
        case asyncssh.HostKeyNotVerifiable():  # the verdict of our own check comes before this one
            return HandshakeFailed(f"the host key of {where} could not be verified: {exc.reason}")
        case asyncssh.ConnectionLost() | asyncssh.DisconnectError():
            return HostUnreachable(
                f"{where} hung up before the login: {exc.reason}",
                hint=_HUNG_UP,
            )
        case TimeoutError():
            return HostUnreachable(
                f"{where} did not answer in time",
                hint="check the address and the network; a firewall may drop it",
            )
        case _ if isinstance(exc, _FILE_ERRORS) and exc.filename is not None:
            return BadSetting(f"{exc.filename}: {exc.strerror}")
        case ConnectionRefusedError():
            return HostUnreachable(
                f"{where} refused the connection", hint="is sshd running there, and on this port?"
            )
        case ConnectionResetError() | BrokenPipeError():
            return HostUnreachable(
                f"{where} hung up before the login",
                hint=_HUNG_UP,
            )
        case OSError():
            return HostUnreachable(f"{where} cannot be reached: {exc.strerror or exc}")
        case _ if isinstance(exc, _SETTING_ERRORS):
            return BadSetting(f"{where}: {exc}")
    raise exc


def onward_error(exc: asyncssh.ChannelOpenError, where: str, jump: str) -> TunnelsError:
    """Why a jump host did not connect us to the next server."""
    if exc.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return JumpRefused(
            f"{jump} does not allow connections to {where}: administratively prohibited",
            hint="look at AllowTcpForwarding, DisableForwarding and PermitOpen in its sshd_config, and at the key "
            "in its authorized_keys",
        )
    match _reason(exc.reason):
        case DialReason.NAME_NOT_RESOLVED:
            return NameNotResolved(
                f"{jump} does not know the name of {where}: {exc.reason}",
                hint="the name is looked up there, not here",
            )
        case DialReason.REFUSED:
            return HostUnreachable(
                f"{where} refused the connection from {jump}", hint="is sshd running there, and on this port?"
            )
    return HostUnreachable(f"{jump} could not reach {where}: {exc.reason or 'no reason given'}")


def _name(where: str) -> str:
    """The name alone: neither the user before it nor the port behind it is what was not found."""
    host = where.rpartition("@")[2]
    name, _, port = host.rpartition(":")
    return name if port.isdigit() and name and ":" not in name else host


def lost_error(exc: Exception | None, who: str = "the server") -> ConnectionLost:
    """Why a connection ended. ``None`` is also what asyncssh gives for a server that said goodbye."""
    to = "" if who == "the server" else f" to {who}"
    match exc:
        case None:
            return ConnectionLost(f"{who} closed the connection")
        case asyncssh.ConnectionLost() if "keepalive" in exc.reason:
            return ConnectionLost(f"{who} did not answer the keepalives")
        case asyncssh.ConnectionLost():  # asyncssh's word for an end of file without a goodbye
            return ConnectionLost(f"{who} closed the connection without a goodbye")
        case asyncssh.HostKeyNotVerifiable():  # at a rekeying; whether it is still the server is looked at again
            return ConnectionLost(exc.reason)
        case asyncssh.DisconnectError():
            return ConnectionLost(f"{who} ended the connection: {exc.reason}")
        case TimeoutError():  # ETIMEDOUT: TCP_USER_TIMEOUT, or the kernel's own patience (tcp(7))
            return ConnectionLost(f"what was sent to {who} did not arrive any more")
        case OSError():
            return ConnectionLost(f"the network ended the connection{to}: {exc.strerror or exc}")
    return ConnectionLost(f"the connection{to} ended: {exc}")


#: What OpenSSH, dropbear and the C library put into the reason of a refused channel, in lower case.
_REASONS = (
    ("refused", DialReason.REFUSED),
    ("timed out", DialReason.TIMED_OUT),
    ("no route to host", DialReason.HOST_UNREACHABLE),
    ("host is unreachable", DialReason.HOST_UNREACHABLE),
    ("network is unreachable", DialReason.NETWORK_UNREACHABLE),
    ("network unreachable", DialReason.NETWORK_UNREACHABLE),  # musl
    ("name does not resolve", DialReason.NAME_NOT_RESOLVED),  # musl
    ("name has no usable address", DialReason.NAME_NOT_RESOLVED),  # musl
    ("name or service not known", DialReason.NAME_NOT_RESOLVED),
    ("no address associated", DialReason.NAME_NOT_RESOLVED),
    ("name resolution", DialReason.NAME_NOT_RESOLVED),
    ("unknown host", DialReason.NAME_NOT_RESOLVED),
    ("nodename nor servname", DialReason.NAME_NOT_RESOLVED),
)


#: What to do about a destination that the server could not reach. It is the server that looks, not this machine.
_HINTS = {
    DialReason.REFUSED: "nobody listens there, as seen from the server: is it running, and on that address and port?",
    DialReason.TIMED_OUT: "is the address right, and is there a firewall between the server and it?",
    DialReason.HOST_UNREACHABLE: "the server has no way there: is the address right, and is it switched on?",
    DialReason.NETWORK_UNREACHABLE: "the server has no route to that network: is it the right server?",
    DialReason.NAME_NOT_RESOLVED: "the name is looked up on the server, which does not know it; one that it "
    "knows, or the address, will do",
}


def _reason(text: str) -> DialReason:
    return next((reason for words, reason in _REASONS if words in text.lower()), DialReason.OTHER)


def channel_error(exc: asyncssh.ChannelOpenError, connect: Address) -> DialError:
    """Why the server did not connect a client to its destination."""
    if exc.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
        return DialError(
            f"the server does not allow connections to {connect}",
            reason=DialReason.PROHIBITED,
            hint="look at AllowTcpForwarding and PermitOpen in its sshd_config, and at the key in authorized_keys",
        )
    says_nothing = exc.reason.lower() in {"", "open failed"}
    if isinstance(connect, UnixAddress) and says_nothing:  # as sshd about every socket
        return DialError(
            f"{connect}: the server could not connect; nobody listens there, this account may not connect to it, "
            "or AllowStreamLocalForwarding in its sshd_config does not allow it"
        )
    reason = _reason(exc.reason)
    message = f"{connect}: {exc.reason or 'the server could not connect'}"
    return DialError(message, reason=reason, hint=_HINTS.get(reason))
