"""An honest client for SOCKS 4, 4a and 5, which tells the proxy's answers apart."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import NoReturn

CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3

SUCCEEDED = 0x00
NOT_ALLOWED = 0x02
HOST_UNREACHABLE = 0x04
CONNECTION_REFUSED = 0x05
COMMAND_NOT_SUPPORTED = 0x07

SOCKS4_GRANTED, SOCKS4_REJECTED = 0x5A, 0x5B


class SocksRefused(Exception):
    """The proxy answered that it will not, or cannot."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the proxy answered {code:#04x}")
        self.code = code


def _refuse(code: int) -> NoReturn:
    raise SocksRefused(code)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError(f"the proxy hung up after {bytes(data)!r}")
        data += piece
    return bytes(data)


def socks5(
    proxy_port: int,
    host: str,
    port: int,
    *,
    command: int = CONNECT,
    proxy_host: str = "127.0.0.1",
    timeout: float = 15,
) -> socket.socket:
    """Return a connection to ``host:port``; a name is sent as a name, an address as an address (RFC 1928)."""
    connection = socket.create_connection((proxy_host, proxy_port), timeout=timeout)
    try:
        connection.sendall(b"\x05\x01\x00")
        chosen = _exactly(connection, 2)
        if chosen != b"\x05\x00":
            _refuse(chosen[1])
        connection.sendall(bytes([5, command, 0]) + _address(host) + struct.pack("!H", port))
        version, code, reserved, kind = _exactly(connection, 4)
        assert (version, reserved) == (5, 0), (version, reserved)
        length = {1: 4, 4: 16}.get(kind) or _exactly(connection, 1)[0]
        _exactly(connection, length + 2)
        if code != SUCCEEDED:
            assert connection.recv(1) == b"", "a proxy that has refused hangs up (RFC 1928 section 6)"
            _refuse(code)
    except BaseException:
        connection.close()
        raise
    return connection


def _address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode()
        return bytes([3, len(name)]) + name
    return bytes([1 if address.version == 4 else 4]) + address.packed


def socks4(
    proxy_port: int, host: str, port: int, *, proxy_host: str = "127.0.0.1", timeout: float = 15
) -> socket.socket:
    """Return a connection to ``host:port``: version 4 for an address, 4a for a name."""
    try:
        address, name = ipaddress.IPv4Address(host).packed, b""
    except ValueError:
        address, name = b"\0\0\0\x01", host.encode() + b"\0"
    connection = socket.create_connection((proxy_host, proxy_port), timeout=timeout)
    try:
        connection.sendall(b"\x04\x01" + struct.pack("!H", port) + address + b"tester\0" + name)
        null, code = _exactly(connection, 8)[:2]
        assert null == 0, null
        if code != SOCKS4_GRANTED:
            _refuse(code)
    except BaseException:
        connection.close()
        raise
    return connection
