"""A window grows when it is what the server waits for, and never because the reader is slow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.ssh.window import INITIAL, LARGEST, RESERVE, SMALLEST, TOGETHER, Budget, Window

HALF = INITIAL // 2


class Path:
    """A clock, and how long the way there and back takes."""

    def __init__(self, round_trip: float | None = 0.1) -> None:
        self.now = 100.0
        self.round_trip = round_trip

    def window(self, budget: Budget | None = None, size: int | None = None) -> Window:
        return Window(lambda: self.now, lambda: self.round_trip, budget, size)

    def windows(self, count: int, budget: Budget | None = None) -> list[Window]:
        budget = budget or Budget()
        return [self.window(budget) for _ in range(count)]


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
    windows = Path(0.1).windows(200)
    for window in windows:
        for _ in range(10):
            use_up(window)
            window.grant()
    assert sum(window.left for window in windows) == 200 * INITIAL + RESERVE
    assert windows[0].size == LARGEST
    assert windows[-1].size == INITIAL


def test_a_window_that_is_closed_leaves_its_growth_to_others() -> None:
    budget = Budget(INITIAL)
    first, second = Path(0.1).windows(2, budget)
    for window in (first, second):
        use_up(window)
        window.grant()
    assert (first.size, second.size) == (2 * INITIAL, INITIAL)
    first.close()
    use_up(second)
    second.grant()
    assert second.size == 2 * INITIAL
    assert budget.reserve == 0


def test_a_few_windows_begin_with_what_openssh_gives() -> None:
    assert {window.size for window in Path().windows(TOGETHER // INITIAL)} == {INITIAL}


def test_the_more_windows_there_are_the_smaller_a_new_one_begins() -> None:
    """Two hundred times 2 MiB, read by the server before anybody wants them, keep a core of it busy for long."""
    sizes = [window.size for window in Path().windows(2000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[199] == TOGETHER // 200
    assert sizes[-1] == SMALLEST


def test_windows_that_were_there_before_the_many_shrink_to_their_share() -> None:
    path, budget = Path(0.001), Budget()
    first = path.window(budget)
    crowd = path.windows(199, budget)
    for _ in range(20):
        path.now += 1
        left = first.left
        use_up(first)
        if not first.grant():
            assert first.left < left  # what was granted is used up, and nothing is taken back
    assert first.size == TOGETHER // 200
    for window in crowd:
        window.close()
    path.now += 1
    use_up(first)
    first.grant()
    assert first.left == first.size == INITIAL


@pytest.mark.parametrize("round_trip", [0.0001, 0.001, 0.010])
def test_the_one_that_is_used_among_many_that_are_idle_grows_to_what_it_would_have_alone(
    round_trip: float,
) -> None:
    path, budget = Path(round_trip), Budget()
    *_, last = path.windows(300, budget)
    assert last.size == SMALLEST
    for _ in range(10):
        path.now += 1.9 * round_trip
        use_up(last)
        last.grant()
    assert last.left == last.size == INITIAL
    assert budget.reserve == RESERVE


def test_it_grows_as_large_on_a_long_path_as_any() -> None:
    path = Path(0.1)
    *_, last = path.windows(300)
    for _ in range(10):
        path.now += 0.1
        use_up(last)
        last.grant()
    assert last.left == last.size == LARGEST
