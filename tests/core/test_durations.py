"""Durations: what people write, and what it comes to in seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnels.core.durations import LONGEST, format_duration, parse_duration
from tunnels.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15s", 15.0),
        ("10m", 600.0),
        ("1h", 3600.0),
        ("1d", 86_400.0),
        ("2w", 1_209_600.0),
        ("500ms", 0.5),
        ("1h30m", 5400.0),
        ("1.5s", 1.5),
        ("0.5h", 1800.0),
        ("1m1.5s", 61.5),
        ("0s", 0.0),
        ("0", 0.0),
        ("90m", 5400.0),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("15", "needs a unit"),
        ("1.5", "needs a unit"),
        ("", "is not a duration"),
        ("soon", "is not a duration"),
        ("10 min", "is not a duration"),
        ("15S", "is not a duration"),
        ("-5s", "is not a duration"),
        ("1m1h", "is not a duration"),  # the larger unit comes first
        ("1s1s", "is not a duration"),
        ("1s ", "is not a duration"),
        ("\u0661s", "is not a duration"),  # an Arabic digit
        ("0.0001s", "not finer than a millisecond"),
        ("9999w", "at most ten years"),
        ("s", "is not a duration"),
        ("x" * 10_000, "is not a duration"),
    ],
)
def test_what_is_not_a_duration_is_told_how_to_write_one(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        parse_duration(text)

    assert caught.value.hint
    assert len(caught.value.message) < 120


def test_the_missing_unit_is_shown_in_place() -> None:
    with pytest.raises(UsageError) as caught:
        parse_duration("30")

    assert caught.value.hint == '"30s" for seconds'


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.5, "500ms"), (1.5, "1.5s"), (60, "1m"), (90, "1m30s"), (86_400, "1d"), (0.0004, "0s")],
)
def test_a_duration_is_printed_shortly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, int(LONGEST * 1000)))
def test_what_is_printed_is_read_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000

    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(alphabet="0123456789.wdhmsx- ", max_size=12) | st.text(max_size=20))
def test_any_text_is_a_duration_or_a_usage_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except UsageError:
        return

    assert 0 <= seconds <= LONGEST


@pytest.mark.parametrize("seconds", [-1.0, LONGEST * 2, float("inf"), float("nan")])
def test_a_program_that_prints_nonsense_is_told(seconds: float) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        format_duration(seconds)
