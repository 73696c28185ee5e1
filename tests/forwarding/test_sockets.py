"""A socket under a transport is reset, or written to directly where nothing is in between."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from tests.forwarding import fakes
from tests.forwarding.fakes import Peer, tcp_pair
from tunnels.forwarding.sockets import descriptor, reset

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")


async def taken(sock: socket.socket) -> asyncio.BaseTransport:
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, sock)
    return transport


async def test_the_peer_of_what_is_reset_sees_no_end_of_file() -> None:
    near, far = tcp_pair()
    with Peer(near) as peer:
        reset(await taken(far))
        with pytest.raises(ConnectionResetError):
            await peer.rest()


async def test_resetting_what_is_no_tcp_socket_just_closes_it() -> None:
    near, far = socket.socketpair()
    far.setblocking(False)
    with Peer(near) as peer:
        reset(await taken(far))
        assert await peer.rest() == b""


async def test_the_descriptor_is_that_of_the_socket() -> None:
    near, far = tcp_pair()
    with near:
        number = far.fileno()
        transport = await taken(far)
        assert descriptor(transport) == number
        transport.close()


def test_what_filters_or_has_no_socket_has_no_descriptor() -> None:
    class Filter:
        filters = True

    class Nothing:
        def get_extra_info(self, _name: str) -> Any:
            return None

    assert descriptor(cast("Any", Filter())) == descriptor(cast("Any", Nothing())) == -1
