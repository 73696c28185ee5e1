from __future__ import annotations

import pytest

from tests.daemon.served import forward, tunnel
from tunnels.ui.rates import KEPT, Rates, graph


def moved(to_clients: int, from_clients: int = 0) -> list[object]:
    return [tunnel("work-db", forwards=(forward(bytes_in=to_clients, bytes_out=from_clients), forward()))]


def fed(*counts: int, step: float = 1.0) -> Rates:
    rates = Rates()
    for at, count in enumerate(counts):
        rates.add(moved(count), at * step)  # type: ignore[arg-type]
    return rates


def test_a_rate_is_what_was_moved_by_the_time_it_took() -> None:
    rates = Rates()
    rates.add(moved(1000, 100), 0)  # type: ignore[arg-type]
    rates.add(moved(5000, 300), 2)  # type: ignore[arg-type]
    rate = rates.of("work-db")
    assert (rate.to_clients, rate.from_clients) == (2000, 100)
    assert rate.history == (2100, 2100)  # one value for each second


def test_each_forward_has_its_own() -> None:
    rates = fed(0, 500)
    assert rates.of("work-db", 0).to_clients == 500
    assert rates.of("work-db", 1).to_clients == 0


def test_what_was_there_before_anybody_looked_is_no_rate() -> None:
    assert fed(10**9).of("work-db").history == ()


def test_snapshots_within_a_second_are_one_value() -> None:
    assert len(fed(*range(0, 4000, 100), step=0.25).of("work-db").history) == 9


def test_a_tunnel_that_was_restarted_begins_at_nothing() -> None:
    assert fed(5000, 5000, 70).of("work-db").history == (0, 70)


def test_a_minute_is_kept_however_long_nobody_looked() -> None:
    rates = fed(*range(0, 200_000, 1000))
    assert len(rates.of("work-db").history) == KEPT
    rates.add(moved(10**9), 10**6)  # type: ignore[arg-type]
    assert len(rates.of("work-db").history) == KEPT


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    rates = fed(0, 1000)
    rates.add(moved(2000), -500)  # type: ignore[arg-type]
    rates.add(moved(3000), -499)  # type: ignore[arg-type]
    assert rates.of("work-db").history == (1000, 1000)


def test_what_is_gone_is_forgotten() -> None:
    rates = fed(0, 1000)
    rates.add([], 3)
    assert rates.of("work-db").history == ()


@pytest.mark.parametrize(
    ("history", "shown"),
    [
        ((), "     "),
        ((0, 0), "   ▁▁"),
        ((1, 0), "   ▂▁"),  # something is never shown as nothing
        ((1000, 2000, 4000), "  ▃▅█"),
        ((9e9, 0, 0, 0, 0, 4000), "▁▁▁▁█"),  # only what is seen sets the height
    ],
)
def test_a_graph_is_as_high_as_the_most_that_is_seen(history: tuple[float, ...], shown: str) -> None:
    assert graph(history, 5) == shown


def test_a_graph_without_room_is_nothing() -> None:
    assert graph((1, 2), 0) == ""
