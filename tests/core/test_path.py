"""What a change of this machine's network means for a connection, and how two changes become one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.path import NetworkChange, Path

WIFI = Path("192.0.2.10", 2, "192.0.2.1")
CABLE = Path("198.51.100.10", 3, "198.51.100.1")

CHANGES = st.builds(
    NetworkChange,
    st.integers(0, 1000).map(float),
    st.frozensets(st.integers(1, 5)),
    st.booleans(),
)
PATHS = st.lists(st.builds(Path, st.just("192.0.2.10"), st.integers(0, 5))).map(tuple)


@pytest.mark.parametrize(
    "other",
    [WIFI._replace(source="192.0.2.11"), WIFI._replace(interface=3), WIFI._replace(gateway="192.0.2.254")],
)
def test_another_address_interface_or_router_is_another_way(other: Path) -> None:
    assert other != WIFI
    assert Path(*WIFI) == WIFI


@pytest.mark.parametrize(
    ("change", "concerned"),
    [
        (NetworkChange(), False),  # an address or a route that nobody here uses
        (NetworkChange(interfaces=frozenset({3})), False),
        (NetworkChange(interfaces=frozenset({2})), True),
        (NetworkChange(interfaces=frozenset({2, 3})), True),
        (NetworkChange(slept=0.5), True),
        (NetworkChange(missed=True), True),
    ],
)
def test_a_connection_is_looked_at_after_sleep_a_link_of_its_own_and_what_was_missed(
    change: NetworkChange, concerned: bool
) -> None:
    assert change.concerns((WIFI,)) is concerned


def test_a_link_concerns_a_connection_by_any_of_its_ways() -> None:
    assert NetworkChange(interfaces=frozenset({3})).concerns((WIFI, CABLE))


def test_without_a_way_no_link_concerns_it() -> None:
    assert not NetworkChange(interfaces=frozenset({2})).concerns(())


def test_two_changes_are_one_with_everything_in_it() -> None:
    slept = NetworkChange(slept=10.0, interfaces=frozenset({2}))
    assert slept.merged(NetworkChange(slept=5.0, interfaces=frozenset({3}), missed=True)) == NetworkChange(
        15.0, frozenset({2, 3}), missed=True
    )


@given(CHANGES, CHANGES, PATHS)
def test_what_either_of_two_changes_concerns_both_together_do(
    one: NetworkChange, other: NetworkChange, paths: tuple[Path, ...]
) -> None:
    both = one.merged(other)
    assert both.concerns(paths) == (one.concerns(paths) or other.concerns(paths))
    assert both == other.merged(one)
    assert both.merged(NetworkChange()) == both
