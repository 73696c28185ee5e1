"""What is tried and how it is judged; that sshd refuses is tested in tests/e2e/test_harden."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tunnels.core.address import Address, TcpAddress, UnixAddress
from tunnels.core.checkup import Step
from tunnels.core.forward import ForwardKind, parse_forward
from tunnels.core.profile import Profile
from tunnels.daemon.refusals import USUAL_SOCKETS, Refusals
from tunnels.errors import DialError, DialReason, ListenError
from tunnels.forwarding.channel import LinkLost, Outcome
from tunnels.ssh import session_checks
from tunnels.ssh.connection import SshConnection
from tunnels.ssh.destination import Destination

THERE = Destination("vps", "vps.example.com", 22, "me")


class Server:
    """Refuses everything but what it is told to allow."""

    def __init__(self) -> None:
        self.open: set[str] = set()
        self.tried: list[str] = []
        self.reason = DialReason.PROHIBITED

    def open_channel(self, _end: object, address: Address, _origin: object, then: Outcome) -> None:
        self.tried.append(str(address))
        then(None if str(address) in self.open else DialError("no", reason=self.reason))

    async def listen(self, address: TcpAddress, _acceptor: object) -> Server:
        if f"listen {address}" not in self.open:
            raise ListenError("no")
        return self

    async def aclose(self) -> None:
        """It listens no more."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()

    def check(name: str) -> Any:
        async def run(_conn: object) -> bool:
            if "lost" in found.open:
                raise LinkLost("gone")
            return name in found.open

        return run

    for name in ("runs_commands", "gives_shell", "gives_terminal"):
        monkeypatch.setattr(session_checks, name, check(name))
    return found


async def look(server: Server, *, local: str = "", remote: str = "", dynamic: str = "") -> dict[str, Step]:
    rules = [(ForwardKind.LOCAL, local), (ForwardKind.REMOTE, remote), (ForwardKind.DYNAMIC, dynamic)]
    forwards = tuple(one for kind, text in rules if text for one in parse_forward(kind, text).spread())
    refusals = Refusals(Profile("work", "vps", forwards=forwards), cast("SshConnection", server), THERE)
    return {step.step: step async for step in refusals.run(lambda _what: None)}


async def test_a_server_that_refuses_all_the_rest_passes(server: Server) -> None:
    steps = await look(server, local="1:db:5432")
    assert all(step.ok for step in steps.values())
    assert steps["other-connect"].detail == "refused: db:5433, 127.0.0.1:22, localhost:22"
    assert server.tried[-len(USUAL_SOCKETS) :] == list(USUAL_SOCKETS)


@pytest.mark.parametrize(
    ("allowed", "step"),
    [
        ("runs_commands", "command"),
        ("gives_shell", "shell"),
        ("gives_terminal", "terminal"),
        ("db:5433", "other-connect"),
        ("localhost:22", "other-connect"),
        ("listen 0", "other-listen"),
        ("listen *:0", "other-listen"),
        (USUAL_SOCKETS[1], "sockets"),
    ],
)
async def test_whatever_it_allows_beyond_that_is_a_failure_of_its_own(
    allowed: str, step: str, server: Server
) -> None:
    server.open.add(allowed)
    steps = await look(server, local="1:db:5432")
    assert [name for name, each in steps.items() if not each.ok] == [step]
    error = steps[step].error
    assert error is not None
    assert error.code == "allows-too-much"
    assert error.hint


async def test_a_destination_where_nobody_answers_was_not_refused(server: Server) -> None:
    server.reason = DialReason.REFUSED
    steps = await look(server, local="1:db:5432")
    assert steps["other-connect"].ok is False


async def test_what_the_profile_itself_needs_is_not_held_against_the_server(server: Server) -> None:
    server.open.update({"listen 0", "db:5433", "db:5432"})
    steps = await look(server, local="1-2:db:5432-5433", remote="0:web:80", dynamic="1080")
    assert all(step.ok for step in steps.values())
    assert steps["other-connect"].warning is not None


async def test_sockets_of_the_profile_are_said_to_open_all_others(server: Server) -> None:
    steps = await look(server, local="1:/run/db.sock")
    assert steps["sockets"].ok
    assert str(UnixAddress("/run/db.sock")) not in server.tried
    assert "cannot tell" in str(steps["sockets"].warning)


async def test_a_connection_that_ends_is_no_proof(server: Server) -> None:
    server.open.add("lost")
    steps = await look(server, local="1:db:5432")
    assert steps["command"].ok is False
