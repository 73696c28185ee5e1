from __future__ import annotations

import io
import re
from collections.abc import Iterable
from textwrap import dedent, indent

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from tests.daemon.served import NOW, forward, tunnel
from tunnels.cli import render
from tunnels.core.question import Question
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import DaemonStatus, DestinationStatus, ForwardStatus, Snapshot, TunnelStatus
from tunnels.errors import DialReason, ErrorInfo

LOST = ErrorInfo("connection-lost", "the server did not answer the keepalives", None)
REFUSED = ErrorInfo(
    "login-refused", "bastion refused the login", "set identity_file; `tunnels logs work-db` has the details"
)


def printed(renderables: Iterable[object], *, width: int = 80, **how: object) -> str:
    """What a terminal of this width shows, without its colours."""
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, **{"color_system": None, **how})  # type: ignore[arg-type]
    for renderable in renderables:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def lines(*tunnels: TunnelStatus, daemon: DaemonStatus | None = None, now: float = NOW) -> list[Text]:
    return render.snapshot_lines(Snapshot(daemon, tunnels), now)


def shown(
    *tunnels: TunnelStatus, width: int = 80, now: float = NOW, daemon: DaemonStatus | None = None
) -> str:
    return printed(map(render.hanging, lines(*tunnels, now=now, daemon=daemon)), width=width)


def picture(text: str) -> str:
    return dedent(text).strip("\n")


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0.0s"),  # a clock that was set back
        (0, "0.0s"),
        (0.04, "0.0s"),
        (3.24, "3.2s"),
        (9.94, "9.9s"),
        (9.97, "10s"),
        (10, "10s"),
        (42.4, "42s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (60, "1m"),
        (723, "12m 3s"),
        (3599.6, "1h"),
        (3600, "1h"),
        (11_100, "3h 5m"),
        (86_399, "23h 59m"),
        (86_400, "1d"),
        (792_000, "9d 4h"),
        (86_400 * 1000, "1000d"),
    ],
)
def test_a_duration_is_as_coarse_as_a_person_wants_it(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e10))
def test_a_duration_has_at_most_two_units_and_is_never_far_off(seconds: float) -> None:
    text = render.duration(seconds)
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    assert re.fullmatch(r"\d+\.\ds|\d+[smhd]( \d+[smh])?", text)
    value = sum(float(part[:-1]) * units[part[-1]] for part in text.split())
    assert abs(value - seconds) <= max(0.5, seconds / 24)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1234, "1.2 kB"),
        (9949, "9.9 kB"),
        (9950, "10 kB"),
        (34_000_000, "34 MB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (10**12, "1.0 TB"),
        (10**18, "1000 PB"),
    ],
)
def test_a_size_has_a_decimal_unit_and_at_most_three_digits(count: int, text: str) -> None:
    assert render.size(count) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 clients"), (1, "1 client"), (2, "2 clients")])
def test_one_is_not_many(count: int, text: str) -> None:
    assert render.plural(count, "client") == text


# --- a tunnel in each state -----------------------------------------------------------------------

WAITING = forward(state=ForwardState.PENDING)

STATES: dict[str, tuple[TunnelStatus, str]] = {
    "up": (
        tunnel(since=NOW - 720, rtt_ms=23.44),
        """
        ● work-db  up 12m · bastion · 23.4 ms
            localhost:5432 → db.internal:5432
        """,
    ),
    "up, after a drop": (
        tunnel(since=NOW - 3, rtt_ms=0.52, reconnects=2, error=LOST),
        """
        ● work-db  up 3.0s · bastion · 0.5 ms · 2 reconnects
            localhost:5432 → db.internal:5432
        """,
    ),
    "connecting": (
        tunnel(state=TunnelState.CONNECTING, attempt=1, forwards=(WAITING,)),
        """
        ◌ work-db  connecting 0.0s · bastion
            localhost:5432 → db.internal:5432
        """,
    ),
    "connecting again": (
        tunnel(state=TunnelState.CONNECTING, attempt=3, error=LOST, forwards=(WAITING,)),
        """
        ◌ work-db  connecting 0.0s · bastion · attempt 3
            the server did not answer the keepalives
            localhost:5432 → db.internal:5432
        """,
    ),
    "backoff": (
        tunnel(
            state=TunnelState.BACKOFF,
            attempt=3,
            retry_at=NOW + 12,
            error=LOST,
            forwards=(WAITING._replace(held=2),),
        ),
        """
        ◌ work-db  backoff 0.0s · bastion · attempt 4 in 12s
            the server did not answer the keepalives
            localhost:5432 → db.internal:5432  2 waiting
        """,
    ),
    "backoff, overdue": (
        tunnel(state=TunnelState.BACKOFF, attempt=1, retry_at=NOW - 1, forwards=()),
        "◌ work-db  backoff 0.0s · bastion · attempt 2 in 0.0s",
    ),
    "needs-input": (
        tunnel(
            state=TunnelState.NEEDS_INPUT,
            error=ErrorInfo("host-key-unknown", "the host key of bastion is not known", "tunnels up work-db"),
            question=Question("7", "host-key", "the key of bastion is not known\nSHA256:abc", "Trust it?"),
            forwards=(WAITING,),
        ),
        """
        ? work-db  needs-input 0.0s · bastion
            the key of bastion is not known
            SHA256:abc
            → tunnels auth work-db
            localhost:5432 → db.internal:5432
        """,
    ),
    "needs-input, and the server has stopped waiting": (
        tunnel(
            state=TunnelState.NEEDS_INPUT,
            question=Question("7", "challenge", "me@bastion asks", "Code:", secret=True, stale=True),
            forwards=(),
        ),
        """
        ? work-db  needs-input 0.0s · bastion
            me@bastion asks
            Code:
            → tunnels auth work-db; the server has stopped waiting, and asks again then
        """,
    ),
    "failed": (
        tunnel(state=TunnelState.FAILED, since=NOW - 100_000, error=REFUSED, forwards=(WAITING,)),
        """
        ✗ work-db  failed 1d 3h · bastion
            bastion refused the login
            → set identity_file; `tunnels logs work-db` has the details
            localhost:5432 → db.internal:5432
        """,
    ),
    "idle, after a connection that was cut": (
        tunnel(state=TunnelState.IDLE, since=NOW - 42, error=REFUSED),
        """
        ◍ work-db  idle 42s · bastion · last error: bastion refused the login
            localhost:5432 → db.internal:5432
        """,
    ),
    "idle": (
        tunnel(state=TunnelState.IDLE, since=NOW - 42),
        """
        ◍ work-db  idle 42s · bastion
            localhost:5432 → db.internal:5432
        """,
    ),
    "up, and the network is away": (
        tunnel(since=NOW - 720, rtt_ms=23.44, offline=True),
        """
        ● work-db  up 12m · bastion · offline: no route to it at the moment · 23.4 ms
            localhost:5432 → db.internal:5432
        """,
    ),
    "backoff, and the network is away": (
        tunnel(state=TunnelState.BACKOFF, retry_at=NOW + 30, error=LOST, offline=True, forwards=(WAITING,)),
        """
        ◌ work-db  backoff 0.0s · bastion · offline, waits for the network · attempt 1
          in 30s
            the server did not answer the keepalives
            localhost:5432 → db.internal:5432
        """,
    ),
    "idle, and the network is away": (
        tunnel(state=TunnelState.IDLE, offline=True),
        """
        ◍ work-db  idle 0.0s · bastion
            localhost:5432 → db.internal:5432
        """,
    ),
    "stopping": (
        tunnel(state=TunnelState.STOPPING, forwards=()),
        "◌ work-db  stopping 0.0s · bastion",
    ),
    "stopped": (
        tunnel(state=TunnelState.STOPPED, forwards=()),
        "○ work-db  stopped 0.0s · bastion",
    ),
}


def test_a_servers_novel_takes_a_few_lines_of_a_status_and_commands_nothing() -> None:
    question = Question("7", "challenge", "\x1b[2J\n" * 100, "x" * 1000)
    text = shown(tunnel(state=TunnelState.NEEDS_INPUT, question=question, forwards=()))
    assert len(text.splitlines()) < 12
    assert "\x1b" not in text
    assert "x" * 300 not in text


@pytest.mark.parametrize("name", STATES)
def test_each_state_as_it_is_shown(name: str) -> None:
    status, expected = STATES[name]
    assert shown(status) == picture(expected)


def test_every_state_is_among_the_pictures_and_has_a_mark() -> None:
    assert {status.state for status, _ in STATES.values()} == set(TunnelState) == set(render.MARKS)


@pytest.mark.parametrize("state", [TunnelState.UP, TunnelState.FAILED, TunnelState.NEEDS_INPUT])
def test_a_state_can_be_told_by_its_mark_alone(state: TunnelState) -> None:
    mark = render.MARKS[state][0]
    assert [other for other, (its, _) in render.MARKS.items() if its == mark] == [state]


# --- forwards -------------------------------------------------------------------------------------

FORWARDS: dict[str, tuple[ForwardStatus, str]] = {
    "local": (forward(), "localhost:5432 → db.internal:5432"),
    "named": (forward(name="db"), "localhost:5432 → db.internal:5432  db"),
    "remote": (
        forward("localhost:2222", "localhost:22", kind="remote"),
        "server localhost:2222 → localhost:22",
    ),
    "remote proxy": (
        forward("localhost:1080", None, kind="remote"),
        "server localhost:1080 (SOCKS and HTTP proxy)",
    ),
    "dynamic": (forward("localhost:1080", None, kind="dynamic"), "localhost:1080 (SOCKS and HTTP proxy)"),
    "busy": (
        forward(connect="db:5432", clients=1, held=2, bytes_in=12_345_678, bytes_out=999),
        "localhost:5432 → db:5432  1 client · 2 waiting · 12 MB in, 999 B out",
    ),
    "open": (
        forward("*:5432", reachable_by_others=True),
        "*:5432 → db.internal:5432  open to other machines",
    ),
    "failed": (
        forward(
            connect="db:5432",
            state=ForwardState.FAILED,
            error=ErrorInfo(
                "listen-failed", "port 5432 is in use by postgres (pid 812)", "port 5433 is free"
            ),
            clients=3,
        ),
        """
        localhost:5432 → db:5432  port 5432 is in use by postgres (pid 812)
          → port 5433 is free
        """,
    ),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_each_forward_as_it_is_shown_below_its_tunnel(name: str) -> None:
    status, expected = FORWARDS[name]
    got = printed(map(render.hanging, render.forward_lines(status)))
    assert got == indent(picture(expected), "    ")


# --- width ----------------------------------------------------------------------------------------


def test_names_stand_above_each_other() -> None:
    assert shown(tunnel("a", forwards=()), tunnel("work-db", forwards=())) == picture(
        """
        ● a        up 0.0s · bastion
        ● work-db  up 0.0s · bastion
        """
    )


LONG = tunnel(
    "x" * 64,
    TunnelState.FAILED,
    host="a-very-long-host-name.with-many-labels.internal.example.com",
    error=ErrorInfo("connect-failed", "word " * 60, "hint " * 60),
    forwards=(
        forward("localhost:5432", f"{'d' * 200}.internal:5432", error=LOST, state=ForwardState.FAILED),
    ),
)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_long_name_and_a_long_error_are_folded_and_nothing_is_cut_off(width: int) -> None:
    text = shown(LONG, width=width)
    assert all(len(line) <= width for line in text.splitlines())
    together = "".join(text.split())
    for part in (LONG.name, LONG.host, "word" * 60, "hint" * 60, "d" * 200, LOST.message.replace(" ", "")):
        assert part in together


def test_what_is_folded_stays_below_its_beginning() -> None:
    error = ErrorInfo(
        "connect-failed", "the message of this error is longer than the terminal is wide", "a hint"
    )
    assert shown(tunnel(state=TunnelState.FAILED, error=error), width=40) == picture(
        """
        ✗ work-db  failed 0.0s · bastion
            the message of this error is longer
            than the terminal is wide
            → a hint
            localhost:5432 → db.internal:5432
        """
    )


def test_a_question_that_several_tunnels_wait_for_is_shown_once() -> None:
    question = Question("7", "host-key", "the key of bastion is not known\nSHA256:abc", "Trust it?")
    other = question._replace(id="8")
    text = shown(
        tunnel("a", TunnelState.NEEDS_INPUT, question=question, forwards=()),
        tunnel("b", TunnelState.NEEDS_INPUT, question=other, forwards=()),
    )
    assert text.count("SHA256:abc") == 1
    assert text.endswith("waits for the same answer as a")


# --- what is not text -----------------------------------------------------------------------------


def test_brackets_are_shown_as_they_are_and_style_nothing() -> None:
    text = shown(
        tunnel("work-db", host="[red]host[/red]", forwards=(forward("[::1]:5432", "[2001:db8::1]:5432"),))
    )
    assert "[red]host[/red]" in text
    assert "[::1]:5432 → [2001:db8::1]:5432" in text


def test_a_message_from_a_server_cannot_command_the_terminal() -> None:
    evil = ErrorInfo("connection-lost", "bye \x1b]0;owned\x07\x1b[2J\x1b[31m\r\x08", "hint \x1b[2J")
    down = tunnel(
        state=TunnelState.BACKOFF, error=evil, forwards=(forward(state=ForwardState.FAILED, error=evil),)
    )
    for text in (shown(down), shown(down._replace(state=TunnelState.UP))):
        assert not set(text) & {"\x1b", "\x07", "\r", "\x08"}, repr(text)


def test_without_colours_there_are_no_escape_sequences_and_with_them_the_same_text() -> None:
    everything = [status for status, _ in STATES.values()]
    plain = printed(lines(*everything), force_terminal=True)
    coloured = printed(lines(*everything), force_terminal=True, color_system="truecolor")
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


# --- around the tunnels ---------------------------------------------------------------------------


def test_a_problem_of_the_profile_file_stands_below_what_runs_with_all_its_lines() -> None:
    daemon = DaemonStatus(1, "0.1.0", NOW, "/p.toml", "/p.toml: 2 problems\n  line 1: one\n  line 9: two")
    assert shown(tunnel(forwards=()), daemon=daemon) == picture(
        """
        ● work-db  up 0.0s · bastion

        the profile file has a problem; what runs goes on as it is:
            /p.toml: 2 problems
              line 1: one
              line 9: two
        """
    )


def test_the_live_view_counts_what_is_up_and_says_what_ctrl_c_does() -> None:
    up, down = tunnel("a", forwards=()), tunnel("b", TunnelState.FAILED, forwards=())
    assert printed([render.live_view(Snapshot(None, (up, down)), NOW)]) == picture(
        """
        tunnels  1 of 2 up  ·  Ctrl-C ends this view, not the tunnels

        ● a  up 0.0s · bastion
        ✗ b  failed 0.0s · bastion
        """
    )


def test_what_waits_for_clients_works_and_counts_as_up() -> None:
    idle, down = tunnel("a", TunnelState.IDLE), tunnel("b", TunnelState.BACKOFF)
    assert "1 of 2 up" in printed([render.live_view(Snapshot(None, (idle, down)), NOW)])


def test_the_live_view_of_nothing_says_so() -> None:
    assert "no tunnel is running" in printed([render.live_view(Snapshot(None), NOW)])


def test_a_proxy_says_how_many_programs_resolve_names_by_themselves() -> None:
    shown = "".join(
        line.plain
        for line in render.forward_lines(forward("localhost:1080", None, kind="dynamic", by_address=12))
    )
    assert shown.endswith("12 requests by address")


def test_a_destination_that_refuses_is_said_beside_its_forward() -> None:
    trouble = DestinationStatus(3, 0.0, "refused", "db:5432: Connection refused")
    [line] = render.forward_lines(forward("localhost:5432", destination=trouble))
    assert line.plain.endswith("refused the last 3")
    [line] = render.forward_lines(forward("localhost:5432", destination=DestinationStatus(0, 0.0)))
    assert "last" not in line.plain


def test_every_reason_has_its_words() -> None:
    for reason in DialReason:
        words = render.destination_words(DestinationStatus(1, 0.0, reason.name.lower().replace("_", "-")))
        assert words.endswith("the last one")


def test_clients_that_were_turned_away_are_said_with_the_limit_and_where_it_is_raised() -> None:
    daemon = DaemonStatus(1, "0.1.0", NOW, "/p.toml", file_limit=256, turned_away=3)
    text = " ".join(shown(tunnel(forwards=()), daemon=daemon).split())
    assert "clients were turned away: 3 since the daemon started" in text
    assert "256 files" in text
    assert "ulimit" in text
