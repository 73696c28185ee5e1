"""What is said on the desktop, with a program in the place of notify-send that writes down what it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import LIMIT
from tunnels.core.profile import Profile
from tunnels.core.state import TunnelState as S
from tunnels.core.transition import Transition
from tunnels.errors import ErrorInfo
from tunnels.supervisor import notifications
from tunnels.supervisor.notifications import QUIET, Notifications, command

REFUSED = ErrorInfo("login-refused", "the server refused the key", "ssh-copy-id vps")
WORK_DB = Profile("work-db", "bastion")


@pytest.fixture
def bin_folder(home: Path) -> Path:
    folder = home / "bin"
    folder.mkdir()
    return folder


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o700)


class Desk:
    """A desktop and its clock."""

    def __init__(self, folder: Path, platform: str) -> None:
        self.now = 1000.0
        self.file = folder / "said"
        path = f"{folder}:/usr/bin:/bin"
        self.notifications = Notifications(
            {"PATH": path, "DISPLAY": ":0"}, platform=platform, clock=lambda: self.now, grace=0.02
        )

    def fail(
        self, profile: Profile = WORK_DB, state: S = S.FAILED, error: ErrorInfo | None = REFUSED
    ) -> None:
        self.notifications.observe(profile, Transition(profile.name, S.CONNECTING, state, 0.0, error))

    async def heard(self) -> list[str]:
        """Every argument, once everything has been said."""
        async with asyncio.timeout(LIMIT):
            while self.notifications._scope._tasks:
                await asyncio.wait(self.notifications._scope._tasks)
        return self.file.read_text().split("\0")[:-1] if self.file.exists() else []


@contextlib.asynccontextmanager
async def desk(folder: Path, *, platform: str = "linux") -> AsyncIterator[Desk]:
    name = "osascript" if platform == "darwin" else "notify-send"
    program(folder, name, f'printf "%s\\0" "$@" >> {folder}/said')
    made = Desk(folder, platform)
    try:
        yield made
    finally:
        await made.notifications.aclose()


async def test_a_tunnel_that_failed_says_so_with_its_error_and_what_to_do(bin_folder: Path) -> None:
    async with desk(bin_folder) as desktop:
        desktop.fail()
        assert await desktop.heard() == [
            *("--app-name=tunnels", "--", "work-db failed", "the server refused the key\nssh-copy-id vps")
        ]


async def test_a_question_is_said_too_and_nothing_else_is(bin_folder: Path) -> None:
    async with desk(bin_folder) as desktop:
        desktop.fail(state=S.BACKOFF)
        desktop.fail(state=S.UP, error=None)
        desktop.fail(state=S.NEEDS_INPUT, error=ErrorInfo("x", "a one-time password is wanted"))
        assert (await desktop.heard())[2:] == ["work-db needs input", "a one-time password is wanted"]


async def test_a_question_that_is_answered_at_once_is_not_said(bin_folder: Path) -> None:
    async with desk(bin_folder) as desktop:
        desktop.fail(state=S.NEEDS_INPUT, error=ErrorInfo("x", "a one-time password is wanted"))
        desktop.fail(state=S.CONNECTING, error=None)
        assert await desktop.heard() == []
        desktop.fail(state=S.NEEDS_INPUT, error=ErrorInfo("x", "a one-time password is wanted"))
        assert (await desktop.heard())[2:] == ["work-db needs input", "a one-time password is wanted"]


async def test_a_question_that_nobody_answers_is_said_once_however_often_it_is_asked(
    bin_folder: Path,
) -> None:
    password = ErrorInfo("needs-input", "me@bastion asks for an answer", "tunnels auth work-db")
    async with desk(bin_folder) as desktop:
        for _ in range(3):  # the server hangs up, and is tried again slowly
            desktop.fail(state=S.NEEDS_INPUT, error=password)
            assert (await desktop.heard())[2:] == [
                *("work-db needs input", "me@bastion asks for an answer\ntunnels auth work-db")
            ]
            desktop.fail(state=S.BACKOFF, error=password)
            desktop.now += 600
        desktop.fail(state=S.NEEDS_INPUT, error=ErrorInfo("x", "the host key is not known"))
        assert (await desktop.heard())[-1] == "the host key is not known", (
            "another question is another matter"
        )


async def test_the_same_question_after_the_tunnel_was_up_is_said_again(bin_folder: Path) -> None:
    async with desk(bin_folder) as desktop:
        for _ in range(2):
            desktop.fail(state=S.NEEDS_INPUT, error=ErrorInfo("x", "a one-time password is wanted"))
            await desktop.heard()
            desktop.fail(state=S.UP, error=None)
            desktop.now += QUIET
        assert (await desktop.heard()).count("work-db needs input") == 2


async def test_a_profile_may_be_quiet(bin_folder: Path) -> None:
    async with desk(bin_folder) as desktop:
        desktop.fail(replace(WORK_DB, notify=False))
        assert await desktop.heard() == []


async def test_a_tunnel_says_something_once_a_minute_at_most(bin_folder: Path) -> None:
    async with desk(bin_folder) as desktop:
        desktop.fail()
        desktop.now += QUIET - 1
        desktop.fail()
        desktop.fail(Profile("home", "vps"))
        said = await desktop.heard()
        assert sorted(each for each in said if each.endswith("failed")) == ["home failed", "work-db failed"]
        desktop.now += 1
        desktop.fail()
        assert (await desktop.heard()).count("work-db failed") == 2


async def test_macos_is_told_in_arguments_and_not_in_a_script(bin_folder: Path) -> None:
    evil = ErrorInfo("x", '" & (do shell script "touch /tmp/x") & "')
    async with desk(bin_folder, platform="darwin") as desktop:
        desktop.fail(error=evil)
        said = await desktop.heard()
    assert said[-2:] == ["work-db failed", evil.message]
    assert all(evil.message not in part for part in said[:-1])
    assert said[0::2][:3] == ["-e", "-e", "-e"]


def test_without_a_desktop_or_its_program_nothing_is_said(bin_folder: Path) -> None:
    there = {"PATH": str(bin_folder), "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}
    assert command("a", "b", there, "linux") is None
    assert command("a", "b", there, "darwin") is None
    program(bin_folder, "notify-send", "true")
    assert command("a", "b", there, "linux") is not None
    assert command("a", "b", {**there, "DBUS_SESSION_BUS_ADDRESS": ""}, "linux") is None


def test_what_a_server_says_commands_neither_the_desktop_nor_its_program(bin_folder: Path) -> None:
    program(bin_folder, "notify-send", "true")
    words = command("a", '<b>&x\\n\x1b[1m\n"-h"', {"PATH": str(bin_folder), "DISPLAY": ":0"}, "linux")
    assert words is not None
    assert words[-1] == '&lt;b&gt;&amp;x\\\\n [1m\n"-h"'


@pytest.mark.parametrize(
    ("script", "said"), [("echo no bus >&2; exit 1", "no bus"), ("sleep 600", "it did not say why")]
)
async def test_a_desktop_that_does_not_work_or_does_not_answer_is_logged(
    script: str,
    said: str,
    bin_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(notifications, "TIMEOUT", 0.2)
    async with desk(bin_folder) as desktop:
        program(bin_folder, "notify-send", script)
        desktop.fail()
        await desktop.heard()
    assert "notify-send did not work" in caplog.text
    assert said in caplog.text


async def test_a_program_that_vanishes_is_logged(bin_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with desk(bin_folder) as desktop:
        (bin_folder / "notify-send").write_text("#!/nowhere\n")
        desktop.fail()
        await desktop.heard()
    assert "notify-send" in caplog.text


async def test_a_login_page_is_said_once_for_all_tunnels_until_one_has_got_through(bin_folder: Path) -> None:
    page = ErrorInfo("captive-portal", "Wi-Fi login page at http://login.hotel/", "open it in a browser")
    async with desk(bin_folder) as desktop:
        desktop.fail(replace(WORK_DB, name="silent", notify=False), S.BACKOFF, page)
        for name in ("work-db", "home", "work-db"):
            desktop.now += QUIET
            desktop.fail(replace(WORK_DB, name=name), S.BACKOFF, page)
        assert await desktop.heard() == [
            *("--app-name=tunnels", "--", "work-db waits behind a login page"),
            "Wi-Fi login page at http://login.hotel/\nopen it in a browser",
        ]
        desktop.now += QUIET
        desktop.fail(replace(WORK_DB, name="home"), S.UP, None)
        desktop.fail(replace(WORK_DB, name="home"), S.BACKOFF, page)
        assert "home waits behind a login page" in await desktop.heard()
