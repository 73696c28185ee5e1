"""Asking a real sshd to listen on a unix socket; ports are in ``test_connection``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.bed.sshd import Sshd, find_sshd
from tests.forwarding import fakes
from tests.forwarding.fakes import RecordingEnd, connect_unix, until
from tests.ssh.test_connection import connected, its, sshd
from tunnels.core.address import TcpAddress, UnixAddress
from tunnels.forwarding.channel import ChannelEnd, ListenRefused, Origin
from tunnels.ssh.remote_listen import port_refused

__all__ = ["sshd"]

every_loop = fakes.every_loop


@pytest.mark.openssh
@pytest.mark.skipif(find_sshd() is None, reason="no sshd: install OpenSSH's server (openssh-server)")
@pytest.mark.usefixtures("every_loop")
async def test_a_client_of_a_socket_on_the_server_comes_through(home: Path, sshd: Sshd) -> None:
    path = home / "far.sock"
    end = RecordingEnd()
    origins: list[Origin] = []

    async def accept(origin: Origin) -> ChannelEnd:
        origins.append(origin)
        return end

    async with connected(sshd) as connection:
        listener = await connection.listen(UnixAddress(str(path)), accept)
        with connect_unix(str(path)) as client:
            await client.send(b"hello")
            await until(lambda: end.data == b"hello")
        assert origins == [("", 0)]
        await listener.aclose()
        assert not its(connection).is_closed()


def test_a_refused_port_may_be_held_by_our_own_last_connection() -> None:
    refused = port_refused(TcpAddress(None, 2222))
    assert isinstance(refused, ListenRefused)
    assert "AllowTcpForwarding" in (refused.hint or "")
    assert "8022" in (port_refused(TcpAddress(None, 22)).hint or "")
