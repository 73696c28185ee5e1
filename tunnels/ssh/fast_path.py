"""Whether connections carry their data on our own `wire` and `channel`, or on asyncssh's.

Ours use names of asyncssh that are not public. So they are used only with versions of it that all of this
was tested with, only where each of these names is there, and not at all with ``TUNNELS_FAST_PATH=off``.
Otherwise asyncssh's own channels carry the data (`stock`): slower, and just as well.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import asyncssh

from tunnels.ssh.wire import Wire

#: Versions of asyncssh whose inside is known.
KNOWN = frozenset({"2.24.1"})

#: Switches it off for the whole process: ``off``, ``no``, ``false`` or ``0``.
SWITCH = "TUNNELS_FAST_PATH"

#: What `wire` and `channel` use of a connection. The names without an underscore are not documented either.
_ATTRIBUTES = (
    *("_channels", "_compressor", "_decompressor", "_deferred_packets", "_enc_alg_cs", "_inpbuf"),
    *("_keepalive_interval", "_keepalive_timer", "_kex_complete", "_pktlen", "_recv_blocksize"),
    *(
        "_recv_encryption",
        "_recv_macsize",
        "_recv_seq",
        "_rekey_bytes",
        "_rekey_bytes_sent",
        "_rekey_seconds",
    ),
    *("_rekey_time", "_send_encryption", "_send_seq", "_transport"),
)
_METHODS = (
    *("_keepalive_timer_callback", "_recv_handler", "_recv_packet", "_recv_pkthdr", "_send_deferred_packets"),
    *("add_channel", "data_received", "pause_writing", "remove_channel", "resume_writing"),
    *("send_channel_open_confirmation", "send_channel_open_failure", "send_packet"),
)

_log = logging.getLogger("tunnels")
_said: set[str] = set()


def install(conn: asyncssh.SSHClientConnection) -> Wire | None:
    """Take the data of a connection that has just logged in; None: asyncssh keeps it."""
    if os.environ.get(SWITCH, "").lower() in {"off", "no", "false", "0"}:
        return None
    reason = _unknown(conn)
    if reason is None:
        private: Any = conn
        return None if private._transport is None else Wire(conn)  # noqa: SLF001 - it has been lost already
    if reason not in _said:  # once, and not for every tunnel
        _said.add(reason)
        _log.warning("%s: connections work, but carry less data for the same processor time", reason)
    return None


def _unknown(conn: Any) -> str | None:
    if asyncssh.__version__ not in KNOWN:
        return f"asyncssh {asyncssh.__version__} is not a version whose fast path is known"
    missing = [name for name in _ATTRIBUTES if not hasattr(conn, name)]
    missing += [name for name in _METHODS if not callable(getattr(conn, name, None))]
    return f"asyncssh has no {', '.join(missing)}" if missing else None
