"""A window grows when it is what the server waits for, and never because the reader is slow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.ssh.window import INITIAL, LARGEST, RESERVE, Reserve, Window

HALF = INITIAL // 2


class Path:
    """A clock, and how long the way there and back takes."""

    def __init__(self, round_trip: float | None = 0.1) -> None:
        self.now = 100.0
        self.round_trip = round_trip

    def window(self, size: int = INITIAL) -> Window:
        return Window(lambda: self.now, lambda: self.round_trip, size)


def use_up(window: Window) -> None:
    """Half of it has come, and has been read."""
    window.left -= window.size // 2


def test_nothing_is_granted_while_more_than_half_is_left() -> None:
    window = Path().window()
    window.left -= HALF - 1
    assert window.grant() == 0
    assert window.left == HALF + 1


def test_what_was_read_is_granted_again() -> None:
    path = Path()
    window = path.window()
    use_up(window)
    path.now += 1
    assert window.grant() == HALF
    assert window.left == window.size == INITIAL


def test_a_window_that_is_half_used_up_within_two_round_trips_doubles() -> None:
    path = Path(0.1)
    window = path.window()
    use_up(window)
    path.now += 0.199
    assert window.grant() == HALF + INITIAL
    assert window.left == window.size == 2 * INITIAL


def test_a_window_that_lasts_for_two_round_trips_does_not_grow() -> None:
    path = Path(0.1)
    window = path.window()
    use_up(window)
    path.now += 0.21
    assert window.grant() == HALF


@pytest.mark.parametrize("round_trip", [None, 0.0, 0.010])
def test_without_a_round_trip_or_with_a_short_one_it_does_not_grow(round_trip: float | None) -> None:
    window = Path(round_trip).window()
    use_up(window)
    assert window.grant() == HALF


def test_each_grant_is_timed_from_the_one_before() -> None:
    path = Path(0.1)
    window = path.window()
    path.now += 60  # nothing came
    use_up(window)
    assert window.grant() == HALF
    path.now += 0.05
    use_up(window)
    assert window.grant() == HALF + INITIAL


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 1), st.integers(0, LARGEST)), max_size=60))
def test_it_never_allows_more_than_the_largest(steps: list[tuple[float, float, int]]) -> None:
    """Whatever the server does, and however long it lets us wait for the answers to keepalives."""
    path = Path()
    window = path.window()
    for round_trip, passes, comes in steps:
        path.round_trip = round_trip
        path.now += passes
        window.left -= min(comes, window.left)
        before = window.left
        more = window.grant()
        assert window.left == before + more
        assert 0 <= window.left <= window.size <= LARGEST


def test_the_largest_is_reached_and_not_passed() -> None:
    path = Path()
    window = path.window()
    for _ in range(10):
        use_up(window)
        window.grant()
    assert window.left == window.size == LARGEST


def test_a_window_may_be_large_from_the_beginning() -> None:
    window = Path().window(size=LARGEST)
    use_up(window)
    assert window.grant() == LARGEST // 2


def test_the_windows_of_a_connection_share_what_they_may_grow_by() -> None:
    """A reader may stop at any time: two hundred of them cost 2 MiB each and `RESERVE`, and not 16 MiB each."""
    path, reserve = Path(), Reserve()
    windows = [Window(lambda: path.now, lambda: 0.1, reserve=reserve) for _ in range(200)]
    for window in windows:
        for _ in range(10):
            use_up(window)
            window.grant()
    assert sum(window.left for window in windows) == 200 * INITIAL + RESERVE
    assert windows[0].size == LARGEST
    assert windows[-1].size == INITIAL


def test_a_window_that_is_closed_leaves_its_growth_to_others() -> None:
    path, reserve = Path(), Reserve(INITIAL)
    first, second = (Window(lambda: path.now, lambda: 0.1, reserve=reserve) for _ in range(2))
    for window in (first, second):
        use_up(window)
        window.grant()
    assert (first.size, second.size) == (2 * INITIAL, INITIAL)
    first.close()
    first.close()
    use_up(second)
    second.grant()
    assert second.size == 2 * INITIAL
    assert reserve.left == 0
