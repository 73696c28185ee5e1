"""A figure, what it must be, and how figures are printed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table


class Limits(NamedTuple):
    """A row of the design's section 5: what the number must be, and what it should be."""

    must: float
    aim: float
    unit: str = ""
    at_least: bool = True

    def met(self, number: float) -> str:
        """Return ``aim``, ``must`` or ``no``: how far it gets."""
        for name, limit in (("aim", self.aim), ("must", self.must)):
            if number >= limit if self.at_least else number <= limit:
                return name
        return "no"

    def show(self, limit: float) -> str:
        """Return one of the two as it is printed."""
        return f"{'≥' if self.at_least else '≤'} {limit:g}{' ' if self.unit else ''}{self.unit}"


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, beside what it is compared with."""

    what: str
    value: str
    compared_with: str = ""
    number: float | None = None  #: what `limits` judge
    limits: Limits | None = None
    spread: str = ""  #: from the least to the most of all rounds
    samples: dict[str, Any] = field(default_factory=dict)  #: what it was made of, for the JSON

    @property
    def met(self) -> str:
        """``aim``, ``must``, ``no``, or nothing where there are no limits."""
        return "" if self.limits is None or self.number is None else self.limits.met(self.number)

    def row(self) -> list[str]:
        """Return it as the columns of `COLUMNS`."""
        limits = self.limits
        must, aim = (limits.show(limits.must), limits.show(limits.aim)) if limits else ("", "")
        return [self.what, self.value, self.spread, self.compared_with, must, aim, self.met]

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "limits": self.limits and self.limits._asdict(), "met": self.met or None}


COLUMNS = ("what", "measured", "min … max", "compared with", "must", "aim", "met")


def ratio(
    what: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    unit: str,
    against: str,
    limits: Limits | None = None,
    scale: float = 1.0,
    more: str = "",
    **samples: Any,
) -> Figure:
    """Compare two series that were measured in turn: the medians, and the ratios round by round as the spread."""
    mine, other = statistics.median(ours), statistics.median(theirs)
    assert min(theirs) > 0, f"{what}: nothing has arrived through {against}"
    rounds = [a / b for a, b in zip(ours, theirs, strict=True)]
    number = mine / other
    return Figure(
        what,
        f"{number:.2f} = {_short(mine * scale)} {unit}{more}",
        f"{against} {_short(other * scale)} {unit}",
        number,
        limits,
        f"{min(rounds):.2f} … {max(rounds):.2f}" if len(rounds) > 1 else "",
        {"tunnels": list(ours), against: list(theirs), **samples},
    )


def _short(number: float) -> str:
    return f"{number:.0f}" if abs(number) >= 100 else f"{number:.3g}"


def show(figures: Sequence[Figure]) -> None:
    """Print them as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column)
    colours = {"aim": "green", "must": "yellow", "no": "red"}
    for figure in figures:
        *cells, met = figure.row()
        table.add_row(*cells, f"[{colours[met]}]{met}" if met else "")
    Console(width=None if Console().is_terminal else 190).print(table)


def markdown(figures: Sequence[Figure]) -> str:
    """Return them as a table for a page of documentation."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *(figure.row() for figure in figures)]
    return "".join(f"| {' | '.join(cell.replace('|', '∣') for cell in row)} |\n" for row in rows)
