"""What a forward says about itself, whatever its kind."""

from __future__ import annotations

import asyncio

import pytest

from tests.forwarding.fakes import Peer, tcp_pair, until
from tunnels.core.address import Address, TcpAddress
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.state import ForwardState
from tunnels.core.status import ForwardStatus
from tunnels.errors import ListenError
from tunnels.forwarding.forwarder import Forwarder, Visit
from tunnels.forwarding.relay import SocketEnd

LOCAL, REMOTE, DYNAMIC = ForwardKind.LOCAL, ForwardKind.REMOTE, ForwardKind.DYNAMIC
DB = TcpAddress("db.internal", 5432)


class Told:
    """Counts how often it was told of a change."""

    def __init__(self) -> None:
        self.changes = 0

    def __call__(self) -> None:
        self.changes += 1


def forwarder(kind: ForwardKind = LOCAL, connect: Address | None = DB, told: Told | None = None) -> Forwarder:
    return Forwarder(Forward(kind, TcpAddress(None, 5432), connect, name="db"), on_change=told or Told())


def test_a_new_forward_is_pending_and_has_carried_nothing() -> None:
    assert forwarder().status() == ForwardStatus(
        name="db",
        kind="local",
        listen="localhost:5432",
        connect="db.internal:5432",
        state=ForwardState.PENDING,
    )


@pytest.mark.parametrize(("kind", "towards_client"), [(LOCAL, 7), (DYNAMIC, 7), (REMOTE, 5)])
def test_bytes_in_are_bytes_towards_the_client_on_whichever_side_it_is(
    kind: ForwardKind, towards_client: int
) -> None:
    forward = forwarder(kind, None if kind is DYNAMIC else DB)
    forward.counters.from_socket, forward.counters.to_socket = 5, 7
    status = forward.status()
    assert (status.bytes_in, status.bytes_out) == (towards_client, 12 - towards_client)


def test_the_status_has_the_clients_and_what_is_wrong() -> None:
    told = Told()
    forward = forwarder(told=told)
    forward.counters.clients, forward.counters.clients_total, forward.counters.held = 3, 9, 2
    forward._become(ForwardState.FAILED, ListenError("port 5432 is in use", hint="end it"))
    status = forward.status()
    assert (status.clients, status.clients_total, status.held) == (3, 9, 2)
    assert status.state is ForwardState.FAILED
    assert status.error == ("listen-failed", "port 5432 is in use", "end it")
    assert told.changes == 1
    forward._become(ForwardState.LISTENING)
    assert forward.status().error is None
    assert told.changes == 2


def test_a_forward_that_strangers_can_reach_says_so() -> None:
    told = Told()
    assert not forwarder().status().reachable_by_others
    everywhere = Forward(LOCAL, TcpAddress("*", 5432), DB)
    assert Forwarder(everywhere, on_change=told).status().reachable_by_others


def test_a_dynamic_forward_has_no_destination() -> None:
    assert forwarder(DYNAMIC, None).status().connect is None


def test_its_repr_says_what_it_is_doing() -> None:
    forward = forwarder()
    forward.counters.clients = 2
    assert repr(forward) == "<Forwarder 5432:db.internal:5432: pending, 2 clients>"


def test_a_forward_that_failed_and_listens_after_all_is_healed_once() -> None:
    forward = forwarder()
    healed: list[float] = []
    forward.on_healed = lambda _, seconds: healed.append(seconds)
    forward._become(ForwardState.LISTENING)
    assert healed == []
    forward._become(ForwardState.FAILED, ListenError("taken"))
    forward._become(ForwardState.FAILED, ListenError("taken by somebody else"))
    forward._become(ForwardState.LISTENING)
    forward._become(ForwardState.LISTENING)
    assert len(healed) == 1
    assert healed[0] >= 0


def test_a_forward_that_failed_before_the_connection_went_is_not_healed_by_the_next() -> None:
    forward = forwarder()
    healed: list[float] = []
    forward.on_healed = lambda _, seconds: healed.append(seconds)
    forward._become(ForwardState.FAILED, ListenError("taken"))
    forward._become(ForwardState.PENDING)
    forward._become(ForwardState.LISTENING)
    assert healed == []


async def test_a_client_that_goes_ends_what_waited_for_its_channel() -> None:
    forward = forwarder()
    ends = [SocketEnd(forward.counters) for _ in range(2)]
    opening = [asyncio.get_running_loop().create_task(asyncio.Event().wait()) for _ in ends]
    for end, task in zip(ends, opening, strict=True):
        forward.visits[end] = visit = Visit(("127.0.0.1", 4711), DB)
        visit.waiting = task  # type: ignore[assignment]
    visit.waiting = None  # its channel is on its way, and looks after itself

    for end in ends:
        forward._lose(end)
        forward._lose(end)
    await asyncio.wait(opening[:1])
    assert [task.cancelled() for task in opening] == [True, False]
    opening[1].cancel()


async def test_resetting_the_clients_resets_every_one_of_them() -> None:
    forward = forwarder()
    loop = asyncio.get_running_loop()
    peers = []
    for _ in range(3):
        near, far = tcp_pair()
        peers.append(Peer(near))
        end = SocketEnd(
            forward.counters, on_made=lambda end: forward.visits.update({end: None}), on_lost=forward._lose
        )
        await loop.connect_accepted_socket(lambda end=end: end, far)  # type: ignore[misc]
    assert forward.counters.clients == 3

    forward.reset_clients()
    for peer in peers:
        with peer, pytest.raises(ConnectionResetError):
            await peer.rest()
    await until(lambda: forward.counters.clients == 0)
    assert forward.counters.clients_total == 3
