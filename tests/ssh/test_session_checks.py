"""What a session of a server gives; a real sshd, tight and loose, is in tests/e2e/test_harden."""

from __future__ import annotations

import shlex
from typing import Any, cast

import asyncssh
import pytest

from tunnels.forwarding.channel import LinkLost
from tunnels.ssh.connection import SshConnection
from tunnels.ssh.session_checks import gives_shell, gives_terminal, runs_commands


class Stdin:
    def __init__(self, process: Process) -> None:
        self._process = process

    def write(self, text: str) -> None:
        self._process.typed += text

    def write_eof(self) -> None:
        """Nothing more."""


class Process:
    """A session that says what a server would make of it."""

    def __init__(self, server: Server, command: str | None) -> None:
        self.typed = ""
        self.stdin = Stdin(self)
        self.stdout = self
        self.closed = False
        self._server = server
        self._command = command
        self._left: list[str] | None = None

    async def read(self, _most: int) -> str:
        if self._left is None:
            self._left = list(self._server.says(self._command or self.typed.splitlines()[0]))
        return self._left.pop(0) if self._left else ""

    def close(self) -> None:
        self.closed = True


class Server:
    """A connection, as far as a session goes."""

    def __init__(self, *, forced: bool = False, refuses: bool = False, gone: bool = False) -> None:
        self.forced, self.refuses, self.gone = forced, refuses, gone
        self.processes: list[Process] = []

    def says(self, command: str) -> list[str]:
        if self.forced:  # and it shows what it was asked, as some do
            return ["you asked for ", command]
        words = shlex.split(command)
        return [words[1][:5], words[1][5:]]

    def is_closed(self) -> bool:
        return self.gone

    async def create_process(self, command: str | None, **_options: object) -> Process:
        if self.refuses:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_REQUEST_SESSION_FAILED, "no")
        self.processes.append(Process(self, command))
        return self.processes[-1]


def connection(server: Server) -> SshConnection:
    found: Any = SshConnection.__new__(SshConnection)
    found._conn = server
    return cast("SshConnection", found)


async def test_a_server_that_runs_what_it_is_told_is_found_out() -> None:
    server = Server()
    assert await runs_commands(connection(server))
    assert await gives_shell(connection(server))
    assert await gives_terminal(connection(server))
    assert all(process.closed for process in server.processes)


async def test_a_forced_command_is_none_of_ours_also_if_it_repeats_what_was_asked() -> None:
    server = Server(forced=True)
    assert not await runs_commands(connection(server))
    assert not await gives_shell(connection(server))


async def test_a_session_that_is_refused_is_a_no() -> None:
    server = Server(refuses=True)
    assert not await runs_commands(connection(server))
    assert not await gives_shell(connection(server))
    assert not await gives_terminal(connection(server))


async def test_a_connection_that_has_ended_proves_nothing() -> None:
    with pytest.raises(LinkLost):
        await runs_commands(connection(Server(refuses=True, gone=True)))
