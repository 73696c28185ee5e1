"""Tries each end of a forward for a moment, and gives it back: for `tunnels doctor`, which changes nothing.

What is tried is the real thing: our own sockets are bound as a tunnel would bind them, the server is asked to
listen and to connect. Everything is bounded in time.
"""

from __future__ import annotations

import asyncio
import socket
import stat
from dataclasses import replace
from pathlib import Path

from tunnels.core.address import Address, TcpAddress, UnixAddress, describe_listen
from tunnels.errors import DialError, DialReason, ListenError
from tunnels.forwarding.channel import ChannelEnd, Link, ListenRefused, Origin
from tunnels.forwarding.glance import Found, reach_from_server
from tunnels.forwarding.listener import Listener
from tunnels.forwarding.ports import PRIVILEGED
from tunnels.forwarding.unix_listener import UnixListener, expand

#: Seconds for the server to say whether it listens.
ASK_TIMEOUT = 10.0

#: Seconds for a client of the server's listener to be announced to us, after it has connected.
KNOCK_TIMEOUT = 2.0

# --- here ---------------------------------------------------------------------------------------------


async def listen_here(address: Address) -> Found:
    """Take the address, as a tunnel would, and give it back. Raises ListenError, naming who has it."""
    if isinstance(address, TcpAddress):
        listener = await Listener.bind(address, asyncio.Protocol)
        listener.close()
        return Found(f"{describe_listen(address)} is free here")
    path = expand(address)
    if _is_dead_socket(path):  # a tunnel would replace it; here it stays
        return Found(f"{path}: a socket that nobody listens on any more will be replaced")
    unix = await UnixListener.bind(address, asyncio.Protocol)
    unix.close()
    return Found(f"{path} is free here")


def _is_dead_socket(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(path)
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


# --- on the server ------------------------------------------------------------------------------------


async def _connects(link: Link, address: TcpAddress) -> bool | None:
    """Whether somebody answers there on the server's side; None where the server does not let us see."""
    try:
        await reach_from_server(link, address)
    except DialError as error:
        return False if error.reason is DialReason.REFUSED else None
    return True


async def forwards_at_all(link: Link, port: int) -> Found:
    """Whether the server connects to anything for us; ``port`` is its own SSH port. Raises DialError."""
    try:
        await reach_from_server(link, TcpAddress("127.0.0.1", port))
    except DialError as error:
        if error.reason is DialReason.PROHIBITED:
            raise DialError(
                "the server does not connect the clients of a proxy for this login",
                reason=error.reason,
                hint="AllowTcpForwarding (yes or local), PermitOpen and DisableForwarding in its sshd_config decide, "
                "and restrict or permitopen at the key in authorized_keys",
            ) from error
    return Found("the server connects where clients want to go")


class _Door:
    """Takes nobody in, and knows whether somebody has knocked."""

    def __init__(self) -> None:
        self.knocked = asyncio.Event()

    async def accept(self, _origin: Origin) -> ChannelEnd:
        self.knocked.set()
        raise DialError("nobody is at home: this was only a question")

    async def is_at(self, link: Link, address: TcpAddress) -> bool | None:
        """Whether who connects there on the server comes to us; False: to somebody else; None: nobody can tell."""
        self.knocked.clear()
        if not await _connects(link, address):
            return None
        try:
            # The server tells us of its new client about when it tells us that our channel is open.
            async with asyncio.timeout(KNOCK_TIMEOUT):
                await self.knocked.wait()
        except TimeoutError:
            return False
        return True


async def listen_there(link: Link, address: TcpAddress, seen_at: str | None) -> Found:
    """Have the server listen, look who could reach that, and give it back.

    ``seen_at`` is an address of the server that other machines use, where one is known. Raises ListenError,
    or LinkLost.
    """
    door = _Door()
    try:
        async with asyncio.timeout(ASK_TIMEOUT):
            listener = await link.listen(address, door.accept)
    except TimeoutError:
        raise ListenError(
            f"the server has not said within {ASK_TIMEOUT:g} s whether it listens on {address}"
        ) from None
    except ListenRefused as refusal:
        raise await _why_refused(link, address) from refusal
    try:
        port = listener.port or address.port
        warning = None
        if address.is_loopback and await door.is_at(link, TcpAddress("127.0.0.1", port)) is False:
            # "localhost" is two addresses, and sshd is content with one of them.
            warning = (
                f"another program on the server has port {port} of 127.0.0.1: only clients of ::1 will come here; "
                f"`sudo ss -ltnp 'sport = :{port}'` there names it"
            )
        elif seen_at is not None:
            open_to_others = await _connects(link, TcpAddress(seen_at, port))
            warning = _who_reaches(address, open_to_others, seen_at)
    finally:
        await listener.aclose()
    return Found(f"the server may listen on {describe_listen(address)}", warning)


def _who_reaches(address: TcpAddress, open_to_others: bool | None, seen_at: str) -> str | None:
    if open_to_others and address.is_loopback:
        return (
            "other machines can reach this port there, though that was not asked for: GatewayPorts in its "
            "sshd_config is yes"
        )
    if open_to_others is False and address.host in {"*", "0.0.0.0", "::", seen_at}:  # noqa: S104 - only compared
        return (
            "other machines cannot reach this port there: set GatewayPorts clientspecified in its sshd_config "
            "(with its default, no, it listens on loopback whatever it is asked for)"
        )
    return None


async def _why_refused(link: Link, address: TcpAddress) -> ListenError:
    """Find out what the server does not say (RFC 4254 section 7.1): whether the port is taken or not allowed."""
    host = "127.0.0.1" if address.is_loopback or address.host == "*" else address.host
    if address.port and await _connects(link, TcpAddress(host, address.port)):
        return ListenRefused(
            f"port {address.port} is in use on the server",
            hint=f"perhaps by our own last connection, or a tunnel of another machine; `sudo ss -ltnp 'sport = "
            f":{address.port}'` there says by whom. ClientAliveInterval 15 in its sshd_config ends dead ones sooner",
        )
    if address.port and await _may_listen(link, replace(address, port=0)):
        if address.port < PRIVILEGED:
            return ListenError(
                f"the server refused to listen on {address}: ports below {PRIVILEGED} are for root alone there",
                hint=f"use a port above, for example {address.port + 8000}",
            )
        return ListenError(
            f"the server refused to listen on {address}, and allows other ports",
            hint=f"it may be in use there by something that answers nobody: `sudo ss -tnap | grep :{address.port}`",
        )
    return ListenError(
        f"the server does not allow this login to listen on {address}",
        hint=f"AllowTcpForwarding (yes or remote), PermitListen (with {address.port} in it, or any) and "
        "DisableForwarding in its sshd_config decide, and restrict or permitlisten at the key in authorized_keys",
    )


async def _may_listen(link: Link, address: TcpAddress) -> bool:
    try:
        async with asyncio.timeout(ASK_TIMEOUT):
            listener = await link.listen(address, _Door().accept)
    except (ListenError, TimeoutError):
        return False
    await listener.aclose()
    return True


async def socket_there(link: Link, address: UnixAddress) -> Found:
    """Look whether somebody listens at a path on the server. It is not tried: sshd would leave its file behind.

    Raises ListenError, or LinkLost.
    """
    try:
        await reach_from_server(link, address)
    except DialError as error:
        if error.reason is DialReason.PROHIBITED:
            return Found("not tried", "the server does not say whether somebody listens there already")
        return Found(
            f"nobody answers at {address} there; not tried, because sshd would leave its file behind"
        )
    raise ListenRefused(
        f"somebody listens at {address} on the server already",
        hint="perhaps it is our own last connection (ClientAliveInterval in its sshd_config ends dead ones), or "
        "another program there: then use another path",
    )
