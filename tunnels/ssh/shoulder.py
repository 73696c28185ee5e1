"""Looks over asyncssh's shoulder at one connection, while it exchanges keys and logs in.

It puts methods of its own in front of some of the connection's (verified with 2.24.1), which note what passes and
change nothing. Where another version has none of that name, less is seen; nothing else depends on it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import asyncssh

from tunnels.ssh import first_words, known_hosts
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_key_verdict import Standing, lookup
from tunnels.ssh.public_key import shown as as_shown
from tunnels.ssh.symptoms import Seen, weak

#: Keys and answers that are named; a server may ask for ever.
MAX_TRIES = 40

#: Bytes of a known hosts file that are looked at to name the line; the real check has no such bound.
_MAX_FILE = 4 * 1024 * 1024


class Reached(Protocol):
    """Told of a step that is done. At a rekeying, told again."""

    def __call__(self, step: str, detail: str, *, warning: str | None = None) -> None:
        """See `core.checkup.HOP_STEPS`."""


class Shoulder:
    """One connection of asyncssh, with our methods in front of its own."""

    def __init__(
        self,
        conn: Any,
        destination: Destination,
        seen: Seen,
        reached: Reached,
        *,
        name_of: Callable[[asyncssh.SSHKeyPair], str | None] = lambda _pair: None,
    ) -> None:
        self._conn = conn
        self._destination = destination
        self._seen = seen
        self._reached = reached
        self._known_name = name_of
        self._key: asyncssh.SSHKeyPair | None = None  # the one that is being tried

    def look(self) -> None:
        """Put them there."""
        conn = self._conn
        first_words.listen(conn, self._hears)
        for name, ours in (
            ("set_extra_info", self._learns),
            ("_choose_alg", self._chooses),
            ("validate_server_host_key", self._validates),
            ("public_key_auth_requested", self._picks_key),
            ("send_userauth_request", self._asks_to_enter),
            ("try_next_auth", self._goes_on),
        ):
            theirs = getattr(conn, name, None)
            if theirs is not None:
                setattr(conn, name, ours(theirs))

    def _hears(self, heard: bytes) -> None:
        self._seen.heard = heard

    def _learns(self, learn: Callable[..., None]) -> Callable[..., None]:
        def learns(**info: Any) -> None:
            learn(**info)
            if "server_version" in info:
                self._seen.version = str(info["server_version"])[: first_words.MAX_HEARD]
                self._reached("banner", self._seen.version)

        return learns

    def _chooses(self, choose: Callable[..., bytes]) -> Callable[..., bytes]:
        def chooses(what: str, ours: Sequence[bytes], theirs: Sequence[bytes]) -> bytes:
            try:
                chosen = choose(what, ours, theirs)
            except asyncssh.KeyExchangeFailed:
                names = tuple(name.decode("ascii", "replace") for name in theirs)
                self._seen.nothing_in_common = (what, names)
                raise
            self._seen.chosen.setdefault(what, chosen.decode("ascii", "replace"))
            return chosen

        return chooses

    def _validates(self, validate: Callable[[bytes], asyncssh.SSHKey]) -> Callable[[bytes], asyncssh.SSHKey]:
        def validates(blob: bytes) -> asyncssh.SSHKey:
            used = list(dict.fromkeys(self._algorithms()))
            bad = weak(used)
            warning = (
                f"weak, and no longer OpenSSH's default: {', '.join(bad)}; update the server" if bad else None
            )
            self._reached("kex", ", ".join(used), warning=warning)
            key = validate(blob)
            detail, warning = _standing(self._destination, key.public_data, is_plain=key.public_data == blob)
            self._reached("host-key", detail, warning=warning)
            return key

        return validates

    def _algorithms(self) -> list[str]:
        chosen = self._seen.chosen
        names = [chosen.get(what) for what in ("key exchange", "encryption", "MAC")]
        if chosen.get("compression", "none") != "none":
            names.append(chosen["compression"])
        return [name for name in names if name]

    def _picks_key(self, pick: Callable[[], Any]) -> Callable[[], Any]:
        async def picks() -> asyncssh.SSHKeyPair | None:
            pair: asyncssh.SSHKeyPair | None = await pick()
            self._key = pair
            return pair

        return picks

    def _asks_to_enter(self, send: Callable[..., Any]) -> Callable[..., Any]:
        async def asks(method: bytes, *args: bytes, key: Any = None, trivial: bool = True) -> None:
            seen, name = self._seen, method.decode("ascii", "replace")
            if name == "publickey" and self._key is not None:
                name = self._name_of(self._key)
            if name != "none" and name not in seen.tries and len(seen.tries) < MAX_TRIES:
                seen.tries[name] = ""
            seen.last = name
            try:
                await send(method, *args, key=key, trivial=trivial)
            except ValueError as exc:  # an agent that was told no, a token that was pulled out
                seen.tries[name] = f"known there, and cannot sign: {exc}"
                raise
            if key is not None:
                seen.tries[name] = "known there, and more is wanted"  # until the server says otherwise

        return asks

    def _name_of(self, pair: Any) -> str:
        name = self._known_name(pair) or pair.get_comment(errors="replace") or pair.get_algorithm()
        until = getattr(getattr(pair, "_cert", None), "_valid_before", None)
        if until is None:
            return f"{name}"
        # 2^64-1 is for ever (PROTOCOL.certkeys); datetime ends earlier.
        if until >= 253402300800:  # the year 10000
            return f"{name} (certificate)"
        day = dt.datetime.fromtimestamp(until).astimezone()
        word = "expired on" if until <= time.time() else "good until"
        return f"{name} (certificate, {word} {day:%Y-%m-%d %H:%M})"

    def _goes_on(self, go_on: Callable[..., None]) -> Callable[..., None]:
        def goes_on(*, next_method: bool = False) -> None:
            seen = self._seen
            methods = tuple(self._conn.get_server_auth_methods())
            if not seen.methods and methods != ("none",):  # which is what asyncssh begins with
                seen.methods = methods
            if not next_method and seen.last in seen.tries and not seen.tries[seen.last]:
                seen.tries[seen.last] = "refused"
            go_on(next_method=next_method)

        return goes_on


def _standing(destination: Destination, blob: bytes, *, is_plain: bool) -> tuple[str, str | None]:
    """How a key is known that was accepted; and what there is to know about that."""
    shown = as_shown(blob)
    if not is_plain:
        return f"{shown}, in a certificate that a known authority has signed", None
    names = known_hosts.host_names(destination.hostname, destination.port, destination.host_key_alias)
    entries: list[known_hosts.Entry] = []
    for file in (*destination.user_known_hosts_files, *destination.global_known_hosts_files):
        try:
            with Path(file).open("rb") as opened:
                text = opened.read(_MAX_FILE).decode(errors="surrogateescape")
        except OSError:
            continue
        entries += known_hosts.parse(text, file, names=names)
    verdict = lookup(entries, names, blob)
    if verdict.standing is Standing.KNOWN:
        return f"{shown}, known by {verdict.entries[0].where}", None
    return shown, "not on file yet: `tunnels up` will accept it and write it down, as accept-new says"
