"""Waiting for tunnels as `up` and `auth` do; what a person is asked meanwhile is in test_up_questions.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.cli.fake_client import BACKOFF, CONNECTING, FAILED, REFUSED, FakeClient, up
from tests.daemon.served import profile_file, tunnel
from tunnels.cli import waiting
from tunnels.core.status import Snapshot
from tunnels.errors import ConnectError, ErrorInfo


@pytest.fixture(autouse=True)
def _file() -> None:
    profile_file()


# --- what goes on ---------------------------------------------------------------------------------

DIALLING = (tunnel("work-db", CONNECTING), tunnel("work-web", BACKOFF, error=REFUSED), tunnel("home"))


def test_when_the_time_is_over_what_goes_on_trying_is_said_with_what_ends_it() -> None:
    one = up(FakeClient(DIALLING), "work-web", "home", "--timeout", "0s")
    assert one.err.endswith(
        "hint: set identity_file\nwork-web goes on trying; `tunnels down work-web` ends it\n"
    )
    both = up(FakeClient(DIALLING), "work-*", "--timeout", "0s")
    assert both.err.endswith("work-db, work-web go on trying; `tunnels down work-db work-web` ends them\n")
    assert "trying" not in up(FakeClient((tunnel("work-db", FAILED, error=REFUSED),))).err
    assert up(FakeClient(DIALLING), "work-db", "--timeout", "0s", "--json").err == ""


@pytest.mark.parametrize("is_terminal", [True, False])
def test_after_ctrl_c_what_goes_on_trying_is_said(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool
) -> None:
    client = FakeClient(DIALLING)

    def watch(_interval: float) -> Iterator[Snapshot]:
        yield Snapshot(None, DIALLING)
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "watch", watch)
    result = up(client, "work-db", "home", is_terminal=is_terminal)
    assert result.code == 130
    assert result.err.endswith("work-db goes on trying; `tunnels down work-db` ends it\n")


# --- the spinner ----------------------------------------------------------------------------------


def test_the_step_of_the_moment_is_shown_on_a_terminal_and_nowhere_else() -> None:
    lost = ErrorInfo("host-unreachable", "bastion did not [answer] in time", None)
    steps = (
        (tunnel(state=CONNECTING),),
        (tunnel(state=BACKOFF, error=lost),),
        (tunnel(state=FAILED, error=REFUSED),),
    )
    shown = up(FakeClient(*steps), is_terminal=True)
    assert "\x1b[?25h" in shown.err, "the cursor stays hidden"
    assert "\x1b" not in up(FakeClient(*steps)).err
    assert shown.code == 1


def test_the_spinner_is_away_while_a_person_types(monkeypatch: pytest.MonkeyPatch) -> None:
    events = []

    class Status:
        def start(self) -> None:
            events.append("start")

        def stop(self) -> None:
            events.append("stop")

        def update(self, text: object) -> None:
            events.append(f"step {text}")

    say = waiting._Say(None)
    say._shown = Status()  # type: ignore[assignment]  # stands in for rich's
    say.step("work-db: connecting")
    with contextlib.suppress(ConnectError), say.paused():
        events.append("typing")
        raise ConnectError("no")
    assert events == ["step work-db: connecting", "stop", "typing", "start"]
