"""Watches an attempt to connect: what it does becomes steps, one after the other, for `tunnels doctor`.

It looks over asyncssh's shoulder by putting its own methods in front of some of the connection's (verified
with 2.24.1). Where another version has none of that name, the step says less; nothing else depends on it.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncssh

from tunnels.core.checkup import HOP_STEPS, Step
from tunnels.core.profile import HostKeyPolicy, Profile
from tunnels.errors import TunnelsError
from tunnels.ssh import known_hosts
from tunnels.ssh.addresses import try_each
from tunnels.ssh.destination import Destination, Route
from tunnels.ssh.dial import ATTEMPT_DELAY
from tunnels.ssh.host_keys import policy_for
from tunnels.ssh.keys import Keys
from tunnels.ssh.known_hosts import Standing
from tunnels.ssh.steps import Steps
from tunnels.ssh.symptoms import Seen, explain, weak

#: Bytes kept of what a server says before its version, which is anything where it is no SSH server.
MAX_HEARD = 256

#: Keys and answers that are named; a server may ask for ever.
MAX_TRIES = 40

#: Bytes of a known hosts file that are looked at to name the line; the real check has no such bound.
_MAX_FILE = 4 * 1024 * 1024


@dataclass(slots=True)
class _Hop:
    """What is known of one server."""

    destination: Destination
    through: bool = False
    gathering: bool = False  #: keys; nothing else has happened yet
    at: int = 0  #: the step that is going on, in `HOP_STEPS`
    since: float = 0.0
    seen: Seen = field(default_factory=Seen)
    key: asyncssh.SSHKeyPair | None = None  #: the one that is being tried
    names: dict[int, str] = field(default_factory=dict)  #: of keys, by `id`


class Watch(Steps):
    """The steps of one attempt. What was told in an earlier one of the same profile is not told again."""

    def __init__(
        self,
        profile: Profile,
        *,
        began: Callable[[str], None],
        tell: Callable[[Step], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._profile = profile
        self._began = began
        self._tell = tell
        self._clock = clock
        self._told: set[tuple[int, str]] = set()
        self._hops: list[_Hop] = []
        self.route: Route | None = None
        self._way: Step | None = None  #: told when it is taken: something may speak against it
        self._started = clock()

    def again(self) -> None:
        """Another attempt begins; a person has answered."""
        self._hops.clear()

    async def look_closer(self) -> None:
        """Where none of several addresses could be reached, find out what is wrong with each; before `failed`."""
        hop = self._hops[-1] if self._hops else None
        if hop is None or hop.gathering or hop.at >= len(HOP_STEPS) or HOP_STEPS[hop.at] != "tcp":
            return
        if len(hop.seen.addresses) > 1 and not hop.through:
            self._began(f"{hop.destination}: trying each of its addresses")
            hop.seen.outcomes = await try_each(hop.seen.addresses, hop.destination)

    # --- what an attempt tells ------------------------------------------------------------------

    def way(self, route: Route) -> Route:
        """Nothing is written down in passing: a new key that ``accept-new`` takes is taken for this run only."""
        ms = (self._clock() - self._started) * 1000
        hops = tuple(self._without_writing(hop) for hop in route.hops)
        self.route = Route(hops, self._without_writing(route.target))
        self._way = Step("way", True, _describe(route, self._profile), ms)
        return self.route

    def _without_writing(self, destination: Destination) -> Destination:
        if policy_for(destination, self._profile.host_key_policy) is not HostKeyPolicy.ACCEPT_NEW:
            return destination
        return replace(destination, user_known_hosts_files=(os.devnull, *destination.user_known_hosts_files))

    def begins(self, destination: Destination, *, through: bool) -> None:
        """The keys are being gathered."""
        if self._way is not None and (0, "way") not in self._told:
            self._told.add((0, "way"))
            self._tell(self._way)
        self._hops.append(_Hop(destination, through, gathering=True, since=self._clock()))
        self._began(f"{destination}: looking for keys")

    def offers(self, keys: Keys) -> None:
        """It is dialled."""
        hop = self._hops[-1]
        if len(keys.pairs) == len(keys.offered):
            hop.names = {id(pair): name for pair, name in zip(keys.pairs, keys.offered, strict=True)}
        hop.seen.skipped = list(keys.skipped)
        hop.gathering = False
        hop.since = self._clock()
        if hop.through or _is_address(hop.destination.hostname):
            hop.at = HOP_STEPS.index("tcp")
        self._say_what_goes_on()

    def found(self, addresses: tuple[str, ...]) -> None:
        """The name of the first server on the way has these addresses."""
        hop = self._hops[-1]
        hop.seen.addresses = addresses
        if HOP_STEPS[hop.at] == "name":
            nowhere = [each for each in addresses if ipaddress.ip_address(each).is_unspecified]
            warning = None
            if nowhere:
                warning = (
                    f"{nowhere[0]} is nowhere: a filter of advertisements or a hosts file gives that answer, "
                    "and what is connected to then is this machine"
                )
            self._done(", ".join(addresses), warning=warning)

    def made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Somebody has answered; what is said from now on is watched."""
        hop = self._hops[-1]
        peer = conn.get_extra_info("peername")
        hop.at = max(hop.at, HOP_STEPS.index("tcp"))  # a proxy command finds the name out by itself
        if hop.through:
            self._done("connected by the host before it")
        elif not isinstance(peer, tuple):
            self._done("connected by its proxy command")
        else:
            hop.seen.peer = str(peer[0])
            first = next(iter(hop.seen.addresses), hop.seen.peer)
            late = None
            if first != hop.seen.peer:
                late = (
                    f"{first} was asked first, and failed or took more than {ATTEMPT_DELAY:g} s; "
                    "AddressFamily in ssh_config can leave a family out"
                )
            self._done(f"{hop.seen.peer} answered on port {hop.destination.port}", warning=late)
        _Shoulder(conn, self, hop).look()

    def entered(self) -> None:
        """The server has let us in."""
        seen = self._hops[-1].seen
        if seen.last in seen.tries:
            seen.tries[seen.last] = "accepted"
        self._done(seen.how_it_went)

    def failed(self, error: TunnelsError) -> None:
        """Nothing came of it: says where it ended, and what was not tried any more."""
        if self.route is None or not self._hops:  # what ssh_config or the profile says cannot be followed
            self._tell(Step("way", False, error=error.info))
            return
        route = (*self.route.hops, self.route.target)
        at = len(self._hops) - 1
        if self._hops[at].at == len(HOP_STEPS):  # that one let us in; the next could not even be begun
            at = min(at + 1, len(route) - 1)
        for number in range(at, len(route)):
            begun = number < len(self._hops)
            hop = self._hops[number] if begun else _Hop(route[number])
            broken = min(hop.at, len(HOP_STEPS) - 1) if begun else HOP_STEPS.index("host-key")
            if hop.gathering:
                broken = HOP_STEPS.index("login")
            for place, step in enumerate(HOP_STEPS):
                if number == at and place == broken:
                    self._tell(self._broken(step, error, hop))
                elif place >= hop.at and (number, step) not in self._told:
                    self._tell(Step(step, None, host=str(hop.destination)))

    def _broken(self, step: str, error: TunnelsError, hop: _Hop) -> Step:
        said = explain(step, error, hop.destination, hop.seen)
        ms = (self._clock() - hop.since) * 1000 if hop.since else None
        detail = hop.seen.how_it_went if step == "login" else ""
        return Step(step, False, detail, ms, host=str(hop.destination), error=said.info)

    # --- what is seen over asyncssh's shoulder ------------------------------------------------------

    def _done(self, detail: str, *, warning: str | None = None) -> None:
        hop, number = self._hops[-1], len(self._hops) - 1
        now = self._clock()
        step = HOP_STEPS[hop.at]
        if (number, step) not in self._told:
            self._told.add((number, step))
            ms = (now - hop.since) * 1000
            self._tell(Step(step, True, detail, ms, host=str(hop.destination), warning=warning))
        hop.at, hop.since = hop.at + 1, now
        self._say_what_goes_on()

    def _say_what_goes_on(self) -> None:
        hop = self._hops[-1]
        if hop.at < len(HOP_STEPS):
            words = ("finding its address", "connecting", "waiting for its banner", "exchanging keys")
            what = (*words, "looking at its host key", "logging in")[hop.at]
            self._began(f"{hop.destination}: {what}")

    def reached(self, hop: _Hop, step: str, detail: str, *, warning: str | None = None) -> None:
        """A step of the server that is being logged in to is done. Later ones, at a rekeying, do not count."""
        if hop is self._hops[-1] and hop.at < len(HOP_STEPS) and HOP_STEPS[hop.at] == step:
            self._done(detail, warning=warning)


class _Shoulder:
    """One connection of asyncssh, with our methods in front of its own."""

    def __init__(self, conn: Any, watch: Watch, hop: _Hop) -> None:
        self._conn = conn
        self._watch = watch
        self._hop = hop

    def look(self) -> None:
        """Put them there."""
        conn = self._conn
        for name, ours in (
            ("_recv_handler", self._hears),
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

    def _hears(self, receive: Callable[[], bool]) -> Callable[[], bool]:
        def hear() -> bool:
            # Each call takes one line away, so what came first is only there at the first.
            heard = bytes(getattr(self._conn, "_inpbuf", b"")[:MAX_HEARD])
            if len(heard) > len(self._hop.seen.heard) and not heard.startswith(b"SSH-"):
                self._hop.seen.heard = heard
            return receive()

        return hear

    def _learns(self, learn: Callable[..., None]) -> Callable[..., None]:
        def learns(**info: Any) -> None:
            learn(**info)
            if "server_version" in info:
                self._hop.seen.version = str(info["server_version"])[:MAX_HEARD]
                self._watch.reached(self._hop, "banner", self._hop.seen.version)

        return learns

    def _chooses(self, choose: Callable[..., bytes]) -> Callable[..., bytes]:
        def chooses(what: str, ours: Sequence[bytes], theirs: Sequence[bytes]) -> bytes:
            try:
                chosen = choose(what, ours, theirs)
            except asyncssh.KeyExchangeFailed:
                names = tuple(name.decode("ascii", "replace") for name in theirs)
                self._hop.seen.nothing_in_common = (what, names)
                raise
            self._hop.seen.chosen.setdefault(what, chosen.decode("ascii", "replace"))
            return chosen

        return chooses

    def _validates(self, validate: Callable[[bytes], asyncssh.SSHKey]) -> Callable[[bytes], asyncssh.SSHKey]:
        def validates(blob: bytes) -> asyncssh.SSHKey:
            used = list(dict.fromkeys(self._algorithms()))
            bad = weak(used)
            warning = (
                f"weak, and no longer OpenSSH's default: {', '.join(bad)}; update the server" if bad else None
            )
            self._watch.reached(self._hop, "kex", ", ".join(used), warning=warning)
            key = validate(blob)
            detail, warning = _standing(
                self._hop.destination, key.public_data, is_plain=key.public_data == blob
            )
            self._watch.reached(self._hop, "host-key", detail, warning=warning)
            return key

        return validates

    def _algorithms(self) -> list[str]:
        chosen = self._hop.seen.chosen
        names = [chosen.get(what) for what in ("key exchange", "encryption", "MAC")]
        if chosen.get("compression", "none") != "none":
            names.append(chosen["compression"])
        return [name for name in names if name]

    def _picks_key(self, pick: Callable[[], Any]) -> Callable[[], Any]:
        async def picks() -> asyncssh.SSHKeyPair | None:
            pair: asyncssh.SSHKeyPair | None = await pick()
            self._hop.key = pair
            return pair

        return picks

    def _asks_to_enter(self, send: Callable[..., Any]) -> Callable[..., Any]:
        async def asks(method: bytes, *args: bytes, key: Any = None, trivial: bool = True) -> None:
            seen, name = self._hop.seen, method.decode("ascii", "replace")
            if name == "publickey" and self._hop.key is not None:
                name = self._name_of(self._hop.key)
            if name != "none" and name not in seen.tries and len(seen.tries) < MAX_TRIES:
                seen.tries[name] = ""
            if key is not None:
                seen.tries[name] = "known there, and not enough"  # until the server says otherwise
            seen.last = name
            await send(method, *args, key=key, trivial=trivial)

        return asks

    def _name_of(self, pair: Any) -> str:
        name = self._hop.names.get(id(pair)) or pair.get_comment(errors="replace") or pair.get_algorithm()
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
            seen = self._hop.seen
            methods = tuple(self._conn.get_server_auth_methods())
            if not seen.methods and methods != ("none",):  # which is what asyncssh begins with
                seen.methods = methods
            if not next_method and seen.last in seen.tries and not seen.tries[seen.last]:
                seen.tries[seen.last] = "refused"
            go_on(next_method=next_method)

        return goes_on


def _describe(route: Route, profile: Profile) -> str:
    """Where it goes, and who says so."""
    way = str(route.target)
    if route.hops:
        way += f" through {', '.join(str(hop) for hop in route.hops)}"
    own = [name for name in ("user", "port", "identity_file", "known_hosts") if getattr(profile, name)]
    if profile.jump is not None:
        own.append("jump")
    if (profile.ssh_config or "").strip().lower() == "none":
        return f"{way}; ssh_config is not asked"
    asked = profile.ssh_config or "ssh_config"
    return f"{way}; as {asked} says" + (f", except for the profile's own {', '.join(own)}" if own else "")


def _standing(destination: Destination, blob: bytes, *, is_plain: bool) -> tuple[str, str | None]:
    """How a key is known that was accepted; and what there is to know about that."""
    shown = f"{known_hosts.short_type(known_hosts.key_type_of(blob))} {known_hosts.fingerprint(blob)}"
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
    verdict = known_hosts.lookup(entries, names, blob)
    if verdict.standing is Standing.KNOWN:
        return f"{shown}, known by {verdict.entries[0].where}", None
    return shown, "not on file yet: `tunnels up` will accept it and write it down, as accept-new says"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
