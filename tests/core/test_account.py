"""What follows from the records: the share of the time, and each drop with its cause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.account import ENDED, KILLED, WEEK, Account, _in_order, account
from tunnels.core.history import Facts, Record, What, parse_records
from tunnels.errors import ErrorInfo

LOST = ErrorInfo("connection-lost", "the server did not answer")
REFUSED = ErrorInfo("host-unreachable", "refused")
T = 1_795_165_200.0
W, U, D, F, N, S = What.WANTED, What.UP, What.DOWN, What.FAILED, What.NEEDS_INPUT, What.STOPPED


def of(*records: tuple[float, What] | Record, now: float, last_sign: float | None = None) -> Account:
    """The account of ``home``; times are seconds after `T`."""
    made = [
        r
        if isinstance(r, Record)
        else Record(T + r[0], r[1], None if r[1] in DAEMON else "home", ERRORS.get(r[1]))
        for r in records
    ]
    return account(made, "home", T + now, last_sign=None if last_sign is None else T + last_sign)


DAEMON = {What.STARTED, What.ENDED}
ERRORS = {D: LOST, F: REFUSED, N: REFUSED}


def drops(found: Account) -> list[tuple[float, float | None, str | None]]:
    """Begin, end and cause of each."""
    return [
        (drop.begin - T, None if drop.end is None else drop.end - T, drop.cause and drop.cause.code)
        for drop in found.drops
    ]


def test_of_a_tunnel_that_was_never_there_nothing_is_known() -> None:
    found = of(now=100)
    assert (found.known, found.share, found.drops) == (False, None, ())


def test_a_tunnel_that_was_up_all_the_time_was_up_all_the_time() -> None:
    found = of((0, W), (0, U), now=100)
    assert (found.works, found.wanted, found.share, found.since - T, found.drops) == (True, True, 1.0, 0, ())


def test_a_drop_goes_from_the_loss_until_it_is_up_again() -> None:
    found = of((0, W), (10, U), (50, D), (60, U), now=100)
    assert drops(found) == [(50, 60, "connection-lost")]
    assert found.share == 0.8
    assert found.drops[0].back
    assert found.trouble is None


def test_a_drop_that_goes_on_has_no_end() -> None:
    found = of((0, W), (0, U), (50, D), now=100)
    assert drops(found) == [(50, None, "connection-lost")]
    assert (found.works, found.share) == (False, 0.5)
    assert found.trouble is not None
    assert found.trouble.error == LOST


def test_one_that_was_never_up_has_no_drop_but_a_reason() -> None:
    found = of((0, W), (1, F), now=100)
    assert (found.drops, found.share) == ((), 0.0)
    assert found.trouble is not None
    assert found.trouble.what is F


def test_down_on_purpose_is_no_drop_and_not_counted() -> None:
    found = of((0, W), (0, U), (50, S), now=1000)
    assert (found.drops, found.share, found.wanted, found.since - T) == ((), 1.0, False, 50)


def test_a_drop_ends_when_the_tunnel_is_no_longer_wanted() -> None:
    found = of((0, W), (0, U), (50, D), (70, S), now=1000)
    assert drops(found) == [(50, 70, "connection-lost")]
    assert not found.drops[0].back
    assert found.wanted_for == 70


@pytest.mark.parametrize("stuck", [F, N])
def test_a_drop_for_which_somebody_was_needed_says_so(stuck: What) -> None:
    found = of((0, W), (0, U), (50, D), (55, stuck), (80, W), (90, U), now=100)
    assert drops(found) == [(50, 90, "connection-lost")]
    assert found.drops[0].stuck is stuck


def test_what_went_wrong_meanwhile_and_how_often_is_told() -> None:
    found = of((0, W), (0, U), (50, D), Record(T + 60, U, "home", REFUSED, attempts=7), now=100)
    assert (found.drops[0].attempts, found.drops[0].then) == (7, REFUSED)


# --- no daemon, and sleep -------------------------------------------------------------------------


def test_after_a_power_cut_the_time_without_a_daemon_counts_as_not_up() -> None:
    restarted = Record(T + 80, What.STARTED, since=T + 40)
    found = of((0, What.STARTED), (0, W), (0, U), restarted, (80, W), (90, U), now=100)
    assert drops(found) == [(40, 90, KILLED.code)]
    assert found.drops[0].daemon
    assert (found.share, found.off_for, found.wanted_for) == (0.5, 40, 100)


def test_a_daemon_that_ended_on_purpose_makes_a_drop_with_another_cause() -> None:
    found = of((0, W), (0, U), (40, What.ENDED), (80, What.STARTED), (80, W), (90, U), now=100)
    assert drops(found) == [(40, 90, ENDED.code)]


def test_an_outage_that_began_before_keeps_its_cause() -> None:
    found = of((0, W), (0, U), (30, D), (40, What.ENDED), (80, What.STARTED), (80, W), (90, U), now=100)
    assert drops(found) == [(30, 90, "connection-lost")]


def test_when_no_daemon_runs_now_its_last_sign_is_its_end() -> None:
    found = of((0, What.STARTED), (0, W), (0, U), now=100, last_sign=60)
    assert drops(found) == [(60, None, KILLED.code)]
    assert (found.works, found.wanted, found.share, found.off_for) == (False, True, 0.6, 40)
    assert of((0, W), (20, U), now=100, last_sign=-1e9).drops[0].begin == T + 20


def test_how_long_a_daemon_that_was_killed_was_away_is_not_known_to_the_second() -> None:
    soon = of((0, W), (0, U), Record(T + 53, What.STARTED, since=T), (53, W), (53, U), now=100)
    assert (soon.drops[0].unsure, soon.off_for, soon.unsure_for) == (53, 53, 53)
    late = of((0, W), (0, U), Record(T + 500, What.STARTED, since=T), (500, W), (510, U), now=600)
    assert (late.drops[0].unsure, late.off_for, late.unsure_for) == (60, 500, 60)
    still = of((0, W), (0, U), now=100, last_sign=90)
    assert (still.drops[0].unsure, still.unsure_for) == (10, 10)
    ended = of((0, W), (0, U), (40, What.ENDED), (70, What.STARTED), (70, W), (80, U), now=100)
    assert (ended.drops[0].unsure, ended.unsure_for) == (0, 0)


def test_when_the_daemon_ended_on_purpose_its_last_sign_is_of_no_interest() -> None:
    assert drops(of((0, W), (0, U), (40, What.ENDED), now=100, last_sign=99)) == [(40, None, ENDED.code)]


def test_what_one_daemon_does_not_take_up_is_a_new_matter_when_another_one_does() -> None:
    found = of(
        *((0, W), (0, U), (40, What.ENDED), (50, What.STARTED), (60, What.ENDED)),
        *((70, What.STARTED), (70, W), (80, U)),
        now=100,
    )
    assert drops(found) == [(40, 50, ENDED.code)]


def test_what_the_next_daemon_does_not_take_up_is_no_longer_wanted() -> None:
    found = of((0, W), (0, U), (40, What.ENDED), (80, What.STARTED), now=1000)
    assert (found.wanted, found.wanted_for, found.trouble) == (False, 80, None)
    assert drops(found) == [(40, 80, ENDED.code)]


def slept(end: float, seconds: float) -> Record:
    return Record(T + end, What.SLEPT, seconds=seconds)


def test_a_link_that_is_dead_after_sleep_died_of_it() -> None:
    found = of((0, W), (0, U), slept(400, 300), (420, D), (430, U), now=1000)
    assert (found.drops[0].slept, found.drops[0].begin - T, found.drops[0].end) == (300, 100, T + 430)
    assert found.asleep_for == 300
    assert found.up_for == 1000 - 300 - 10


def test_it_may_be_found_dead_before_the_sleep_is_noticed() -> None:
    assert of((0, W), (0, U), (399, D), slept(400, 300), (430, U), now=1000).drops[0].slept == 300


def test_a_link_that_dies_long_after_sleep_died_of_something_else() -> None:
    found = of((0, W), (0, U), slept(400, 300), (700, D), now=1000)
    assert (found.drops[0].slept, found.drops[0].cause) == (0, LOST)


def test_a_link_that_outlives_sleep_is_no_drop_but_was_not_up_meanwhile() -> None:
    found = of((0, W), (0, U), slept(400, 300), now=1000)
    assert (found.drops, found.share) == ((), 0.7)


# --- the window and the clock ---------------------------------------------------------------------


def test_the_share_is_that_of_the_last_seven_days() -> None:
    month = 30 * 86_400.0
    found = of((0, W), (month - WEEK / 2, U), now=month)
    assert (found.wanted_for, found.share) == (WEEK, 0.5)


def test_older_drops_are_told_and_not_counted() -> None:
    found = of((0, W), (0, U), (50, D), (60, U), now=WEEK + 100)
    assert (len(found.drops), found.recent(T + WEEK + 100)) == (1, 0)


def test_a_clock_that_goes_back_makes_no_negative_times() -> None:
    found = of((1000, W), (1000, U), (-5e8, D), (-4e8, U), (1500, D), now=2000)
    assert drops(found) == [(1000, 1000, "connection-lost"), (1500, None, "connection-lost")]
    assert found.share == 0.5


def test_a_power_cut_on_a_machine_without_a_battery_is_as_long_as_it_was() -> None:
    """The clock goes on where it was when the power went, until a time server is reached."""
    night = 8 * 3600.0
    boot = Record(T + 107, What.STARTED, since=T + 100)
    found = of(
        (0, W), (0, U), boot, (108, W), (110, U),
        Record(T + 120 + night, What.CLOCK_SET, seconds=night), (200 + night, D), (260 + night, U),
        now=1000 + night,
    )  # fmt: skip
    assert drops(found) == [
        (100, 110 + night, "daemon-not-running"),
        (200 + night, 260 + night, "connection-lost"),
    ]
    assert found.off_for == 7 + night


def test_a_clock_that_was_once_years_ahead_makes_nothing_of_what_was_before_or_comes_after() -> None:
    """As on a machine whose battery is empty, until a time server has been asked."""
    ahead = 1.6e9
    right = of((0, W), (0, U), (100, D), (150, U), (200, S), (300, W), (300, U), now=400)
    wrong = of(
        (0, W), (0, U), (ahead, W), (100, D), (ahead + 1, D), (150, U), (200, S), (300, W), (300, U), now=400
    )
    assert drops(wrong) == drops(right) == [(100, 150, "connection-lost")]
    assert wrong[:4] == right[:4]
    assert (wrong.wanted_for, wrong.up_for) == (right.wanted_for, right.up_for)


def test_a_clock_that_was_hours_ahead_is_seen_through_when_these_hours_are_over_too() -> None:
    """As on a machine that another system has left its local time, until a time server has been asked."""
    found = of((7200, W), (7201, U), (5, D), (305, U), (5000, D), (5100, U), now=20_000)
    assert [(end or 0) - begin for begin, end, _ in drops(found)] == [300, 100]


@given(st.lists(st.floats(-10, 10), max_size=30))
def test_times_that_are_in_order_are_believed(times: list[float]) -> None:
    assert _in_order(sorted(times), 10) == sorted(times)


@given(st.lists(st.floats(-10, 20), max_size=30))
def test_times_are_put_in_order_and_none_is_later_than_now(times: list[float]) -> None:
    right = _in_order(times, 10)
    assert right == sorted(right)
    assert len(right) == len(times)
    assert all(at <= 10 for at in right)


def test_another_tunnel_is_another_matter() -> None:
    assert of((0, W), (0, U), Record(T + 5, D, "work", LOST), now=10).drops == ()


# --- anything may stand in the files --------------------------------------------------------------

records = st.builds(
    Record,
    st.floats(0, 2e6).map(lambda s: T + s),
    st.sampled_from(What),
    st.sampled_from(["home", "work"]),
    st.sampled_from([None, LOST]),
    attempts=st.integers(0, 9),
    seconds=st.floats(0, 1e6),
    since=st.none() | st.floats(0, 2e6).map(lambda s: T + s),
).map(lambda r: r._replace(tunnel=None) if r.what in {*DAEMON, What.SLEPT} else r)
ordered = st.lists(records, max_size=25).map(lambda found: sorted(found, key=lambda r: r.at))


@given(st.lists(records, max_size=25), st.floats(0, 2e6), st.none() | st.floats(-1e6, 3e6))
def test_whatever_has_happened_the_answer_makes_sense(
    found: list[Record], now: float, sign: float | None
) -> None:
    result = account(found, "home", T + now, last_sign=None if sign is None else T + sign)
    assert result.share is None or 0 <= result.share <= 1
    assert -1e-3 <= result.up_for <= result.wanted_for + 1e-3 <= WEEK + 1
    assert -1e-3 <= result.off_for + result.asleep_for + result.up_for <= result.wanted_for + 1e-2
    for drop in result.drops:
        assert drop.end is None or drop.begin <= drop.end <= T + now
    assert sum(drop.end is None for drop in result.drops) <= 1


@given(ordered, st.data())
def test_any_cut_of_the_file_gives_an_answer(found: list[Record], data: st.DataObject) -> None:
    text = "".join(f"{record}\n" for record in found)
    begin, end = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    result = account(parse_records(text[begin:end]), "home", T + 2e6)
    assert result.share is None or 0 <= result.share <= 1


@given(ordered)
def test_what_is_open_tells_the_same_of_the_present_as_everything(found: list[Record]) -> None:
    """A file that begins with the open facts alone is enough to know what is true now."""
    # A last sign of life that is older than the last record is never written.
    found = parse_records("".join(f"{record._replace(since=None)}\n" for record in found))
    whole, rest = (account(each, "home", T + 3e6) for each in (found, list(Facts(found).open())))
    assert (rest.works, rest.wanted) == (whole.works, whole.wanted)
    assert (rest.trouble is None) == (whole.trouble is None)
