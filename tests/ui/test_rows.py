from __future__ import annotations

import pytest

from tests.daemon.served import FILE, profile_file, tunnel
from tunnels import profiles
from tunnels.core.profile import Profile
from tunnels.core.state import TunnelState
from tunnels.core.status import Snapshot
from tunnels.ui.rows import UNTAGGED, Row, rows


def known(text: str = FILE) -> list[Profile]:
    return list(profiles.load(profile_file(text)).profiles.values())


def shown(found: list[Row]) -> list[str]:
    return [f"# {row.heading}" if row.tunnel is None else row.name for row in found]


def test_tunnels_are_below_their_first_tags_and_those_without_at_the_end() -> None:
    assert shown(rows(known(), Snapshot(None))) == ["# work", "work-db", "work-web", f"# {UNTAGGED}", "home"]


def test_where_nobody_uses_tags_there_are_no_headings() -> None:
    found = rows(known(FILE.replace("tags", "#")), Snapshot(None))
    assert shown(found) == ["work-db", "work-web", "home"]


def test_what_runs_is_shown_as_it_is_and_the_rest_at_rest() -> None:
    found = rows(known(), Snapshot(None, (tunnel("work-web", rtt_ms=7.0), tunnel("opened"))))
    by_name = {row.name: row.tunnel for row in found if row.tunnel is not None}
    assert by_name["work-web"].rtt_ms == 7.0
    assert by_name["work-db"].state is TunnelState.STOPPED
    assert by_name["work-db"].forwards[0].connect == "db.internal:5432"
    assert by_name["opened"].state is TunnelState.UP  # without a profile


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("WEB", ["# work", "work-web"]),
        ("#web", ["# work", "work-web"]),
        ("work 5432", ["# work", "work-db"]),
        ("stopped example.com", ["home"]),
        ("nobody", []),
    ],
)
def test_every_word_of_a_filter_counts(wanted: str, names: list[str]) -> None:
    assert shown(rows(known(), Snapshot(None), wanted)) == names
