"""Notes what a server says before, or instead of, its version: whoever speaks HTTP is no SSH server.

It puts a method of its own in front of one of asyncssh's (verified with 2.24.1), which changes nothing; asyncssh
itself takes it away when the version has come. Where another version has none of that name, nothing is heard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Bytes kept of it, which is anything where it is no SSH server.
MAX_HEARD = 256


def listen(conn: Any, tell: Callable[[bytes], None]) -> None:
    """Tell the beginning of what has been said; again when more of it has come."""
    receive: Callable[[], bool] | None = getattr(conn, "_recv_handler", None)
    if receive is None:
        return
    told = b""

    def hear() -> bool:
        nonlocal told
        # Each call takes one line away, so what came first is only there at the first.
        heard = bytes(getattr(conn, "_inpbuf", b"")[:MAX_HEARD])
        if len(heard) > len(told) and heard.startswith(told) and not heard.startswith(b"SSH-"):
            told = heard
            tell(heard)
        return receive()

    conn._recv_handler = hear  # noqa: SLF001 - asyncssh has no public way


def note(conn: Any) -> Callable[[], bytes]:
    """Listen; returns what tells the beginning of what was said, which is nothing once the version has come."""
    words = b""

    def hear(heard: bytes) -> None:
        nonlocal words
        words = heard

    listen(conn, hear)
    return lambda: b"" if conn.get_extra_info("server_version") else words
