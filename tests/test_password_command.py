"""The command that prints a secret: what is taken of its output, what is said when it fails, and that it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tunnels import password_command
from tunnels.errors import BadSetting
from tunnels.password_command import run

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("command", "secret"),
    [
        ("echo hunter2", "hunter2"),
        ("printf hunter2", "hunter2"),  # no end of line
        ("printf 'hunter2\\r\\n'", "hunter2"),
        ("printf 'hunter2\\nuser: me\\n'", "hunter2"),  # pass(1) keeps more in the lines below
        ("printf ' hunter2 \\n'", " hunter2 "),  # blanks may be part of it
        ("printf 'p\\303\\244ss\\n'", "päss"),
        ("echo hunter2 | tr 2 3 && true", "hunter3"),  # it is for a shell
        ("echo $HOME", None),
    ],
)
async def test_the_first_line_that_the_shell_prints_is_the_secret(
    command: str, secret: str | None, home: Path
) -> None:
    assert await run(command) == (str(home) if secret is None else secret)


async def test_bytes_that_are_no_utf_8_come_through() -> None:
    assert (await run("printf '\\377\\n'")).encode("utf-8", "surrogateescape") == b"\xff"


async def test_the_command_has_no_terminal_and_no_input() -> None:
    look = "if [ -t 0 ] || [ -t 1 ] || (: </dev/tty) 2>/dev/null; then echo a terminal; else echo none; fi"
    assert await run(f"cat; {look}") == "none"


@pytest.mark.parametrize("status", [1, 3, 127])
async def test_a_command_that_fails_says_its_status_and_nothing_of_its_output(status: int) -> None:
    with pytest.raises(BadSetting) as caught:
        await run(f"echo {SECRET}; echo {SECRET} >&2; exit {status}")
    assert caught.value.message == f"password_command ended with status {status}"
    assert "try it in a shell" in (caught.value.hint or "")


@pytest.mark.parametrize("command", ["true", "echo", "printf '\\nsecond line'"])
async def test_a_command_that_prints_nothing_in_its_first_line_is_an_error(command: str) -> None:
    with pytest.raises(BadSetting, match="printed nothing"):
        await run(command)


async def test_the_secret_is_in_no_log_not_even_that_of_the_event_loop(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    await run(f"echo {SECRET[:3]}''{SECRET[3:]}; echo {SECRET[:3]}''{SECRET[3:]} >&2")
    assert SECRET not in caplog.text
    assert capfd.readouterr() == ("", "")


async def _ended(pid: int) -> None:
    """Wait until a process has ended, and reap nothing."""
    async with asyncio.timeout(2):
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                await asyncio.sleep(0)


async def _pid(file: Path) -> int:
    """Wait for the pid that a command writes."""
    while not (file.exists() and file.read_text().strip()):
        await asyncio.sleep(0)
    return int(file.read_text())


async def test_a_command_that_does_not_end_is_given_up_and_ended(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(password_command, "TIMEOUT", 0.2)
    with pytest.raises(BadSetting, match=r"did not end within 0\.2 s"):
        await run(f"echo $$ > {home}/pid; exec sleep 600")
    await _ended(int((home / "pid").read_text()))


async def test_what_a_command_has_started_ends_with_it(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(password_command, "TIMEOUT", 0.2)
    running = asyncio.get_running_loop().create_task(run(f"sleep 600 & echo $! > {home}/pid; wait"))
    child = await _pid(home / "pid")
    try:
        with pytest.raises(BadSetting, match="did not end"):
            await asyncio.wait_for(asyncio.shield(running), 2)
        await _ended(child)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        await asyncio.wait([running])


async def test_a_command_is_given_up_even_if_something_that_it_has_started_cannot_be_ended(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setattr(password_command, "TIMEOUT", 0.2)
    in_a_session_of_its_own = f"import os; os.setsid(); open('{home}/pid', 'w').write(str(os.getpid()))"
    script = f'{sys.executable} -I -S -c "{in_a_session_of_its_own}; import time; time.sleep(600)" & wait'
    running = asyncio.get_running_loop().create_task(run(script))
    daemon = await _pid(home / "pid")
    try:
        with pytest.raises(BadSetting, match="did not end"):
            await asyncio.wait_for(asyncio.shield(running), 2)
    finally:
        os.kill(daemon, signal.SIGKILL)
        await asyncio.wait([running])


async def test_a_command_that_is_cancelled_is_ended(home: Path) -> None:
    running = asyncio.get_running_loop().create_task(run(f"echo $$ > {home}/pid; exec sleep 600"))
    pid = await _pid(home / "pid")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await _ended(pid)


async def test_no_more_than_64_kib_of_its_output_are_looked_at() -> None:
    try:
        secret = await run("head -c 1000000 /dev/zero | tr '\\0' x")
    except BadSetting:
        return
    assert len(secret) <= 64 * 1024
