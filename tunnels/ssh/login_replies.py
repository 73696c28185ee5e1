"""Hears what a server says about each request to log in.

asyncssh 2.24.1 takes the message of a refused request (RFC 4252 section 5.1) apart and tells its client object
nothing of it: neither that it was a partial success, nor which methods can go on. Where asyncssh has no such
names any more nothing is heard, and `tunnels.ssh.login` bounds itself without it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket

#: RFC 4252 section 6.
MSG_USERAUTH_FAILURE = 51

#: Methods, and characters of one, that are kept of what a server lists.
MAX_METHODS = 16
MAX_METHOD = 64


class Heard(Protocol):
    """Told of a reply: to which method, which methods can go on, and whether it was a partial success."""

    def __call__(self, method: str, methods: tuple[str, ...], *, partial: bool) -> None:
        """Must not raise."""


def listen(conn: asyncssh.SSHClientConnection, heard: Heard) -> None:
    """Have ``heard`` told of every refused request of this connection, before asyncssh acts on it."""
    private: Any = conn
    handlers: Any = getattr(private, "_packet_handlers", None)
    handle: Callable[..., Any] | None = (
        handlers.get(MSG_USERAUTH_FAILURE) if isinstance(handlers, dict) else None
    )
    if handle is None:
        return

    def failure(this: Any, kind: int, number: int, packet: SSHPacket) -> Any:
        reply = _parse(packet.get_remaining_payload())
        if reply is not None:
            methods, partial = reply
            method = getattr(getattr(this, "_auth", None), "_method", b"")
            heard(_text(method), methods, partial=partial)
        return handle(this, kind, number, packet)

    private._packet_handlers = {**handlers, MSG_USERAUTH_FAILURE: failure}  # noqa: SLF001


def _parse(payload: bytes) -> tuple[tuple[str, ...], bool] | None:
    packet = SSHPacket(payload)
    try:
        methods = packet.get_namelist()
        partial = packet.get_boolean()
    except PacketDecodeError:  # asyncssh says what is to be said about it
        return None
    return tuple(map(_text, methods[:MAX_METHODS])), partial


def _text(method: bytes) -> str:
    return method[:MAX_METHOD].decode("ascii", "replace")
