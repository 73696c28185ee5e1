from __future__ import annotations

from textual.app import App, ComposeResult

from tests.daemon.served import NOW, tunnel
from tunnels.ui.rates import Rates
from tunnels.ui.rows import Row
from tunnels.ui.tunnel_list import TunnelList


class Bare(App[None]):
    def compose(self) -> ComposeResult:
        yield TunnelList(Rates())


def some(*names: str) -> list[Row]:
    return [Row(heading="work"), *(Row(tunnel=tunnel(name)) for name in names)]


async def test_the_selection_stays_with_its_tunnel_or_goes_to_who_is_in_its_place() -> None:
    app = Bare()
    async with app.run_test():
        it = app.query_one(TunnelList)
        it.show(some("a", "b", "c"), NOW)
        assert it.selected == "a"
        it.action_move(1)
        it.show(some("x", "y", "a", "b"), NOW)
        assert it.selected == "b"
        it.show(some("x", "y", "a", "z"), NOW)
        assert it.selected == "z"
        it.show(some("x"), NOW)
        assert it.selected == "x"
        it.show([], NOW)
        assert (it.selected, it.row) == ("", None)


async def test_the_selection_stops_at_both_ends_and_pages_go_a_screen() -> None:
    app = Bare()
    async with app.run_test(size=(80, 10)):
        it = app.query_one(TunnelList)
        it.show(some(*(f"t{number:02}" for number in range(50))), NOW)
        it.action_move(-1)
        assert it.selected == "t00"
        it.action_page(1)
        assert it.selected == "t09"
        it.action_move(1000)
        assert it.selected == "t49"


async def test_only_the_lines_that_are_seen_are_drawn() -> None:
    app = Bare()
    async with app.run_test(size=(80, 10)) as pilot:
        it = app.query_one(TunnelList)
        await pilot.pause()
        drawn: list[int] = []
        original = it.render_line

        def render_line(y: int) -> object:
            drawn.append(y)
            return original(y)

        it.render_line = render_line  # type: ignore[method-assign,assignment]
        it.show(some(*map(str, range(1000))), NOW)
        await pilot.pause()
        assert 0 < len(drawn) <= 40
