"""Has the server listen, and says why it does not. What stands in the way of a socket is `ssh.remote_socket`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import asyncssh

from tunnels.core.address import Address, TcpAddress, sent_host
from tunnels.errors import ListenError
from tunnels.forwarding.channel import ListenRefused, Origin, RemoteListener
from tunnels.ssh.channel import ForwardChannel
from tunnels.tasks import TaskScope

#: Called for every client: gives what its channel is coupled to, or raises ChannelOpenError.
Accept = Callable[[Origin], Coroutine[Any, Any, Any]]


class Accepted:
    """A channel of ours that the server wants to open, in the place of one of asyncssh's."""

    def __init__(self, channel: ForwardChannel, scope: TaskScope) -> None:
        self._channel = channel
        self._scope = scope

    def process_open(
        self, send_chan: int, send_window: int, send_pktsize: int, session: Callable[[], Awaitable[Any]]
    ) -> None:
        """Answer the server, as soon as it is known who takes the channel."""
        opening = self._channel.accept(send_chan, send_window, send_pktsize, session)
        self._scope.spawn(opening, name="client of a remote forward")


#: Makes a channel for a client; None where asyncssh is to make it.
Accepting = Callable[[], Accepted]


async def listen(
    conn: asyncssh.SSHClientConnection, address: Address, accept: Accept, accepting: Accepting | None
) -> RemoteListener:
    """Have the server listen. Raises what asyncssh raises: ChannelListenError for every sort of refusal."""
    listener: Any
    if not isinstance(address, TcpAddress):

        def accept_unix() -> Any:
            return accept(("", 0))

        listener = await conn.create_unix_server(accept_unix, address.path)
    else:

        def accept_tcp(host: str, port: int) -> Any:
            return accept((host, port))

        # An empty host is every interface, which nobody may get without asking for it: `sent_host` sees to that.
        listener = await conn.create_server(accept_tcp, sent_host(address), address.port)
    if accepting is not None:

        def process_connection(
            host: str = "", port: int = 0
        ) -> tuple[Accepted, Callable[[], Awaitable[Any]]]:
            return accepting(), lambda: accept((host, port))

        listener.process_connection = process_connection
    return _Listener(listener)


class _Listener:
    """A listening address on the server."""

    def __init__(self, listener: asyncssh.SSHListener) -> None:
        self._listener = listener

    @property
    def port(self) -> int:
        return self._listener.get_port()

    async def aclose(self) -> None:
        self._listener.close()
        await self._listener.wait_closed()


def port_refused(address: TcpAddress) -> ListenError:
    """The server says no to a port, and never why (RFC 4254 section 7.1)."""
    if address.port != 0 and address.port < 1024:
        hint = f"only root may listen on ports below 1024 there; try {address.port + 8000}"
    else:
        hint = (
            "the port may be in use there, perhaps by our own last connection (ClientAliveInterval in sshd_config "
            "shortens that), or sshd_config does not allow it: AllowTcpForwarding, PermitListen, GatewayPorts"
        )
    return ListenRefused(f"the server refused to listen on {address}", hint=hint)
