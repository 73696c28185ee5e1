"""The program ``ssh`` is asked once for each question, and never for longer than it may take."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.ssh.test_resolve import real_ssh, target
from tunnels.errors import HostUnreachable
from tunnels.ssh import ask_ssh


@real_ssh
async def test_an_exec_that_does_not_end_is_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask_ssh, "SSH_G_TIMEOUT", 0.5)
    started = home / "pid"

    with pytest.raises(HostUnreachable, match=r"within 0\.5 s"):  # it may be looking for the network
        await target(f'Match exec "echo $$ > {started}; exec sleep 30"\n', home)

    assert gone(int(started.read_text()))


@real_ssh
async def test_giving_up_ends_ssh_and_what_it_has_started(home: Path) -> None:
    started = home / "pid"
    config = f'Match exec "echo $$ > {started}.new; mv {started}.new {started}; exec sleep 30"\n'
    asking = asyncio.ensure_future(target(config, home))  # noqa: TID251 - awaited below
    while not started.exists():
        await asyncio.sleep(0.005)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert gone(int(started.read_text()))


def gone(pid: int) -> bool:
    """Whether a process that was killed is gone; the kernel may take a moment."""
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(state.stdout) and not state.stdout.startswith("Z")
