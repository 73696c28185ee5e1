"""What is sent to open a channel, as asyncssh would send it."""

from __future__ import annotations

from asyncssh.packet import SSHPacket, String

from tunnels.core.address import TcpAddress, UnixAddress
from tunnels.ssh.channel_open import direct


def test_a_port_is_asked_for_with_where_the_client_comes_from() -> None:
    kind, body = direct(TcpAddress("db.internal", 5432), ("127.0.0.1", 4711))
    packet = SSHPacket(body)
    assert kind == String("direct-tcpip")
    assert (packet.get_string(), packet.get_uint32()) == (b"db.internal", 5432)
    assert (packet.get_string(), packet.get_uint32()) == (b"127.0.0.1", 4711)
    packet.check_end()


def test_a_port_without_a_host_is_one_of_the_servers_own() -> None:
    _, body = direct(TcpAddress(None, 80), ("", 0))
    assert SSHPacket(body).get_string() == b"localhost"


def test_a_socket_is_asked_for_by_its_path() -> None:
    kind, body = direct(UnixAddress("/run/db.sock"), ("", 0))
    packet = SSHPacket(body)
    assert kind == String("direct-streamlocal@openssh.com")
    assert (packet.get_string(), packet.get_string(), packet.get_uint32()) == (b"/run/db.sock", b"", 0)
    packet.check_end()
