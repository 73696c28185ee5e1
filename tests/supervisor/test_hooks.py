"""Hooks, with real commands: when they run, what they know, and that nothing waits for them for ever."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tunnels.core.profile import Profile
from tunnels.core.state import TunnelState as S
from tunnels.core.transition import Transition
from tunnels.errors import ErrorInfo
from tunnels.supervisor import hooks as module
from tunnels.supervisor.hooks import Hooks, hooks_for

LOST = ErrorInfo("connection-lost", "the server did not answer")
HOME = Profile("home", "me@vps", on_up=("u",), on_down=("d",), on_failed=("f",))


def change(before: S, after: S, error: ErrorInfo | None = None) -> Transition:
    return Transition("home", before, after, 0.0, error)


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (S.CONNECTING, S.UP, ["up"]),
        (S.UP, S.BACKOFF, ["down"]),
        (S.UP, S.STOPPING, ["down"]),
        (S.UP, S.FAILED, ["down", "failed"]),
        (S.UP, S.IDLE, ["down"]),
        (S.CONNECTING, S.FAILED, ["failed"]),
        (S.CONNECTING, S.NEEDS_INPUT, ["failed"]),
        (S.BACKOFF, S.STOPPING, []),
        (S.STOPPED, S.CONNECTING, []),
        (S.CONNECTING, S.BACKOFF, []),
    ],
)
def test_each_change_has_its_hooks(before: S, after: S, events: list[str]) -> None:
    assert [hook.event for hook in hooks_for(HOME, change(before, after))] == events
    assert list(hooks_for(Profile("home", "vps"), change(before, after))) == []


def test_a_hook_knows_what_has_happened() -> None:
    (hook,) = hooks_for(HOME, change(S.UP, S.BACKOFF, ErrorInfo("lost", "gone\0\x1b[31m")))
    assert hook.variables == {
        "TUNNELS_EVENT": "down",
        "TUNNELS_NAME": "home",
        "TUNNELS_HOST": "me@vps",
        "TUNNELS_STATE": "backoff",
        "TUNNELS_ERROR_CODE": "lost",
        "TUNNELS_ERROR": "gone  [31m",
    }
    (hook,) = hooks_for(HOME, change(S.CONNECTING, S.UP))
    assert (hook.variables["TUNNELS_ERROR"], hook.variables["TUNNELS_ERROR_CODE"]) == ("", "")


@contextlib.asynccontextmanager
async def hooked() -> AsyncIterator[Hooks]:
    hooks = Hooks({"PATH": "/usr/bin:/bin", "OWN": "kept"})
    try:
        yield hooks
    finally:
        await hooks.aclose()


def sh(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


async def test_it_runs_at_home_with_the_daemons_environment_and_its_own(home: Path) -> None:
    script = 'cat > input; echo "$OWN $TUNNELS_EVENT $TUNNELS_NAME $TUNNELS_STATE $TUNNELS_ERROR" > said'
    async with hooked() as hooks:
        hooks.observe(replace(HOME, on_down=sh(script)), change(S.UP, S.BACKOFF, LOST))
    assert (home / "said").read_text() == "kept down home backoff the server did not answer\n"
    assert (home / "input").read_text() == ""


async def test_a_program_of_the_home_folder_is_found(home: Path) -> None:
    program = home / "page-me"
    program.write_text("#!/bin/sh\necho paged > ~/paged\n")
    program.chmod(0o700)
    hooks = Hooks({"PATH": "/usr/bin:/bin", "HOME": str(home)})
    hooks.observe(replace(HOME, on_up=("~/page-me",)), change(S.CONNECTING, S.UP))
    await hooks.aclose()
    assert (home / "paged").read_text() == "paged\n"


async def test_hooks_of_a_tunnel_run_one_after_the_other_in_order(home: Path) -> None:
    slow = replace(
        HOME, on_up=sh("echo up+ >> log; sleep 0.2; echo up- >> log"), on_down=sh("echo down >> log")
    )
    async with hooked() as hooks:
        hooks.observe(slow, change(S.CONNECTING, S.UP))
        hooks.observe(slow, change(S.UP, S.BACKOFF, LOST))
    assert (home / "log").read_text().split() == ["up+", "up-", "down"]


async def test_what_it_prints_and_its_status_are_in_the_tunnels_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "tunnels")
    async with hooked() as hooks:
        hooks.observe(
            replace(HOME, on_up=sh("echo hello; echo oops >&2; exit 3")), change(S.CONNECTING, S.UP)
        )
    said = [record.getMessage() for record in caplog.records]
    assert said[:2] == ["on_up: hello", "on_up: oops"]
    assert said[2].startswith("on_up ended with status 3 after")
    assert caplog.records[2].levelname == "ERROR"
    assert {record.tunnel for record in caplog.records} == {"home"}  # type: ignore[attr-defined]


async def test_a_talkative_hook_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tunnels")
    async with hooked() as hooks:
        hooks.observe(replace(HOME, on_up=sh("seq 100000")), change(S.CONNECTING, S.UP))
    assert len(caplog.records) == module._LINES + 2
    assert caplog.records[-2].getMessage() == "on_up: …"


@pytest.mark.parametrize("words", [("/nowhere/page-me",), ("nowhere-to-be-found",), ("/",)])
async def test_a_program_that_cannot_be_run_is_said(
    words: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with hooked() as hooks:
        hooks.observe(replace(HOME, on_up=words), change(S.CONNECTING, S.UP))
    assert f"on_up: {words[0]} cannot be run" in caplog.text


async def test_one_that_does_not_end_is_killed_and_the_next_one_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    stuck = replace(HOME, on_up=sh("sleep 600"), on_down=sh("echo down > down"))
    async with hooked() as hooks:
        hooks.observe(stuck, change(S.CONNECTING, S.UP))
        hooks.observe(stuck, change(S.UP, S.STOPPING))
    assert "on_up did not end within 0.2 s, and was killed" in caplog.text
    assert (home / "down").exists()


async def test_a_flapping_link_piles_up_no_processes_and_the_last_word_is_the_latest(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flapping = replace(HOME, on_up=sh("echo up >> log"), on_down=sh("echo down >> log"))
    async with hooked() as hooks:
        for _ in range(50):
            hooks.observe(flapping, change(S.CONNECTING, S.UP))
            hooks.observe(flapping, change(S.UP, S.BACKOFF, LOST))
    ran = (home / "log").read_text().split()
    assert len(ran) == module.MAX_WAITING
    assert ran[-1] == "down"
    assert caplog.text.count("left out") == 100 - module.MAX_WAITING


async def test_not_more_than_so_many_run_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RUNNING", 1)
    async with hooked() as hooks:
        for name in ("a", "b", "c"):
            one = Profile(name, "vps", on_up=sh(f"echo {name} >> log; sleep 0.05; echo {name} >> log"))
            hooks.observe(one, change(S.CONNECTING, S.UP))
    assert (home / "log").read_text().split() == ["a", "a", "b", "b", "c", "c"]


async def test_the_end_waits_for_hooks_but_not_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "END_TIMEOUT", 0.3)
    stuck = replace(HOME, on_up=sh("sleep 600"), on_down=sh("echo down > down"))
    async with asyncio.timeout(5), hooked() as hooks:
        hooks.observe(stuck, change(S.CONNECTING, S.UP))
        await asyncio.sleep(0)  # it runs
        hooks.observe(stuck, change(S.UP, S.STOPPING))
    assert "on_down left out: there is no more time" in caplog.text
    assert not (home / "down").exists()
