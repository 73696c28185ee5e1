"""``tunnels why``: when a tunnel was not up, and for what reason. Reads the files, so it works without a daemon too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from tunnels import history_file, paths, profiles
from tunnels.cli import known, output, render
from tunnels.cli.options import ConfigOption, JsonOption, complete_profile
from tunnels.cli.run import config_path, verb
from tunnels.client import Client
from tunnels.core.account import Account, Drop, account
from tunnels.core.history import What
from tunnels.core.logline import printable
from tunnels.core.state import TunnelState
from tunnels.core.status import JSON_VERSION, Json, TunnelStatus, error_to_json, format_time
from tunnels.errors import ControlError, DaemonNotRunning, ErrorInfo, UsageError

if TYPE_CHECKING:
    from rich.text import Text

#: Seconds after which a date without its year could be taken for another one.
_A_YEAR = 300 * 86_400.0

_WORKS = frozenset({TunnelState.UP, TunnelState.IDLE})


@verb
def why(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tunnel.", autocompletion=complete_profile)],
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", help="How many of the last drops.")
    ] = 10,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show why a tunnel is not up, and when it was not: for how long, and for what reason.

    Time in which the daemon did not run, or the machine slept, counts as not up.

    Example: tunnels why home
    """
    if lines < 0:
        raise UsageError("-n wants a number that is not negative")
    runs, status = _now(name)
    records = history_file.load(paths.history_file())
    now = time.time()
    last_sign = None if runs else _last_sign()
    found = account(records, name, now, last_sign=last_sign)
    if not found.known and status is None:
        _check_name(name, config)
    drops = found.drops[len(found.drops) - min(lines, len(found.drops)) :]
    if as_json:
        output.print_json(_as_json(name, found, status, drops, now))
    elif not found.known and status is None:
        output.note(f"nothing has happened yet to {name}; `tunnels up {name}` starts it")
    else:
        output.print_lines(_lines(name, found, status, drops, now))
    return 0


def _last_sign() -> float:
    return history_file.last_sign(paths.alive_file(), paths.pulse_file()) or 0.0


def _check_name(name: str, config: str | None) -> None:
    """Raises NoSuchProfile with the close names; UsageError for a glob."""
    file = known.load(config_path(config))
    profiles.select(file, [name])
    if name not in file.profiles:
        raise UsageError("`why` wants the name of one tunnel", hint="`tunnels list` shows them")


def _now(name: str) -> tuple[bool, TunnelStatus | None]:
    """Whether a daemon runs, and what it says of the tunnel. None is started."""
    try:
        with Client.connect() as client:
            tunnels = client.status().tunnels
    except DaemonNotRunning:
        return False, None
    except ControlError:  # it runs, and is stuck or of another version: the files know enough
        return True, None
    return True, next((tunnel for tunnel in tunnels if tunnel.name == name), None)


def _state(found: Account, status: TunnelStatus | None) -> TunnelState:
    if status is not None:
        return status.state
    if found.works:
        return TunnelState.UP
    trouble = found.trouble
    if trouble is not None and trouble.what in {What.FAILED, What.NEEDS_INPUT}:
        return TunnelState(trouble.what.value)
    return TunnelState.STOPPED


def _error(found: Account, status: TunnelStatus | None) -> ErrorInfo | None:
    """Why it is not up now."""
    if status is not None and status.state in _WORKS:
        return None
    if status is not None and status.error is not None:
        return status.error
    return None if found.trouble is None else found.trouble.error


# --- for people -----------------------------------------------------------------------------------


def _lines(
    name: str, found: Account, status: TunnelStatus | None, drops: tuple[Drop, ...], now: float
) -> list[Text]:
    from rich.text import Text  # noqa: PLC0415

    state = _state(found, status)
    mark, colour = render.MARKS[state]
    since = found.since if status is None else status.since
    head = Text.assemble((mark, colour), " ", (name, "bold"), "  ", (_word(state, found, status), colour))
    unsure = drops[-1].unsure if status is None and drops and drops[-1].end is None else 0.0
    head.append(f" for {_up_to(now - since, unsure)}")
    shown = [head]
    error = _error(found, status)
    if error is not None:
        shown.append(Text.assemble("    ", (printable(error.message), colour)))
        hint = error.hint or (f"tunnels up {name}" if status is None else None)
        if hint:
            shown.append(Text.assemble("    ", (f"→ {printable(hint)}", "dim")))
    for forward in () if status is None else status.forwards:
        if forward.destination is not None and forward.destination.failures:  # the tunnel is up, and no use
            words = render.destination_words(forward.destination)
            shown.append(Text(f"    {render.route(forward)}: {words}", "yellow"))
    shown += [Text(f"    {line}") for line in _summary(found, now)]
    if drops:
        shown.append(Text(""))
        width = max(7, *(len(_length(drop, now)) for drop in drops))
        listed = [_drop_lines(drop, now, width) for drop in reversed(drops)]
        shown += [line for lines in listed for line in lines]
        older = len(found.drops) - len(drops)
        if older:
            shown.append(Text(f"    and {older} before; -n {len(found.drops)} shows all", "dim"))
    return shown


def _word(state: TunnelState, found: Account, status: TunnelStatus | None) -> str:
    return "not running" if status is None and found.wanted and not found.works else state.value


def _summary(found: Account, now: float) -> list[str]:
    """The share of the time and what it is a share of."""
    if found.share is None:
        return ["not wanted in the last 7 days"]
    if found.wanted_for > found.window - 60:
        of = "of the last 7 days"
    else:
        of = f"of the {render.duration(found.wanted_for)} it was wanted in the last 7 days"
    count = found.recent(now)
    best = min(1.0, (found.up_for + found.unsure_for) / found.wanted_for)
    least = "at least " if _percent(found.share) != _percent(best) else ""
    lines = [
        f"up {least}{_percent(found.share)} {of} · {render.plural(count, 'drop') if count else 'no drop'}"
    ]
    rest = []
    if found.off_for >= 0.05:
        rest.append(f"{_up_to(found.off_for, found.unsure_for)} no daemon ran")
    if found.asleep_for >= 0.05:
        rest.append(f"{render.duration(found.asleep_for)} the machine slept")
    if rest:
        lines.append(f"of the rest: {', '.join(rest)}")
    return lines


def _up_to(seconds: float, unsure: float) -> str:
    """A duration, with no more said than is known of it."""
    said = render.duration(seconds)
    return said if said == render.duration(seconds - unsure) else f"up to {said}"


def _percent(share: float) -> str:
    """Rounded down: 100 % is said only where nothing is missing."""
    tenths = int(share * 1000 + 1e-9)
    return f"{tenths // 10}.{tenths % 10} %" if tenths % 10 else f"{tenths // 10} %"


def _drop_lines(drop: Drop, now: float, width: int) -> list[Text]:
    """When, how long, what was done about it; and below it why."""
    from rich.text import Text  # noqa: PLC0415

    this_year = now - drop.begin < _A_YEAR
    when = time.strftime("%a %d %b %H:%M" if this_year else "%d %b %Y %H:%M", time.localtime(drop.begin))
    head = Text.assemble(
        "    ", (when, "bold"), "  ", _length(drop, now).ljust(width), "  ", (_done(drop), "dim")
    )
    lines = [head, Text(f"        {_cause(drop)}")]
    if drop.then is not None:
        lines.append(Text(f"        then {printable(drop.then.message)}"))
    return lines


def _length(drop: Drop, now: float) -> str:
    return _up_to((now if drop.end is None else drop.end) - drop.begin, drop.unsure)


def _cause(drop: Drop) -> str:
    said = printable(drop.cause.message) if drop.cause is not None else "the reason is not known"
    return f"this machine slept for {render.duration(drop.slept)}" if drop.slept else said


def _done(drop: Drop) -> str:
    if drop.end is None:
        needs = {None: "", What.NEEDS_INPUT: ": it waits for an answer"}
        return "still going on" + needs.get(drop.stuck, ": somebody has to mend it")
    if not drop.back:
        return "taken down before it was up again"
    words = "back"
    if drop.daemon:
        words += " with the next daemon"
    elif drop.stuck is not None:
        answered = drop.stuck is What.NEEDS_INPUT
        words += " after somebody answered" if answered else " after somebody started it again"
    else:
        words += " by itself"
    if drop.attempts > 1:
        words += f", {drop.attempts} attempts"
    return words


# --- for programs ---------------------------------------------------------------------------------


def _as_json(
    name: str, found: Account, status: TunnelStatus | None, drops: tuple[Drop, ...], now: float
) -> Json:
    known = found.known or status is not None
    return {
        "version": JSON_VERSION,
        "name": name,
        "state": _state(found, status).value,
        "wanted": found.wanted or status is not None,
        "since": format_time(found.since if status is None else status.since) if known else None,
        "error": error_to_json(_error(found, status)),
        "window": {
            "seconds": found.window,
            "wanted_seconds": round(found.wanted_for, 1),
            "up_seconds": round(found.up_for, 1),
            "no_daemon_seconds": round(found.off_for, 1),
            "unsure_seconds": round(found.unsure_for, 1),
            "asleep_seconds": round(found.asleep_for, 1),
            "share": None if found.share is None else round(found.share, 6),
            "drops": found.recent(now),
        },
        "drops": [_drop_as_json(drop, now) for drop in drops],
    }


def _drop_as_json(drop: Drop, now: float) -> Json:
    return {
        "from": format_time(drop.begin, precise=True),
        "to": None if drop.end is None else format_time(drop.end, precise=True),
        "seconds": round((now if drop.end is None else drop.end) - drop.begin, 1),
        "unsure_seconds": round(drop.unsure, 1),
        "cause": error_to_json(ErrorInfo("slept", _cause(drop)) if drop.slept else drop.cause),
        "then": error_to_json(drop.then),
        "attempts": drop.attempts,
        "back": drop.back,
        "summary": _done(drop),
    }
