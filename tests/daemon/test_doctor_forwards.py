"""Which end of a forward is looked at, and what the daemon has already; the looking is in tests/forwarding."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tests.daemon.served import forward as running_forward
from tests.daemon.served import tunnel
from tunnels.core.checkup import Step
from tunnels.core.forward import Forward, ForwardKind, parse_forward
from tunnels.core.profile import Profile
from tunnels.core.state import ForwardState
from tunnels.core.status import DaemonStatus, Snapshot
from tunnels.daemon.doctor_forwards import AT_ONCE, ForwardChecks
from tunnels.errors import DialError, ListenError
from tunnels.forwarding import checks, glance
from tunnels.forwarding.glance import Found
from tunnels.ssh.connection import SshConnection
from tunnels.ssh.destination import Destination

NO_DAEMON = Snapshot(None)
DAEMON = DaemonStatus(4711, "0.1.0", 0.0, "profiles.toml")


class Ways:
    """Every check, as the test says; remembers which were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.seen_at: list[str | None] = []
        self.now = self.most = 0
        for name in (
            "listen_here",
            "forwards_at_all",
            "listen_there",
        ):
            monkeypatch.setattr(checks, name, self._check(name))
        for name in ("reach_from_here", "reach_from_server"):
            monkeypatch.setattr(glance, name, self._check(name))
        monkeypatch.setattr(checks, "socket_there", self._check("socket_there"))

    def _check(self, name: str) -> Any:
        async def check(*arguments: object) -> Found:
            self.made.append(name)
            if name == "listen_there":
                self.seen_at.append(cast("str | None", arguments[-1]))
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            if name in self.errors:
                raise self.errors[name]
            return Found(name)

        return check


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    return Ways(monkeypatch)


class Connection:
    """A live one, as far as is asked."""

    peer_address = "198.51.100.1"


def forwards(*rules: tuple[str, str]) -> tuple[Forward, ...]:
    kinds = {"-L": ForwardKind.LOCAL, "-R": ForwardKind.REMOTE, "-D": ForwardKind.DYNAMIC}
    return tuple(each for flag, text in rules for each in parse_forward(kinds[flag], text).spread())


async def look(
    *rules: tuple[str, str],
    connected: bool = True,
    running: Snapshot = NO_DAEMON,
    proxy_jump: tuple[str, ...] = (),
) -> list[Step]:
    profile = Profile("work-db", "bastion", forwards=forwards(*rules))
    conn = cast("SshConnection", Connection()) if connected else None
    target = Destination("bastion", "bastion.example.com", 22, "me", proxy_jump=proxy_jump)
    looking = ForwardChecks(profile, conn, running, target=target)
    steps = [step async for step in looking.run(lambda _: None)]
    await looking.aclose()
    return steps


async def test_each_kind_of_forward_is_looked_at_from_both_of_its_sides(ways: Ways) -> None:
    steps = await look(
        ("-L", "5432:db:5432"), ("-D", "1080"), ("-R", "2222:localhost:22"), ("-R", "/s:/t"), ("-R", "9")
    )
    assert [(step.forward, step.step, step.detail) for step in steps] == [
        ("-L 5432:db:5432", "listen", "listen_here, for this machine only"),
        ("-L 5432:db:5432", "connect", "reach_from_server"),
        ("-D 1080", "listen", "listen_here, for this machine only"),
        ("-D 1080", "connect", "forwards_at_all"),
        (
            "-R 2222:localhost:22",
            "listen",
            "listen_there, for every program on bastion, and no other machine",
        ),
        ("-R 2222:localhost:22", "connect", "reach_from_here"),
        ("-R /s:/t", "listen", "socket_there"),
        ("-R /s:/t", "connect", "reach_from_here"),
        ("-R 9", "listen", "listen_there, for every program on bastion, and no other machine"),
    ]


async def test_without_a_connection_this_machines_side_is_looked_at_all_the_same(ways: Ways) -> None:
    steps = await look(("-L", "5432:db:5432"), ("-R", "2222:localhost:22"), connected=False)
    assert [(step.step, step.ok) for step in steps] == [
        *(("listen", True), ("connect", None)),
        *(("listen", None), ("connect", True)),
    ]


async def test_one_end_that_fails_hides_neither_the_other_nor_a_sibling(ways: Ways) -> None:
    ways.errors["listen_here"] = ListenError("in use", hint="kill it")
    steps = await look(("-L", "5432:db:5432"), ("-R", "2222:localhost:22"))
    assert [step.ok for step in steps] == [False, True, True, True]
    assert steps[0].error == ("listen-failed", "in use", "kill it")
    ways.errors = {"reach_from_server": DialError("refused")}
    assert [step.ok for step in await look(("-L", "5432:db:5432"))] == [True, False]


async def test_a_range_is_looked_at_several_at_a_time_and_not_all_at_once(ways: Ways) -> None:
    steps = await look(("-L", "8000-8099:web:8000-8099"))
    assert [step.forward for step in steps[::2]] == [f"-L {port}:web:{port}" for port in range(8000, 8100)]
    assert ways.most == AT_ONCE


async def test_what_this_very_tunnel_holds_is_not_tried(ways: Ways) -> None:
    mine = tunnel(
        "work-db", forwards=(running_forward(), running_forward("localhost:2222", "a:1", kind="remote"))
    )
    steps = await look(("-L", "5432:db.internal:5432"), ("-R", "2222:a:1"), running=Snapshot(DAEMON, (mine,)))
    assert [step.ok for step in steps] == [True] * 4
    assert ways.made.count("listen_here") == ways.made.count("listen_there") == 0
    assert steps[0].detail == "localhost:5432 is held by this very tunnel, which is running, pid 4711"


async def test_a_port_that_the_server_chose_is_known_by_its_destination(ways: Ways) -> None:
    mine = tunnel("work-db", forwards=(running_forward("localhost:40001", "localhost:22", kind="remote"),))
    [listen, _] = await look(("-R", "0:localhost:22"), running=Snapshot(DAEMON, (mine,)))
    assert "localhost:40001 is held" in listen.detail


async def test_a_forward_of_this_tunnel_that_does_not_listen_is_tried(ways: Ways) -> None:
    failed = tunnel("work-db", forwards=(running_forward(state=ForwardState.FAILED),))
    await look(("-L", "5432:db.internal:5432"), running=Snapshot(DAEMON, (failed,)))
    assert "listen_here" in ways.made


async def test_another_tunnel_that_is_in_the_way_is_named(ways: Ways) -> None:
    ways.errors["listen_here"] = ListenError("port 5432 is in use by python (pid 4711)")
    other = tunnel("other")
    [listen, _] = await look(("-L", "5432:db:5432"), running=Snapshot(DAEMON, (other,)))
    assert listen.error is not None
    assert listen.error.message == "localhost:5432 is held by the tunnel other"
    assert listen.error.hint is not None
    assert "tunnels down other" in listen.error.hint


async def test_who_reaches_the_servers_port_is_only_asked_where_its_address_is_known(ways: Ways) -> None:
    await look(("-R", "*:2222:a:1"))
    await look(("-R", "*:2222:a:1"), proxy_jump=("gate",))
    assert ways.seen_at == ["198.51.100.1", None]
