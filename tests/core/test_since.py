"""A moment as a person writes it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tunnels.core.since import parse_since
from tunnels.errors import UsageError

NOW = 1_795_167_000.0
"""2026-11-20T09:30:00Z, which is 12:30 where the tests are."""


@pytest.fixture(autouse=True)
def _east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Etc/GMT-3")  # POSIX: three hours east
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("1h", 3600),
        ("1h30m", 5400),
        ("0", 0),
        (" 2d ", 2 * 86_400),
        ("12:30", 0),
        ("12:00", 1800),
        ("9:30", 3 * 3600),
        ("09:30:30", 3 * 3600 - 30),
        ("12:31", 86_400 - 60),  # it has not been so late today: yesterday
        ("2026-11-20", 12.5 * 3600),
        ("2026-11-20 09:30", 3 * 3600),
        ("2026-11-19T12:30:00", 86_400),
        ("2026-11-20T09:00:00Z", 1800),
    ],
)
def test_a_moment_is_a_duration_ago_or_a_local_time(text: str, ago: float) -> None:
    assert parse_since(text, NOW) == NOW - ago


@pytest.mark.parametrize(
    "text", ["", "yesterday", "5", "-1h", "25:00", "12:61", "2026-13-01", "2026-11-20 9", "٣h", "2026-11-20x"]
)
def test_what_is_no_moment_is_said_with_how_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match="neither a duration nor a time") as caught:
        parse_since(text, NOW)
    assert "2026-11-20 09:30" in (caught.value.hint or "")


def test_the_future_has_not_happened_yet() -> None:
    with pytest.raises(UsageError, match="in the future"):
        parse_since("2027-01-01", NOW)
