"""The server side of SOCKS 4, 4a and 5: bytes in, events out, replies as bytes.

One :class:`SocksServer` is the handshake of one client. It knows no sockets and resolves no names: a name
goes to the far end as the client wrote it, because a lookup made here would tell the local network where
the user goes. It tells the truth: the success reply exists only once the caller says that the far end
answered, and a failure carries the code that fits.

::

    VERSION ─┬─► SOCKS4_REQUEST ─────────────────────────────┐
             └─► METHODS ─► [CREDENTIALS] ─► SOCKS5_REQUEST ─┴─► CONNECTING ─┬─ succeeded() ─► ANSWERED
                                                                             └─ failed() ────► CLOSED
    any of them ─ Fail ─► CLOSED

What else a client of the same port may speak is the business of `core.proxy`.

Bytes from the peer never raise: they become :class:`Fail`, and after that they are ignored. A method
called in a state where it makes no sense is a bug of ours and raises
:class:`~tunnels.errors.InternalError`. How the bytes are cut makes no difference to the events.

Sources: RFC 1928 (SOCKS 5), RFC 1929 (username and password), and Ying-Da Lee's notes "SOCKS: A protocol
for TCP proxy across firewalls" (4) and "SOCKS 4A: A Simple Extension to SOCKS 4 Protocol".
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from tunnels.errors import DialReason, InternalError

#: Longest SOCKS4 user id and 4a name, in bytes. The notes give no bound; 255 is what RFC 1928 and DNS
#: allow a name. With it no unfinished handshake message is longer than 520 bytes: 8, and twice 255 and a NUL.
MAX_TEXT_BYTES = 255


class Speech(enum.Enum):
    """What a client that has just connected seems to speak."""

    SOCKS4 = "SOCKS4"
    SOCKS5 = "SOCKS5"
    HTTP = "HTTP"  #: perhaps: an upper-case letter, as every HTTP method begins
    TLS = "TLS"
    UNKNOWN = "unknown"


def sniff(first: int) -> Speech:
    """Guess from the first byte (0 to 255) which machine the client's bytes belong to."""
    if ord("A") <= first <= ord("Z"):
        return Speech.HTTP
    # 0x16 is TLS' record type "handshake" (RFC 8446 section 5.1).
    return {0x04: Speech.SOCKS4, 0x05: Speech.SOCKS5, 0x16: Speech.TLS}.get(first, Speech.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes to the client; the handshake goes on."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """The client wants to be connected. Answer with ``succeeded()`` or ``failed()``.

    ``host`` is a name as the client wrote it, never resolved, or an address as text (IPv6 without
    brackets). It is 1 to 255 graphic ASCII characters and otherwise unchecked. ``port`` is 0 to 65535.
    """

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Fail:
    """The handshake is over: send ``reply``, which may be empty, then close. ``reason`` is for the log."""

    reply: bytes
    reason: str


Event = Send | ConnectRequest | Fail


class _State(enum.Enum):
    """Where a handshake is."""

    VERSION = "waiting for the first byte"
    SOCKS4_REQUEST = "reading a SOCKS4 request"
    METHODS = "reading the authentication methods"  #: RFC 1928 section 3
    CREDENTIALS = "reading username and password"  #: RFC 1929 section 2
    SOCKS5_REQUEST = "reading a SOCKS5 request"  #: RFC 1928 section 4
    CONNECTING = "waiting for the far end"  #: the caller's turn
    ANSWERED = "connected"  #: the bytes belong to the relay
    CLOSED = "refused"


# CD of SOCKS4 and CMD of SOCKS5 agree (RFC 1928 section 4).
_CONNECT = 0x01
_OTHER_COMMANDS = {0x02: "BIND", 0x03: "UDP ASSOCIATE"}

# Authentication methods (RFC 1928 section 3); 0xFF in an answer means none of them.
_NO_AUTHENTICATION = 0x00
_USERNAME_PASSWORD = 0x02

# ATYP (RFC 1928 section 5).
_IPV4 = 0x01
_NAME = 0x03
_IPV6 = 0x04

# CD of a SOCKS4 reply.
_GRANTED = 0x5A
_REJECTED = 0x5B  # "rejected or failed"; 0x5C and 0x5D speak of identd, which nobody asks here


class _Reply(enum.IntEnum):
    """REP (RFC 1928 section 6)."""

    SUCCEEDED = 0x00
    GENERAL_FAILURE = 0x01
    NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    REFUSED = 0x05
    TTL_EXPIRED = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_TYPE_NOT_SUPPORTED = 0x08


_REPLY_TO_REASON = {
    DialReason.PROHIBITED: _Reply.NOT_ALLOWED,
    DialReason.NETWORK_UNREACHABLE: _Reply.NETWORK_UNREACHABLE,
    DialReason.HOST_UNREACHABLE: _Reply.HOST_UNREACHABLE,
    # RFC 1928 has no code for a name without an address; Tor answers this one too, and to a browser an
    # unknown host is an unreachable one.
    DialReason.NAME_NOT_RESOLVED: _Reply.HOST_UNREACHABLE,
    DialReason.REFUSED: _Reply.REFUSED,
    # "TTL expired" is the only code that means "packets went out and nothing came back in time". Tor has
    # answered it for its timeouts for years, so clients know it as one.
    DialReason.TIMED_OUT: _Reply.TTL_EXPIRED,
    # To the client the tunnel is the network. "Network unreachable" sends the reader of the message to
    # look at the tunnel; "general failure" sends them nowhere.
    DialReason.LINK_DOWN: _Reply.NETWORK_UNREACHABLE,
    DialReason.OTHER: _Reply.GENERAL_FAILURE,
}

_BAD_NAME = "the host name is empty or not graphic ASCII"


class SocksServer:
    """One client's handshake.

    ``credentials`` says whether a username and password are right; both are bytes as they came, since
    RFC 1929 names no encoding. It should compare with :func:`hmac.compare_digest`. With it, only
    username and password are accepted as a method, and SOCKS4, which cannot carry a password, is
    refused; without it, no authentication is wanted and none is done.
    """

    __slots__ = ("_buffer", "_credentials", "_state", "_version")

    def __init__(self, *, credentials: Callable[[bytes, bytes], bool] | None = None) -> None:
        self._credentials = credentials
        self._state = _State.VERSION
        self._version = 0
        self._buffer = bytearray()

    def __repr__(self) -> str:  # never the bytes: a password may be among them
        return f"<SocksServer {self._state.name}>"

    @property
    def trailing(self) -> bytes:
        """What the client sent beyond its request, without waiting for the answer.

        It belongs to the relay, ahead of everything that is read later. Empty until there is a
        :class:`ConnectRequest`.
        """
        return bytes(self._buffer) if self._state in {_State.CONNECTING, _State.ANSWERED} else b""

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes from the client, and say what to do, in this order.

        After a :class:`ConnectRequest` the caller should stop reading; what still comes is added to
        ``trailing``, where only the caller bounds it. After a :class:`Fail` bytes are dropped.

        Raises:
            InternalError: the handshake has succeeded, so the bytes are the relay's.

        """
        if self._state is _State.ANSWERED:
            raise InternalError(f"{self!r} was given bytes that belong to the relay")
        if self._state is _State.CLOSED:
            return []
        self._buffer += data
        events: list[Event] = []
        while (event := self._step()) is not None:
            events.append(event)
        return events

    def succeeded(self) -> bytes:
        """Say that the far end has answered; return the success reply. Then the relay begins.

        The bound address in it is ``0.0.0.0:0``, as OpenSSH's: a server that opens a channel does not
        say from which address it connected (RFC 4254 section 5.1).

        Raises:
            InternalError: no :class:`ConnectRequest` is waiting for an answer.

        """
        self._leave_connecting(_State.ANSWERED)
        return self._reply(_Reply.SUCCEEDED)

    def failed(self, reason: DialReason) -> bytes:
        """Say that the destination could not be reached; return the reply to send before closing.

        Raises:
            InternalError: no :class:`ConnectRequest` is waiting for an answer.

        """
        self._leave_connecting(_State.CLOSED)
        self._buffer.clear()
        return self._reply(_REPLY_TO_REASON[reason])

    def _leave_connecting(self, state: _State) -> None:
        if self._state is not _State.CONNECTING:
            raise InternalError(f"{self!r} was given an answer to no request")
        self._state = state

    def _step(self) -> Event | None:
        """Read one message; ``None`` while it is incomplete, and when the handshake is over."""
        read = self._READERS.get(self._state)
        return None if read is None else read(self)

    def _read_version(self) -> Event | None:
        """Look at the first byte and leave it where it is: it is part of the first message."""
        if not self._buffer:
            return None
        match sniff(self._buffer[0]):
            case Speech.SOCKS4:
                self._version, self._state = 4, _State.SOCKS4_REQUEST
            case Speech.SOCKS5:
                self._version, self._state = 5, _State.METHODS
            case _:
                return self._fail(b"", f"the client does not speak SOCKS: first byte 0x{self._buffer[0]:02X}")
        return self._step()

    def _read_socks4_request(self) -> Event | None:
        """VN, CD, DSTPORT, DSTIP, USERID, NUL; and for 4a, whose DSTIP is 0.0.0.x, a name and NUL."""
        buffer = self._buffer
        # Read to its end even where it will be refused: closing over unread bytes resets the connection,
        # and a reset can overtake the reply.
        end = user_end = buffer.find(0, 8, 9 + MAX_TEXT_BYTES)
        if user_end < 0:
            too_long = len(buffer) >= 9 + MAX_TEXT_BYTES
            return self._refuse(f"user id longer than {MAX_TEXT_BYTES} bytes") if too_long else None
        host = _host(_IPV4, bytes(buffer[4:8]))
        if buffer[4:7] == bytes(3) and buffer[7] != 0:
            name_start = user_end + 1
            end = buffer.find(0, name_start, name_start + MAX_TEXT_BYTES + 1)
            if end < 0:
                too_long = len(buffer) > name_start + MAX_TEXT_BYTES
                return self._refuse(f"host name longer than {MAX_TEXT_BYTES} bytes") if too_long else None
            host = _host(_NAME, bytes(buffer[name_start:end]))
        if self._credentials is not None:
            return self._refuse("this proxy wants a password, which only SOCKS5 can carry")
        if buffer[1] != _CONNECT:
            return self._refuse(_unsupported(buffer[1]))
        if host is None:
            return self._refuse(_BAD_NAME)
        return self._request(host, int.from_bytes(buffer[2:4], "big"), length=end + 1)

    def _read_methods(self) -> Event | None:
        """VER, NMETHODS, METHODS (RFC 1928 section 3). The server's wish decides, not the client's order."""
        buffer = self._buffer
        if len(buffer) < 2 or len(buffer) < 2 + buffer[1]:
            return None
        methods = buffer[2 : 2 + buffer[1]]
        wanted = _NO_AUTHENTICATION if self._credentials is None else _USERNAME_PASSWORD
        if wanted not in methods:
            wish = "no authentication" if self._credentials is None else "username and password"
            return self._fail(b"\x05\xff", f"the client does not offer the method {wish!r}")
        del buffer[: 2 + len(methods)]
        self._state = _State.SOCKS5_REQUEST if self._credentials is None else _State.CREDENTIALS
        return Send(bytes((0x05, wanted)))

    def _read_credentials(self) -> Event | None:
        """VER, ULEN, UNAME, PLEN, PASSWD (RFC 1929 section 2)."""
        buffer = self._buffer
        if buffer and buffer[0] != 0x01:
            return self._fail(b"\x01\x01", f"unknown version of username/password: 0x{buffer[0]:02X}")
        if len(buffer) < 2 or len(buffer) < 3 + buffer[1]:
            return None
        user_end = 2 + buffer[1]
        end = user_end + 1 + buffer[user_end]
        if len(buffer) < end:
            return None
        username, password = bytes(buffer[2:user_end]), bytes(buffer[user_end + 1 : end])
        if self._credentials is None or not self._credentials(username, password):
            return self._fail(b"\x01\x01", "wrong username or password")
        del buffer[:end]
        self._state = _State.SOCKS5_REQUEST
        return Send(b"\x01\x00")

    def _read_socks5_request(self) -> Event | None:
        """VER, CMD, RSV, ATYP, DST.ADDR, DST.PORT (RFC 1928 section 4)."""
        buffer = self._buffer
        if len(buffer) < 5:  # up to the first byte of DST.ADDR, which is the length of a name
            return None
        version, command, _reserved, address_type, length = buffer[:5]  # RSV is ignored, as OpenSSH does
        if version != 0x05:
            return self._refuse(f"version 0x{version:02X} in a SOCKS5 request")
        spans = {_IPV4: (4, 8), _IPV6: (4, 20), _NAME: (5, 5 + length)}
        if address_type not in spans:
            unknown = f"unknown address type 0x{address_type:02X}"
            return self._refuse(unknown, _Reply.ADDRESS_TYPE_NOT_SUPPORTED)
        start, end = spans[address_type]
        if len(buffer) < end + 2:
            return None
        if command != _CONNECT:
            return self._refuse(_unsupported(command), _Reply.COMMAND_NOT_SUPPORTED)
        host = _host(address_type, bytes(buffer[start:end]))
        if host is None:
            return self._refuse(_BAD_NAME)
        return self._request(host, int.from_bytes(buffer[end : end + 2], "big"), length=end + 2)

    def _request(self, host: str, port: int, *, length: int) -> ConnectRequest:
        del self._buffer[:length]  # what stays is ``trailing``
        self._state = _State.CONNECTING
        return ConnectRequest(host, port)

    def _fail(self, reply: bytes, reason: str) -> Fail:
        self._state = _State.CLOSED
        self._buffer.clear()
        return Fail(reply, reason)

    def _refuse(self, reason: str, code: _Reply = _Reply.GENERAL_FAILURE) -> Fail:
        return self._fail(self._reply(code), reason)

    def _reply(self, code: _Reply) -> bytes:
        if self._version == 4:  # VN, which is 0 in a reply; CD; DSTPORT and DSTIP, which clients ignore
            return bytes((0x00, _GRANTED if code is _Reply.SUCCEEDED else _REJECTED)) + bytes(6)
        return bytes((0x05, code, 0x00, _IPV4)) + bytes(6)  # VER, REP, RSV, ATYP, BND.ADDR, BND.PORT

    _READERS: ClassVar[Mapping[_State, Callable[[SocksServer], Event | None]]] = {
        _State.VERSION: _read_version,
        _State.SOCKS4_REQUEST: _read_socks4_request,
        _State.METHODS: _read_methods,
        _State.CREDENTIALS: _read_credentials,
        _State.SOCKS5_REQUEST: _read_socks5_request,
    }


def _host(address_type: int, raw: bytes) -> str | None:
    """Return the address as text, or the name; ``None`` unless the name is graphic ASCII.

    An internationalised name is, in its ``xn--`` form (RFC 5890). Anything else could only hide something
    from a log or from a resolver.
    """
    if address_type == _IPV4:
        return ".".join(map(str, raw))
    if address_type == _IPV6:
        import ipaddress  # noqa: PLC0415 - slow to load, and few clients ever send one

        return str(ipaddress.IPv6Address(raw))
    return raw.decode("ascii") if raw and all(0x21 <= byte <= 0x7E for byte in raw) else None


def _unsupported(command: int) -> str:
    name = _OTHER_COMMANDS.get(command, f"command 0x{command:02X}")
    return f"the client asked for {name}; a tunnel carries CONNECT only"
