"""Durations as people write them: ``15s``, ``10m``, ``1h30m``, ``500ms``; seconds for everyone else.

The units are those of sshd_config(5) TIME FORMATS, plus ``ms``. A bare number is not taken, because
half the programs mean seconds by it and the other half milliseconds; ``0`` alone needs no unit.
"""

from __future__ import annotations

import re

from tunnels.errors import UsageError

#: Milliseconds in each unit, largest first: the order in which they may follow each other.
_UNITS = {
    "w": 7 * 24 * 3_600_000,
    "d": 24 * 3_600_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_PART = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,12}))?(ms|[wdhms])")

#: A duration as a regular expression of JSON Schema: which units, and in which order.
DURATION = r"^(0|(?=.)([0-9.]+w)?([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?([0-9.]+ms)?)$"
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")

#: Ten years. Longer ones are slips of the keyboard, and would lose their milliseconds in a float.
LONGEST = 3650 * 24 * 3600.0


def parse_duration(text: str) -> float:
    """Seconds that a text such as ``90s``, ``1h30m``, ``1.5s`` or ``500ms`` stands for.

    Units are ``w d h m s ms``, each at most once, the larger before the smaller. The result is
    a whole number of milliseconds between 0 and ten years.

    Raises:
        UsageError: the text is not a duration; the message says how to write it.

    """
    if text == "0":
        return 0.0
    if _NUMBER.fullmatch(text) and len(text) <= 12:
        raise UsageError(f"a duration needs a unit, {text} does not say which", hint=f'"{text}s" for seconds')
    milliseconds = 0
    position = 0
    units = list(_UNITS)
    while position < len(text):
        match = _PART.match(text, position)
        if match is None or match[3] not in units:
            raise _not_a_duration(text)
        whole, fraction, unit = match[1], match[2] or "", match[3]
        amount, rest = divmod(int(whole + fraction) * _UNITS[unit], 10 ** len(fraction))
        if rest:
            raise UsageError("a duration is not finer than a millisecond", hint='for example "500ms"')
        milliseconds += amount
        units = units[units.index(unit) + 1 :]
        position = match.end()
    if not text:
        raise _not_a_duration(text)
    if milliseconds > LONGEST * 1000:
        raise UsageError("a duration is at most ten years", hint='for example "30d"')
    return milliseconds / 1000


def _not_a_duration(text: str) -> UsageError:
    shown = f'"{text}"' if text.isprintable() and len(text) <= 40 else "this"
    return UsageError(f"{shown} is not a duration", hint='write "15s", "10m", "1h30m", "1d" or "500ms"')


def format_duration(seconds: float) -> str:
    """Write ``seconds`` as shortly as is exact to the millisecond; ``parse_duration`` reads it back.

    Raises:
        ValueError: negative, or longer than ``parse_duration`` takes; a bug of the caller.

    """
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"{seconds!r} seconds cannot be written as a duration")
    left = round(seconds * 1000)
    if left == 0:
        return "0s"
    if left < 1000:
        return f"{left}ms"
    written = ""
    for unit in ("d", "h", "m"):
        amount, left = divmod(left, _UNITS[unit])
        written += f"{amount}{unit}" if amount else ""
    whole, rest = divmod(left, 1000)
    if rest:
        written += f"{whole}." + f"{rest:03}".rstrip("0") + "s"
    elif whole:
        written += f"{whole}s"
    return written
