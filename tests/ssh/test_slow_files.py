"""Files on a file system that has stopped answering."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.fakes import turns
from tunnels.core.profile import Profile
from tunnels.core.question import NobodyThere
from tunnels.errors import HostUnreachable
from tunnels.ssh import known_hosts_file, slow_files
from tunnels.ssh.destination import Destination
from tunnels.ssh.hop import Hop
from tunnels.tasks import TaskScope

DEAD = Destination("dead", "dead.example.com", 22, "me", user_known_hosts_files=("/nfs/known_hosts",))


async def test_what_is_read_and_what_is_raised_comes_back() -> None:
    assert await slow_files.read(lambda: "text", "a file", "bastion") == "text"
    with pytest.raises(ZeroDivisionError):
        await slow_files.read(lambda: 1 // 0, "a file", "bastion")


async def test_a_file_that_hangs_ends_the_attempt_and_not_many_threads_stay_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slow_files, "TIMEOUT", 0.01)
    go_on, begun = threading.Event(), 0

    def hang() -> None:
        nonlocal begun
        begun += 1
        go_on.wait(10)

    try:
        for _ in range(slow_files.MAX_HANGING + 5):
            with pytest.raises(HostUnreachable, match="could not be read"):
                await slow_files.read(hang, "a file", "bastion")
        assert begun == slow_files.MAX_HANGING
        monkeypatch.setattr(slow_files, "TIMEOUT", 5.0)
        assert await slow_files.read(lambda: "text", "a file", "another") == "text"
    finally:
        go_on.set()


async def test_known_hosts_files_that_hang_take_no_thread_that_names_are_looked_up_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()

    def hang(_file: str) -> str:
        go_on.wait(10)
        return ""

    monkeypatch.setattr(known_hosts_file, "read", hang)
    scope = TaskScope("test")
    try:
        for _ in range(50):  # an executor has at most 32 threads
            hop = Hop(Profile("dead", "dead"), DEAD, NobodyThere(), None)
            scope.spawn(hop.connect(lambda _addresses: None), name="attempt")
        await turns()
        async with asyncio.timeout(5):
            await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 22)
        await scope.aclose()
    finally:
        go_on.set()
