"""Lets go of what a connection needed only to be made: with it each one keeps 47 kB of objects, without it 23.

asyncssh 2.24.1 keeps for each connection its options, as objects, as keyword arguments and as what it read from
them; lists of algorithms that are equal for nearly all; both sides' offers of the key exchange; and whom it has to
ask during the login. All of that is either equal for every connection of this process, and shared from here on;
or made anew when it is needed again, at a rekeying; or not asked for again once the server has let us in.

Only where the version is known: what another one needs after the login, nobody knows.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import asyncssh

from tunnels.ssh.fast_path import KNOWN

#: Offers of a rekeying. They do not change, and are the same for all who have chosen none of their own.
_LISTS = ("_kex_algs", "_enc_algs", "_mac_algs", "_cmp_algs", "_sig_algs", "_server_host_key_algs")

#: What asyncssh trusts by itself. These have been empty from the beginning: see `host_key_guard`.
_SETS = ("_trusted_host_keys", "_trusted_ca_keys", "_revoked_host_keys", "_x509_revoked_certs")

#: What asyncssh reads in the options of a connection after the login: how a session is to be.
_SESSION = (
    *(
        "command",
        "encoding",
        "env",
        "errors",
        "max_pktsize",
        "request_pty",
        "send_env",
        "subsystem",
        "term_modes",
    ),
    *("term_size", "term_type", "window", "x11_auth_path", "x11_display", "x11_forwarding"),
    "x11_single_connection",
)

#: Different lists that are shared; whoever has more than that of them keeps his own.
MAX_SHARED = 256

_shared: dict[tuple[bytes, ...], list[bytes]] = {}
_nothing: frozenset[Any] = frozenset()
_sessions: list[SimpleNamespace] = []  # one: none of ours says anything about them


def slim(conn: asyncssh.SSHClientConnection) -> None:
    """Let go of it, right after the login."""
    if asyncssh.__version__ not in KNOWN:
        return
    private: Any = conn
    for name in _LISTS:
        found = getattr(private, name, None)
        if type(found) is list:
            setattr(private, name, _one_of_all(found))
    for name in _SETS:
        if getattr(private, name, None) == set():
            setattr(private, name, _nothing)
    _forget_the_key_exchange(private)
    private._server_sig_algs = _nothing  # noqa: SLF001 - what it takes of a key at login
    private._protocol_factory = None  # noqa: SLF001
    private._waiter = None  # noqa: SLF001
    vars(private).pop("_packet_handlers", None)  # ours, that listened to the login: see `login_replies`
    private._options = _common_options(private._options)  # noqa: SLF001


def _forget_the_key_exchange(private: Any) -> None:
    """Both offers are parts of what is signed, and are made anew each time; not while one is under way."""
    if private._kex_complete and private._kex is None and not private._kexinit_sent:  # noqa: SLF001
        private._client_kexinit = private._server_kexinit = b""  # noqa: SLF001


def _one_of_all(found: list[bytes]) -> list[bytes]:
    key = tuple(found)
    if key not in _shared and len(_shared) >= MAX_SHARED:
        return found
    return _shared.setdefault(key, found)


def _common_options(options: Any) -> SimpleNamespace:
    these = SimpleNamespace(**{name: getattr(options, name) for name in _SESSION})
    if not _sessions:
        _sessions.append(these)
    return _sessions[0] if these == _sessions[0] else these
