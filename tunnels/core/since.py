"""A moment as a person writes it: ``1h`` ago, ``09:30``, ``2026-11-20`` or ``2026-11-20 09:30``, in local time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from tunnels.core.address import quoted
from tunnels.core.durations import parse_duration
from tunnels.errors import UsageError

_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_HINT = 'write "1h", "09:30", "2026-11-20" or "2026-11-20 09:30"'


def parse_since(text: str, now: float) -> float:
    """The moment that a text stands for, in seconds since the epoch; ``now`` is the present one.

    A duration (``core.durations``) counts back from now, a time without a day is the last time that it was
    so late, a day without a time is its beginning.

    Raises:
        UsageError: it is none of these, or lies in the future; the hint says how to write it.

    """
    text = text.strip()
    try:
        if _CLOCK.fullmatch(text):
            return _last_time(text, now)
        is_day = _DAY.match(text) is not None
        moment = datetime.fromisoformat(text).timestamp() if is_day else now - parse_duration(text)
    except (ValueError, OverflowError, OSError, UsageError) as exc:
        raise UsageError(f"{quoted(text)} is neither a duration nor a time", hint=_HINT) from exc
    if moment > now:
        raise UsageError(f"{quoted(text)} is in the future", hint=_HINT)
    return moment


def _last_time(text: str, now: float) -> float:
    hour, minute, *second = map(int, text.split(":"))
    today = datetime.fromtimestamp(now)  # noqa: DTZ006 - a person means the time on their wall
    found = today.replace(hour=hour, minute=minute, second=second[0] if second else 0, microsecond=0)
    return (found if found.timestamp() <= now else found - timedelta(days=1)).timestamp()
