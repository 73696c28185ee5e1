"""Proxy commands: how they are run, what becomes of what they say, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.forwarding import fakes
from tests.forwarding.fakes import turns, until
from tunnels.core.profile import Profile
from tunnels.errors import BadSetting, HandshakeFailed, HostUnreachable, LoginRefused, TunnelsError
from tunnels.ssh import hop, proxy_command
from tunnels.ssh.connect import connect
from tunnels.ssh.proxy_command import BURST, LINE_LIMIT, ProxyCommand
from tunnels.tasks import TaskScope

every_loop = fakes.every_loop
pytestmark = pytest.mark.usefixtures("every_loop")

LOST = HostUnreachable("example.com hung up before the login")


@asynccontextmanager
async def running(command: str, say: Callable[[str], None] = lambda _: None) -> AsyncIterator[ProxyCommand]:
    """Run a command; after the block nothing of it is left."""
    scope = TaskScope("test")
    files = psutil.Process().num_fds()
    there = ProxyCommand(command, scope, say)
    try:
        yield there
    finally:
        there.sock.close()
        await there.aclose()
        await scope.aclose()
        assert psutil.Process().num_fds() <= files
        with pytest.raises(ChildProcessError):  # no zombie
            os.waitpid(there._process.pid, os.WNOHANG)


async def read(command: ProxyCommand) -> bytes:
    """Everything it writes to us."""
    loop = asyncio.get_running_loop()
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while data := await loop.sock_recv(command.sock, 65536):
            got += data
    return got


def group(pgid: int) -> list[int]:
    """Everything that lives in a process group."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == pgid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


async def test_bytes_go_both_ways_and_what_it_says_on_stderr_goes_elsewhere() -> None:
    said: list[str] = []
    async with running("sh -c 'echo careful >&2; cat'", said.append) as command:
        await asyncio.get_running_loop().sock_sendall(command.sock, b"hello")
        command.sock.shutdown(socket.SHUT_WR)
        assert await read(command) == b"hello"
        await until(lambda: said == ["careful"])


async def test_it_is_run_by_the_users_shell_and_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    shell.chmod(0o755)
    monkeypatch.setenv("SHELL", str(shell))
    async with running("nc 'a b' 22") as command:
        assert await read(command) == b"-c|exec nc 'a b' 22|"


@pytest.mark.parametrize("shell", ["", None])
async def test_without_a_shell_it_is_sh(shell: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHELL") if shell is None and "SHELL" in os.environ else None
    if shell is not None:
        monkeypatch.setenv("SHELL", shell)
    async with running("echo $0") as command:
        assert await read(command) == b"/bin/sh\n"


async def test_a_shell_that_is_not_there_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/nonexistent/shell")
    scope = TaskScope("test")
    files = psutil.Process().num_fds()
    with pytest.raises(FileNotFoundError):
        ProxyCommand("cat", scope, lambda _: None)
    assert psutil.Process().num_fds() == files
    assert len(scope) == 0


async def test_it_has_no_files_of_ours_no_terminal_and_the_usual_signals() -> None:
    ours = os.dup(2)
    try:
        os.set_inheritable(ours, True)
        async with running("sleep 1000") as it:
            there = psutil.Process(it._process.pid)
            await until(lambda: there.name() == "sleep")

            def files() -> set[int]:
                return {int(file.name) for file in Path(f"/proc/{there.pid}/fd").iterdir()}

            await until(lambda: files() == {0, 1, 2})  # its loader has one open for a moment
            assert there.terminal() is None
            status = Path(f"/proc/{there.pid}/status").read_text()
    finally:
        os.close(ours)
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))


async def test_it_ends_with_everything_in_its_group() -> None:
    async with running("sh -c 'sleep 1000 & sleep 1000'") as command:
        pgid = command._process.pid
        await until(lambda: len(group(pgid)) == 3)
        assert os.getpgid(pgid) == pgid != os.getpgrp()
    await until(lambda: group(pgid) == [])


async def test_what_does_not_end_when_it_is_asked_to_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_command, "GRACE", 0.2)
    async with running("""sh -c 'trap "" TERM; echo ready; while :; do sleep 0.05; done'""") as command:
        assert await asyncio.get_running_loop().sock_recv(command.sock, 100) == b"ready\n"
        pgid = command._process.pid
    await until(lambda: group(pgid) == [])


async def test_what_it_leaves_behind_ends_too_and_its_number_is_kept_until_then() -> None:
    async with running("sh -c 'sleep 1000 & exit 0'") as command:
        pgid = command._process.pid
        await until(command._exited.is_set)
        assert len(group(pgid)) == 1
    await until(lambda: group(pgid) == [])


@pytest.mark.parametrize("moment", ["in the first moment", "later"])
async def test_closing_the_scope_kills_it_at_once(moment: str) -> None:
    scope = TaskScope("test")
    command = ProxyCommand("""sh -c 'trap "" TERM; echo ready; while :; do sleep 1; done'""", scope, print)
    if moment == "later":
        await turns()
        assert await asyncio.get_running_loop().sock_recv(command.sock, 100) == b"ready\n"
    await scope.aclose()
    assert command._process.returncode == -signal.SIGKILL
    command.sock.close()
    await until(lambda: group(command._process.pid) == [])


async def test_one_that_is_started_too_late_is_ended_at_once() -> None:
    scope = TaskScope("test")
    await scope.aclose()
    others = {child.pid for child in psutil.Process().children()}
    files = psutil.Process().num_fds()
    with pytest.raises(RuntimeError):
        ProxyCommand("sleep 1000", scope, print)
    assert {child.pid for child in psutil.Process().children()} <= others
    assert psutil.Process().num_fds() <= files


# --- what it says ---------------------------------------------------------------------------------


async def test_a_line_is_cut_and_cannot_command_a_terminal() -> None:
    said: list[str] = []
    async with running(r"printf '\033[31mred\n%1000s|\nlast' x >&2", said.append) as command:
        await until(command._exited.is_set)
    assert said[0] == "[31mred"
    assert said[-1] == "last"
    async with running("sh -c 'head -c 100000 /dev/zero | tr \"\\0\" x >&2'", said.append):
        await until(lambda: len(said) > 3)
    assert len(said[-1]) <= LINE_LIMIT + 1


async def test_one_that_never_stops_talking_does_not_fill_the_log_and_is_not_stopped() -> None:
    said: list[str] = []
    async with running("sh -c 'seq 1 100000 >&2; echo done'", said.append) as command:
        assert await read(command) == b"done\n"
        await until(command._exited.is_set)
    assert BURST <= len(said) <= BURST + 10
    assert said[-1].endswith("lines left out")


# --- why it ended ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        (
            "sh -c 'echo no >&2; echo way >&2; exit 255'",
            HostUnreachable,
            "ended with exit code 255; it said: way",
        ),
        ("true", HostUnreachable, "the proxy command ended with exit code 0"),
        ("sh -c 'kill -TERM $$'", HostUnreachable, "the proxy command ended by SIGTERM"),
        ("/nonexistent/nc %h", BadSetting, "the proxy command was not found: "),
        ("/dev/null", BadSetting, "the proxy command cannot be run: "),
        (
            "sh -c 'echo me@b: Permission denied \\(publickey\\). >&2; exit 255'",
            LoginRefused,
            "Permission denied",
        ),
        (
            "sh -c 'echo Host key verification failed. >&2; exit 255'",
            BadSetting,
            "Host key verification failed.",
        ),
    ],
)
async def test_the_end_of_the_command_is_the_reason(
    command: str, kind: type[TunnelsError], words: str
) -> None:
    async with running(command) as it:
        error = await it.explain(LOST)
    assert type(error) is kind
    assert words in error.message


async def test_what_the_server_says_and_what_it_does_while_the_command_runs_are_other_reasons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(proxy_command, "LAST_WORDS", 0.05)
    async with running("true") as it:
        refused = HandshakeFailed("no cipher in common")
        assert await it.explain(refused) is refused
    async with running("sleep 1000") as it:
        assert await it.explain(LOST) is LOST


# --- in an attempt --------------------------------------------------------------------------------


def profile(command: str) -> Profile:
    return Profile(
        "work-db", "example.com", user="me", ssh_config="none", proxy_command=command, connect_timeout=1
    )


async def test_one_that_never_connects_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hop, "LOGIN_TIMEOUT", -0.8)
    monkeypatch.setattr(proxy_command, "LAST_WORDS", 0.05)
    found: list[tuple[str, ...]] = []
    with pytest.raises(HostUnreachable, match="did not finish the login"):
        await connect(profile("sleep 1000"), lambda _: None, found.append)
    assert found == [()]
    await until(lambda: [it for it in psutil.Process().children() if it.name() == "sleep"] == [])


@pytest.mark.parametrize("moment", [0, 1, 2, 5, 20, 200])
async def test_an_attempt_that_is_cancelled_leaves_no_process_and_no_file(moment: int) -> None:
    def children() -> set[int]:
        return {child.pid for child in psutil.Process().children(recursive=True)}

    others = children()

    async def cancelled_after(moment: int) -> int:
        to = profile("sh -c 'sleep 1000 | cat'")
        attempt = asyncio.get_running_loop().create_task(connect(to, lambda _: None))
        for _ in range(moment):
            await asyncio.sleep(0.0005)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        await until(lambda: children() <= others)
        return psutil.Process().num_fds()

    before = await cancelled_after(200)  # a loop may open something of its own the first time
    assert await cancelled_after(moment) <= before
