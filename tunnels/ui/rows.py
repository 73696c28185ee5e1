"""What the list of tunnels has in it, in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tunnels.core.address import describe_connect, describe_listen
from tunnels.core.profile import Profile
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import ForwardStatus, Snapshot, TunnelStatus

#: Above those that have no tag, where others have one.
UNTAGGED = "no tag"


class Row(NamedTuple):
    """A line of the list: a heading, or a tunnel with its profile, if that is in the file."""

    heading: str = ""
    tunnel: TunnelStatus | None = None
    profile: Profile | None = None

    @property
    def name(self) -> str:
        """Of the tunnel; a heading has none."""
        return "" if self.tunnel is None else self.tunnel.name


def rows(profiles: Iterable[Profile], snapshot: Snapshot, wanted: str = "") -> list[Row]:
    """Every profile, running or not, and what runs without one, below their first tags.

    With ``wanted``, only those of which a word begins or contains it.
    """
    running = {tunnel.name: tunnel for tunnel in snapshot.tunnels}
    found = [
        Row(tunnel=running.pop(profile.name, None) or at_rest(profile), profile=profile)
        for profile in profiles
    ]
    found += [Row(tunnel=tunnel) for tunnel in running.values()]
    return grouped([row for row in found if matches(row, wanted)])


def grouped(found: Sequence[Row]) -> list[Row]:
    """The same with headings: groups in the order of their first member, what has no tag at the end."""
    groups: dict[str, list[Row]] = {}
    for row in found:
        groups.setdefault(row.profile.tags[0] if row.profile and row.profile.tags else "", []).append(row)
    rest = groups.pop("", [])
    if not groups:
        return rest
    lines = []
    for tag, members in (*groups.items(), *([(UNTAGGED, rest)] if rest else [])):
        lines += [Row(heading=tag), *members]
    return lines


def matches(row: Row, wanted: str) -> bool:
    """Whether each word of the filter is in the name, the host, the state, a tag, or where a forward leads."""
    if not wanted:
        return True
    assert row.tunnel is not None
    words = [row.tunnel.name, row.tunnel.host, row.tunnel.state.value]
    for forward in row.tunnel.forwards:
        words += [forward.listen, forward.connect or ""]
    if row.profile is not None:
        words += [*(f"#{tag}" for tag in row.profile.tags), row.profile.description or ""]
    text = "\n".join(words).casefold()
    return all(word in text for word in wanted.casefold().split())


def at_rest(profile: Profile) -> TunnelStatus:
    """The tunnel that a profile would be."""
    forwards = tuple(
        ForwardStatus(
            forward.name,
            forward.kind.value,
            describe_listen(forward.listen),
            describe_connect(forward.connect),
            ForwardState.PENDING,
        )
        for forward in profile.forwards
    )
    return TunnelStatus(profile.name, profile.host, TunnelState.STOPPED, 0.0, forwards=forwards)
