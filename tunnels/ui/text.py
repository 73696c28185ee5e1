"""What is shown becomes text, in the words of ``status``. Pure: the time and the width are arguments."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.text import Text

from tunnels.cli import render
from tunnels.core.logline import parse, printable
from tunnels.core.profile import Profile
from tunnels.core.standing import needs_answer
from tunnels.core.state import WORKING, TunnelState
from tunnels.core.status import TunnelStatus, parse_time
from tunnels.ui.feed import News
from tunnels.ui.rates import Rate, Rates, graph, total
from tunnels.ui.rows import Row

#: Columns of a state and how long it has lasted: ``needs-input 59m``.
_STATE = 17

#: Columns of a name at most, in the list.
_NAME = 24

#: Columns of a graph.
_GRAPH = 20

_LEVELS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


def name_width(rows: Sequence[Row], width: int) -> int:
    """Columns for the names in a list of this width."""
    longest = max((len(row.name) for row in rows), default=0)
    return max(8, min(longest, _NAME, width // 3))


def row_text(row: Row, rate: Rate, now: float, *, width: int, names: int) -> Text:
    """One line of the list, at most ``width`` columns."""
    tunnel = row.tunnel
    if tunnel is None:
        return cut(
            Text().append(row.heading, "bold cyan"), width
        )  # a part: `render` drops the style of the whole
    mark, colour = render.MARKS[tunnel.state]
    at_rest = tunnel.state is TunnelState.STOPPED
    line = Text.assemble(
        (mark, colour), " ", (clipped(tunnel.name, names).ljust(names), "" if at_rest else "bold")
    )
    if at_rest:
        said = row.profile.description if row.profile is not None else None
        return cut(line.append(f"  {said or tunnel.host}", "dim"), width)
    state = f"{tunnel.state.value} {render.duration(now - tunnel.since)}"
    line.append("  ").append(state.ljust(_STATE), colour)
    if tunnel.state in WORKING:
        room = width - line.cell_len
        for part, style in working_parts(tunnel, rate):
            needed = len(part) + 2
            if needed <= room:
                line.append("  ").append(part, style)
                room -= needed
    else:
        line.append("  ").append(why(tunnel, now), colour)
    return cut(line, width)


def working_parts(tunnel: TunnelStatus, rate: Rate) -> list[tuple[str, str]]:
    """What is said of a tunnel that works, the most important first; where there is no room, less."""
    rtt = (
        ""
        if tunnel.rtt_ms is None
        else f"{tunnel.rtt_ms:.0f} ms"
        if tunnel.rtt_ms >= 10
        else f"{tunnel.rtt_ms:.1f} ms"
    )
    clients = sum(forward.clients for forward in tunnel.forwards)
    troubles = [f for f in tunnel.forwards if f.error is not None]
    moved = any(rate.history) or any(total(tunnel.forwards))
    parts = [
        (rtt.rjust(7), "dim"),
        (graph(rate.history, _GRAPH) if moved else " " * _GRAPH, "green"),
        (speed(rate).ljust(19) if moved else " " * 19, ""),
        (render.plural(clients, "client").ljust(10) if clients else " " * 10, ""),
    ]
    if troubles:
        parts.insert(0, (render.plural(len(troubles), "forward") + " failed", "red"))
    elif tunnel.offline:
        parts.insert(0, ("offline", "yellow"))
    return parts


def speed(rate: Rate) -> str:
    """Bytes a second towards the clients and away from them."""
    return f"↓{render.size(round(rate.to_clients))}/s ↑{render.size(round(rate.from_clients))}/s"


def why(tunnel: TunnelStatus, now: float) -> str:
    """Why it does not work, in one line."""
    said = []
    if tunnel.question is not None:
        said.append(printable(tunnel.question.headline))
    elif tunnel.error is not None:
        said.append(printable(tunnel.error.message))
    said += render.facts(tunnel._replace(host=""), now)
    return " · ".join(said)


def details(row: Row | None, news: News, rates: Rates, now: float, *, width: int) -> list[Text]:
    """Everything about one tunnel but its log."""
    if row is None or row.tunnel is None:
        return [Text("no tunnel is selected", "dim")]
    tunnel = row.tunnel
    lines = []
    if row.profile is not None and (about := about_profile(row.profile)):
        lines.append(Text(about, "dim"))
    if tunnel.state is TunnelState.STOPPED:
        mark, colour = render.MARKS[tunnel.state]
        lines.append(Text.assemble((mark, colour), f" {tunnel.name}  not running · {tunnel.host}"))
        lines.append(Text(f"    → u, or `tunnels up {tunnel.name}`", "dim"))
    else:
        lines += render.tunnel_lines(tunnel._replace(forwards=()), now)
        if needs_answer(tunnel):
            lines.append(Text("    → a answers it here", "magenta"))
    for place, forward in enumerate(tunnel.forwards):
        lines += render.forward_lines(forward)
        rate = rates.of(tunnel.name, place)
        if any(rate.history):
            bars = graph(rate.history, min(60, max(10, width - 30)))
            lines.append(Text.assemble("      ", (bars, "green"), f" {speed(rate)}"))
        for client in news.clients.shown:
            if (client.tunnel, client.forward) == (tunnel.name, place):
                line = Text(f"      {render.client_words(client, news.programs.get(client))}")
                lines.append(line.append(f"  {render.client_facts(client, forward)}", "dim"))
    if news.clients.left_out:
        lines.append(Text(f"      and {news.clients.left_out} more clients", "dim"))
    return lines


def about_profile(profile: Profile) -> str:
    """What the person wrote about it."""
    words = [profile.description or "", *(f"#{tag}" for tag in profile.tags)]
    return "  ".join(word for word in words if word)


def log_line(line: str) -> Text:
    """A line of the log with the local time of day."""
    found = parse(line)
    if found is None:
        return Text(printable(line), "dim")
    try:
        moment = time.localtime(parse_time(found.time))
    except (ValueError, OverflowError):
        return Text(printable(line))
    return Text.assemble(
        (time.strftime("%m-%d %H:%M:%S", moment), "dim"),
        "  ",
        (printable(found.message), _LEVELS.get(found.level, "")),
    )


def head(news: News | None, wanted: str) -> Text:
    """The first line."""
    line = Text("tunnels", "bold")
    if news is None:
        return line
    tunnels = news.snapshot.tunnels
    if news.trouble:
        line.append(f"  {printable(news.trouble)}", "yellow")
        if news.snapshot.daemon is None and "not running" in news.trouble:
            line.append("; u starts it with a tunnel", "dim")
    else:
        line.append(f"  {sum(tunnel.state in WORKING for tunnel in tunnels)} of {len(tunnels)} up")
        waiting = [tunnel.name for tunnel in tunnels if needs_answer(tunnel)]
        if waiting:
            line.append(f"  ·  {' '.join(waiting[:3])}: waits for an answer (a)", "magenta")
    if wanted:
        line.append(f"  ·  only {wanted!r} (Esc: all)", "cyan")
    return line


def notice(news: News | None) -> Text:
    """What is wrong beside the tunnels; mostly nothing."""
    if news is None:
        return Text()
    daemon = news.snapshot.daemon
    problem = (daemon.config_error if daemon is not None else None) or news.file_problem
    if problem:
        lines = [printable(line) for line in problem.splitlines()]
        more = f" (and {len(lines) - 2} more lines; `tunnels check`)" if len(lines) > 2 else ""
        return Text("the profile file has a problem: " + " ".join(lines[:2]) + more, "yellow")
    if daemon is not None and daemon.turned_away:
        return Text(f"clients were turned away: {render.turned_away(daemon)}", "yellow")
    return Text()


def clipped(text: str, width: int) -> str:
    """Text of at most so many characters."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def cut(line: Text, width: int) -> Text:
    """A line that ends where the screen does."""
    line.truncate(max(0, width), overflow="ellipsis")
    return line
