"""The list of tunnels: draws only the lines that are seen, so that two hundred cost what twenty do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tunnels.ui import text
from tunnels.ui.rates import Rates
from tunnels.ui.rows import Row

#: Columns left of a row: the mark of the selected one, which shows without colours too.
_MARGIN = 2


class TunnelList(ScrollView, can_focus=True):
    """Rows, one of which is selected; headings cannot be."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "move(-100000)", show=False),
        Binding("end,G", "move(100000)", show=False),
    ]

    class Selected(Message):
        """Another tunnel is selected."""

    def __init__(self, rates: Rates) -> None:
        super().__init__(id="list")
        self._rates = rates
        self._rows: Sequence[Row] = ()
        self._now = 0.0
        self._names = 8
        self.selected = ""  #: the name of the tunnel

    @property
    def row(self) -> Row | None:
        """The selected one."""
        return next((row for row in self._rows if row.name and row.name == self.selected), None)

    def show(self, rows: Sequence[Row], now: float) -> None:
        """Have these rows. The selection stays with its tunnel, or goes to who is in its place."""
        before = [row.name for row in self._rows if row.name]
        names = [row.name for row in rows if row.name]
        self._rows, self._now = rows, now
        self._names = text.name_width(rows, self.size.width - _MARGIN)
        self.virtual_size = Size(0, len(rows))
        if self.selected not in names:
            place = before.index(self.selected) if self.selected in before else 0
            self._select(names[min(place, len(names) - 1)] if names else "")
        self.refresh()

    def select(self, name: str) -> None:
        """Select a tunnel by its name."""
        if any(row.name == name for row in self._rows):
            self._select(name)

    def _select(self, name: str) -> None:
        self.selected = name
        place = next((at for at, row in enumerate(self._rows) if row.name == name), 0)
        # The heading above the first of a group is shown with it.
        above = 1 if place and self._rows[place - 1].tunnel is None else 0
        region = Region(0, place - above, 1, 1 + above)
        self.scroll_to_region(region, animate=False, force=True)
        self.refresh()
        self.post_message(self.Selected())

    def action_move(self, by: int) -> None:
        """Select another one."""
        names = [row.name for row in self._rows if row.name]
        if names:
            place = names.index(self.selected) if self.selected in names else 0
            self._select(names[max(0, min(len(names) - 1, place + by))])

    def action_page(self, pages: int) -> None:
        """Select one that is a screen away."""
        self.action_move(pages * max(1, self.size.height - 1))

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        width = self.scrollable_content_region.width
        place = y + self.scroll_offset.y
        if place >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[place]
        is_selected = bool(row.name) and row.name == self.selected
        rate = self._rates.of(row.name)
        line = text.row_text(row, rate, self._now, width=width - _MARGIN, names=self._names)
        style = Style(reverse=True) if self.has_focus else Style(bold=True)
        mark = Segment("▸ " if is_selected else "  ")
        segments = [mark, *line.render(self.app.console)] if line.plain else [mark]
        # The selected one in one colour: patches of several would be hard to read.
        drawn = [
            Segment(it.text, style if is_selected else it.style)
            for it in segments
            if it.text and it.text != "\n"
        ]
        return Strip(drawn).adjust_cell_length(width, style if is_selected else self.rich_style)

    def on_resize(self) -> None:
        """Have room for more or less."""
        self.show(self._rows, self._now)
        if self.selected:
            self.call_after_refresh(lambda: self._select(self.selected))  # whichever it is then
