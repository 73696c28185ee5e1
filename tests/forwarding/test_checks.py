"""Both ends of a forward are tried for a moment; with a real server, in tests/e2e/test_doctor."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.e2e.bed.ports import LOOPBACK, free_port, in_use
from tests.forwarding.fakes import FakeLink, FakeRemoteListener
from tunnels.core.address import Address, TcpAddress, UnixAddress
from tunnels.errors import DialError, DialReason, ListenError
from tunnels.forwarding import checks
from tunnels.forwarding.channel import Acceptor, ChannelEnd, LinkLost, ListenRefused, Origin

DB = TcpAddress("db", 5432)
REFUSED = DialError("refused", reason=DialReason.REFUSED)
PROHIBITED = DialError("prohibited", reason=DialReason.PROHIBITED)
NO = ListenRefused("the server refused")


class Server(FakeLink):
    """A server with listeners of its own and of ours, each reachable under some addresses."""

    def __init__(self, *, strangers: tuple[str, ...] = (), ours_at: tuple[str, ...] = (LOOPBACK,)) -> None:
        super().__init__()
        self._strangers = strangers
        self._ours_at = ours_at
        self.listeners: list[FakeRemoteListener] = []

    async def opened(self, end: ChannelEnd, connect: Address, origin: Origin) -> None:
        assert isinstance(connect, TcpAddress)
        if connect.host in self._strangers:
            return await super().opened(end, connect, origin)
        if self.acceptor is None or connect.host not in self._ours_at:
            raise REFUSED
        with pytest.raises(DialError):
            await self.acceptor(("192.0.2.1", 4711))
        return await super().opened(end, connect, origin)

    async def listen(self, address: Address, acceptor: Acceptor) -> FakeRemoteListener:
        listener = await super().listen(address, acceptor)
        self.listeners.append(listener)
        return listener


# --- here -----------------------------------------------------------------------------------------


async def test_a_free_port_is_taken_and_given_back() -> None:
    port = free_port()
    assert f"localhost:{port} is free" in (await checks.listen_here(TcpAddress(None, port))).detail
    assert not in_use(port)


async def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.create_server((LOOPBACK, 0)) as stranger, pytest.raises(ListenError, match="in use"):
        await checks.listen_here(TcpAddress(None, stranger.getsockname()[1]))


async def test_a_socket_is_left_as_it_was_whether_there_is_one_or_not(tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert "is free" in (await checks.listen_here(UnixAddress(str(path)))).detail
    assert not path.exists()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
        old.bind(str(path))
        old.listen()
        with pytest.raises(ListenError):
            await checks.listen_here(UnixAddress(str(path)))
    before = path.lstat().st_ino
    assert "will be replaced" in (await checks.listen_here(UnixAddress(str(path)))).detail
    assert path.lstat().st_ino == before


async def test_what_is_no_socket_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(ListenError, match="no socket"):
        await checks.listen_here(UnixAddress(str(tmp_path / "s")))
    assert (tmp_path / "s").read_text() == "precious"


# --- on the server --------------------------------------------------------------------------------


async def test_for_a_proxy_only_a_prohibition_counts() -> None:
    link = FakeLink()
    link.open_errors = [REFUSED, PROHIBITED]
    await checks.forwards_at_all(link, 22)
    with pytest.raises(DialError) as prohibited:
        await checks.forwards_at_all(link, 22)
    assert "AllowTcpForwarding" in (prohibited.value.hint or "")


async def test_a_port_of_the_server_is_taken_and_given_back() -> None:
    server = Server()
    found = await checks.listen_there(server, TcpAddress(None, 2222), "198.51.100.1")
    assert found.warning is None
    assert [listener.closed for listener in server.listeners] == [True]


async def test_a_port_is_given_back_also_where_looking_at_it_fails() -> None:
    server = Server()
    server.open_errors = [LinkLost("gone")]
    with pytest.raises(LinkLost):
        await checks.listen_there(server, TcpAddress(None, 2222), None)
    assert server.listeners[0].closed


@pytest.mark.parametrize(
    ("address", "ours_at", "words"),
    [
        (TcpAddress("*", 2222), (LOOPBACK,), "GatewayPorts clientspecified"),
        (TcpAddress("*", 2222), (LOOPBACK, "198.51.100.1"), None),
        (TcpAddress(None, 2222), (LOOPBACK, "198.51.100.1"), "GatewayPorts in its sshd_config is yes"),
        (TcpAddress("10.0.0.1", 2222), ("10.0.0.1",), None),
    ],
)
async def test_who_can_reach_a_port_of_the_server_is_compared_with_what_was_asked_for(
    address: TcpAddress, ours_at: tuple[str, ...], words: str | None
) -> None:
    found = await checks.listen_there(Server(ours_at=ours_at), address, "198.51.100.1")
    assert found.warning is None if words is None else words in (found.warning or "")


async def test_a_stranger_on_half_of_localhost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "KNOCK_TIMEOUT", 0.01)
    found = await checks.listen_there(Server(strangers=(LOOPBACK,)), TcpAddress(None, 2222), None)
    assert "only clients of ::1" in (found.warning or "")


@pytest.mark.parametrize(
    ("port", "strangers", "refusals", "words"),
    [
        (2222, (LOOPBACK,), [NO], "port 2222 is in use on the server"),
        (2222, (), [NO], "and allows other ports"),
        (80, (), [NO], "for root alone"),
        (2222, (), [NO, NO], "does not allow this login to listen"),
        (80, (), [NO, NO], "does not allow this login to listen"),
        (0, (), [NO], "does not allow this login to listen"),
    ],
)
async def test_why_a_server_refuses_to_listen_is_found_out(
    port: int, strangers: tuple[str, ...], refusals: list[Exception], words: str
) -> None:
    server = Server(strangers=strangers)
    server.listen_errors = list(refusals)
    with pytest.raises(ListenError, match=words):
        await checks.listen_there(server, TcpAddress(None, port), None)
    assert all(listener.closed for listener in server.listeners)


async def test_a_socket_on_the_server_is_looked_at_and_never_made() -> None:
    link, path = FakeLink(), UnixAddress("/run/app.sock")
    link.open_errors = [REFUSED, PROHIBITED]
    assert "nobody answers" in (await checks.socket_there(link, path)).detail
    assert (await checks.socket_there(link, path)).warning is not None
    with pytest.raises(ListenRefused, match="somebody listens"):
        await checks.socket_there(link, path)
    assert link.listened == []
