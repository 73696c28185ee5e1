"""Watches an attempt to connect: what it does becomes steps, one after the other, for `tunnels doctor`.

An attempt itself tells how far it has got (`ssh.steps`); what asyncssh does in between is `ssh.shoulder`.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import asyncssh

from tunnels.core.checkup import HOP_STEPS, Step
from tunnels.core.profile import HostKeyPolicy, Profile
from tunnels.errors import TunnelsError
from tunnels.ssh.addresses import try_each
from tunnels.ssh.destination import Destination, Route
from tunnels.ssh.dial import ATTEMPT_DELAY
from tunnels.ssh.host_keys import policy_for
from tunnels.ssh.keys import Keys
from tunnels.ssh.offer import Offer
from tunnels.ssh.shoulder import Shoulder
from tunnels.ssh.steps import Steps
from tunnels.ssh.symptoms import Seen, explain


@dataclass(slots=True)
class _Hop:
    """What is known of one server."""

    destination: Destination
    through: bool = False
    gathering: bool = False  #: keys; nothing else has happened yet
    at: int = 0  #: the step that is going on, in `HOP_STEPS`
    since: float = 0.0
    seen: Seen = field(default_factory=Seen)


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
        destination = replace(destination, update_host_keys="no")
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
        hop.seen.skipped = keys.skipped  # there may be more of them later
        hop.gathering = False
        hop.since = self._clock()
        if hop.through or _is_address(hop.destination.hostname):
            hop.at = HOP_STEPS.index("tcp")
        self._say_what_goes_on()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of the first server on the way; none where only another program knows them."""
        return self._hops[0].seen.addresses if self._hops else ()

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

        def reached(step: str, detail: str, *, warning: str | None = None) -> None:
            if hop is self._hops[-1] and hop.at < len(HOP_STEPS) and HOP_STEPS[hop.at] == step:
                self._done(detail, warning=warning)

        def name_of(pair: asyncssh.SSHKeyPair) -> str | None:
            return str(pair) if isinstance(pair, Offer) else None

        Shoulder(conn, hop.destination, hop.seen, reached, name_of=name_of).look()

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

    # --- one step after the other -------------------------------------------------------------------

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


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
