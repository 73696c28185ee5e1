"""Snapshots become text. Pure: what it is given, and nothing else, decides what is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tunnels.core.client_status import ClientStatus
from tunnels.core.logline import printable, screenful, shortened
from tunnels.core.question import Question
from tunnels.core.state import WORKING, ForwardState, TunnelState
from tunnels.core.status import DaemonStatus, DestinationStatus, ForwardStatus, Snapshot, TunnelStatus

if TYPE_CHECKING:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

#: A mark and a colour for each state; the mark alone must do where there is no colour.
MARKS: dict[TunnelState, tuple[str, str]] = {
    TunnelState.STOPPED: ("○", "dim"),
    TunnelState.CONNECTING: ("◌", "yellow"),
    TunnelState.UP: ("●", "green"),
    TunnelState.IDLE: ("◍", "green"),
    TunnelState.BACKOFF: ("◌", "yellow"),
    TunnelState.NEEDS_INPUT: ("?", "magenta"),
    TunnelState.FAILED: ("✗", "red"),
    TunnelState.STOPPING: ("◌", "dim"),
}

#: Of a question, in a list of tunnels.
_QUESTION_LINES = 6
_QUESTION_COLUMNS = 200

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def snapshot_lines(snapshot: Snapshot, now: float) -> list[Text]:
    """Everything that ``status`` shows."""
    lines: list[Text] = []
    name_width = max((len(tunnel.name) for tunnel in snapshot.tunnels), default=0)
    asked: dict[str, str] = {}
    for tunnel in snapshot.tunnels:
        same_as = None
        if tunnel.question is not None:
            same_as = asked.setdefault(f"{tunnel.question.text}\n{tunnel.question.prompt}", tunnel.name)
        lines += tunnel_lines(tunnel, now, name_width=name_width, same_as=same_as)
    if snapshot.daemon is not None and snapshot.daemon.config_error is not None:
        lines += _warning(
            "the profile file has a problem; what runs goes on as it is:", snapshot.daemon.config_error
        )
    if snapshot.daemon is not None and snapshot.daemon.turned_away:
        lines += _warning("clients were turned away:", turned_away(snapshot.daemon))
    return lines


def turned_away(daemon: DaemonStatus) -> str:
    """What to do about a limit of open files that was too low."""
    return (
        f"{daemon.turned_away} since the daemon started, because it may open only {daemon.file_limit} files; "
        "raise the limit (`ulimit -H -n`, LimitNOFILE= of systemd) and start it again"
    )


def hanging(line: Text) -> Padding | Table | Text:
    """A line whose continuation, on a narrow terminal, stays below its beginning: after its indent, or its mark."""
    from rich.padding import Padding  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    if not line.plain:  # of nothing, Padding makes no line at all
        return line
    if line.plain[1:2] == " " and not (line.plain[0].isalnum() or line.plain[0] == " "):
        row = Table.grid()
        row.add_column(width=2, no_wrap=True)
        row.add_column(overflow="fold")
        row.add_row(line[:2], line[2:])
        return row
    indent = len(line.plain) - len(line.plain.lstrip(" "))
    return Padding(line[indent:], (0, 0, 0, indent), expand=False)


def tunnel_lines(
    tunnel: TunnelStatus, now: float, *, name_width: int = 0, same_as: str | None = None
) -> list[Text]:
    """A tunnel: one line for itself, one for each forward, and what is wrong.

    ``same_as`` is the first tunnel with the same question, which is shown there.
    """
    from rich.text import Text  # noqa: PLC0415

    mark, colour = MARKS[tunnel.state]
    head = Text.assemble((mark, colour), " ", (tunnel.name.ljust(name_width), "bold"), "  ")
    head.append(tunnel.state.value, colour)
    head.append(f" {duration(now - tunnel.since)}")
    head.append("".join(f" · {fact}" for fact in facts(tunnel, now)), "dim")
    lines = [head]
    if tunnel.question is not None and same_as not in (None, tunnel.name):
        lines.append(Text(f"    waits for the same answer as {same_as}", colour))
    elif tunnel.question is not None:
        lines += question_lines(tunnel.name, tunnel.question)
    elif tunnel.error is not None and tunnel.state not in WORKING:
        lines.append(Text.assemble("    ", (printable(tunnel.error.message), colour)))
        if tunnel.error.hint:
            lines.append(Text.assemble("    ", (f"→ {printable(tunnel.error.hint)}", "dim")))
    lines += [line for forward in tunnel.forwards for line in forward_lines(forward)]
    return lines


def question_lines(name: str, question: Question) -> list[Text]:
    """What a tunnel waits for, and the command that answers it."""
    from rich.text import Text  # noqa: PLC0415

    colour = MARKS[TunnelState.NEEDS_INPUT][1]
    text = screenful(question.text.strip(), lines=_QUESTION_LINES, columns=_QUESTION_COLUMNS)
    lines = [Text(f"    {line}", colour) for line in text.split("\n")]
    prompt = shortened(printable(question.prompt).strip(), _QUESTION_COLUMNS)
    if question.kind != "host-key":  # what that asks is said by its text
        lines.append(Text(f"    {prompt}", colour))
    again = "; the server has stopped waiting, and asks again then" if question.stale else ""
    return [*lines, Text(f"    → tunnels auth {name}{again}", "dim")]


def facts(tunnel: TunnelStatus, now: float) -> Iterable[str]:
    """What there is to know of a tunnel beside its state."""
    if tunnel.host:
        yield tunnel.host
    if tunnel.state is TunnelState.UP:
        if tunnel.offline:
            yield "offline: no route to it at the moment"
        if tunnel.rtt_ms is not None:
            yield f"{tunnel.rtt_ms:.1f} ms"
        if tunnel.reconnects:  # `why` tells of each
            yield plural(tunnel.reconnects, "reconnect")
    elif tunnel.state is TunnelState.IDLE:
        if tunnel.error is not None:
            yield f"last error: {printable(tunnel.error.message)}"
    elif tunnel.retry_at is not None:
        if tunnel.offline:
            yield "offline, waits for the network"
        yield f"attempt {tunnel.attempt + 1} in {duration(max(0.0, tunnel.retry_at - now))}"
    elif tunnel.state is TunnelState.CONNECTING and tunnel.attempt > 1:
        yield f"attempt {tunnel.attempt}"


def forward_lines(forward: ForwardStatus) -> list[Text]:
    """A forward: where it listens, where its clients go, and what went through."""
    from rich.text import Text  # noqa: PLC0415

    line = Text("    ")
    line.append(route(forward), "" if forward.state is ForwardState.LISTENING else "dim")
    if forward.name:
        line.append(f"  {forward.name}", "dim")
    if forward.state is ForwardState.FAILED and forward.error is not None:
        line.append(f"  {printable(forward.error.message)}", "red")
        hint = [Text(f"      → {printable(forward.error.hint)}", "dim")] if forward.error.hint else []
        return [line, *hint]
    known = []
    if forward.clients:
        known.append(plural(forward.clients, "client"))
    if forward.held:
        known.append(f"{forward.held} waiting")
    if forward.bytes_in or forward.bytes_out:
        known.append(f"{size(forward.bytes_in)} in, {size(forward.bytes_out)} out")
    if forward.by_address:
        known.append(f"{plural(forward.by_address, 'request')} by address")
    if forward.reachable_by_others:
        known.append(f"open to {printable(forward.audience or 'other machines')}")
    if known:
        line.append("  " + " · ".join(known), "dim")
    if forward.destination is not None and forward.destination.failures:
        line.append(f"  {destination_words(forward.destination)}", "yellow")
    return [line]


#: What destinations do, by `DialReason`; ``{}`` is how often.
_TROUBLE = {
    "refused": "refused {}",
    "timed-out": "did not answer {}",
    "prohibited": "not allowed by the server, {}",
    "name-not-resolved": "name not found, {}",
    "host-unreachable": "could not be reached, {}",
    "network-unreachable": "could not be reached, {}",
}


def destination_words(destination: DestinationStatus) -> str:
    """``refused the last 3``: what the destination did to the last ones who wanted something of it."""
    last = "the last one" if destination.failures == 1 else f"the last {destination.failures}"
    return _TROUBLE.get(destination.reason or "", "failed {}").format(last)


def route(forward: ForwardStatus) -> str:
    """``localhost:5432 → db.internal:5432``, seen from the client that connects."""
    match forward.kind, forward.connect:
        case "dynamic", _:
            return f"{forward.listen} (SOCKS and HTTP proxy)"
        case "remote", None:
            return f"server {forward.listen} (SOCKS and HTTP proxy)"
        case "remote", connect:
            return f"server {forward.listen} → {connect}"
        case _, connect:
            return f"{forward.listen} → {connect}"


def client_words(client: ClientStatus, program: tuple[str, int] | None) -> str:
    """``psql (pid 4711) from 127.0.0.1:51234``, and where it goes, if the forward does not say that."""
    words = "" if program is None else f"{printable(program[0])} (pid {program[1]})"
    if client.origin is not None:
        host, port = client.origin
        words += f" from {printable(f'[{host}]' if ':' in host else host)}:{port}"
    elif not words:
        words = "a program that cannot be seen"
    return words.strip()


def client_facts(client: ClientStatus, forward: ForwardStatus | None) -> str:
    """For how long, whether it waits, and where it goes, if the forward does not say that."""
    to = f"→ {printable(client.connect)} · " if forward is None or forward.connect is None else ""
    return f"{to}{duration(client.seconds)}" + (" · waits for the connection" if client.waiting else "")


def duration(seconds: float) -> str:
    """How long, as coarse as a person wants it: ``3.2s``, ``42s``, ``12m``, ``3h 5m``, ``9d 4h``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    for unit, smaller, names in ((60, 1, "ms"), (3600, 60, "hm"), (86_400, 3600, "dh")):
        if whole < unit * (60 if unit == 60 else 24) or unit == 86_400:
            count, rest = whole // unit, whole % unit // smaller
            return f"{count}{names[0]}" + (f" {rest}{names[1]}" if rest else "")
    raise AssertionError("days are the last unit")


def size(count: int) -> str:
    """Bytes with a decimal unit: ``0 B``, ``1.2 kB``, ``34 MB``."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit and value < 9.95 else f"{value:.0f} {_UNITS[unit]}"


def plural(count: int, noun: str) -> str:
    """``1 client``, ``2 clients``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _warning(title: str, text: str) -> list[Text]:
    from rich.text import Text  # noqa: PLC0415

    return [Text(""), Text(title, "yellow"), *(Text(f"    {printable(line)}") for line in text.splitlines())]


def live_view(snapshot: Snapshot, now: float) -> Group:
    """The live view of ``status -w``: a head line, and what ``status`` shows."""
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    up = sum(tunnel.state in WORKING for tunnel in snapshot.tunnels)
    head = Text.assemble(
        ("tunnels", "bold"),
        f"  {up} of {len(snapshot.tunnels)} up",
        ("  ·  Ctrl-C ends this view, not the tunnels", "dim"),
    )
    body = snapshot_lines(snapshot, now) if snapshot.tunnels else [Text("no tunnel is running", "dim")]
    return Group(head, Text(""), *map(hanging, body))
