"""One figure, and how figures are printed."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Figure(NamedTuple):
    """What was measured, and what it is measured against."""

    what: str
    value: str
    compared_with: str = ""
    must: str = ""  #: design, section 5
    aim: str = ""


def show(figures: list[Figure]) -> None:
    """Print them as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("what", "measured", "compared with", "must", "aim"):
        table.add_column(column)
    for figure in figures:
        table.add_row(*figure)
    Console(width=None if Console().is_terminal else 140).print(table)
