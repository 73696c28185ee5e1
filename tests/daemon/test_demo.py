from __future__ import annotations

import asyncio
import socket

import pytest

from tunnels.daemon import demo
from tunnels.errors import HostUnreachable, NotAsAsked


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server be away for a moment only."""
    monkeypatch.setattr(demo, "OUTAGE", 0.05)


# --- the whole of it ------------------------------------------------------------------------------


@pytest.mark.usefixtures("short")
async def test_it_shows_all_three_forwards_before_and_after_a_client_was_held() -> None:
    said: list[str] = []
    await demo.run(lambda text, done: said.append(text if done else f"… {text}"))
    story = [line.split("  ")[0].split(":")[0] for line in said]
    assert story == [
        "… an SSH server on loopback, and a small site that only it can reach",
        "tunnel up",
        *("local", "remote", "dynamic"),
        "… the connection is cut, and the server is away",
        "a client connected 0.05 s ago, and waits instead of failing",
        "the server is back",
        *("local", "remote", "dynamic"),
        "taken down",
    ]


@pytest.mark.usefixtures("short")
async def test_a_site_that_answers_something_else_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(port: int) -> bytes:
        return b"a captive portal"

    monkeypatch.setattr(demo, "_get", wrong)
    with pytest.raises(NotAsAsked, match="captive portal"):
        await demo.run(lambda text, done: None)


async def test_a_tunnel_that_does_not_come_up_ends_it_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise HostUnreachable("nobody there")

    monkeypatch.setattr(demo, "connect", refuse)
    monkeypatch.setattr(demo, "_STEP_TIMEOUT", 0.05)
    with pytest.raises(NotAsAsked, match="not up: nobody there"):
        await demo.run(lambda text, done: None)


@pytest.mark.usefixtures("short")
async def test_a_client_that_is_not_held_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    get, calls = demo._get, []

    async def impatient(port: int) -> bytes:
        calls.append(port)
        if len(calls) == 3:  # the one of the outage
            raise ConnectionResetError("reset by peer")
        return await get(port)

    monkeypatch.setattr(demo, "_get", impatient)
    with pytest.raises(NotAsAsked, match="not held"):
        await demo.run(lambda text, done: None)


@pytest.mark.usefixtures("short")
async def test_it_ends_by_looking_whether_the_ports_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_free(_: object) -> None:
        raise NotAsAsked("port 1 is not free")

    monkeypatch.setattr(demo._Demo, "_check_free", not_free)
    with pytest.raises(NotAsAsked, match="not free"):
        await demo.run(lambda text, done: None)


# --- its parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "said"),
    [(ConnectionResetError("reset"), "failed: reset"), (EOFError("short"), "failed: short")],
)
async def test_a_request_that_fails_is_said(raised: Exception, said: str) -> None:
    async def fail() -> bytes:
        raise raised

    with pytest.raises(NotAsAsked, match=said):
        await demo._within(fail(), "the request")


async def test_a_request_without_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait() -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(demo, "_STEP_TIMEOUT", 0.01)
    with pytest.raises(NotAsAsked, match="gave no answer"):
        await demo._within(wait(), "the request")


async def test_the_site_serves_its_page_and_survives_who_hangs_up() -> None:
    server, port = await demo._site(b"page")
    async with server:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /")
        writer.close()
        await writer.wait_closed()
        assert await demo._get(port) == b"page"


async def socks_server(*answers: bytes) -> tuple[asyncio.Server, int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(1000)
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("answers", "said"),
    [([b"\x05\x02"], "wants a login"), ([b"\x05\x00", b"\x05\x05\0\1\0\0\0\0\0\0"], "refused with code 5")],
)
async def test_a_socks_proxy_that_says_no_is_no_success(answers: list[bytes], said: str) -> None:
    server, port = await socks_server(*answers)
    async with server:
        with pytest.raises(NotAsAsked, match=said):
            await demo._get_through_socks(port, "intranet.demo", 80)


def test_free_ports_are_different_and_free() -> None:
    ports = demo._free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))


@pytest.mark.usefixtures("short")
async def test_a_port_that_is_still_bound_after_the_end_is_not_called_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        held = sock.getsockname()[1]
        it = demo._Demo.__new__(demo._Demo)
        it._local = it._dynamic = held
        with pytest.raises(NotAsAsked, match=f"port {held} is not free"):
            await it._check_free()
