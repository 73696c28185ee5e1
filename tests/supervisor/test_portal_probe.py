"""Asking over plain HTTP: bounded, once for all, and never with more than is needed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.bed.ports import free_port
from tunnels.core.captive import NO_DOUBT, REFUSAL, SILENCE, Doubt, Manner, Reply, Verdict
from tunnels.errors import HostUnreachable, LoginRefused, TunnelsError
from tunnels.supervisor import portal_probe
from tunnels.supervisor.portal_probe import MAX_ANSWER, HttpPortalProbe, ask

LOOPBACK = "127.0.0.1"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def answering(answer: bytes, *, hang_up: bool = True) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers every request with this; its port, and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if not hang_up:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


@pytest.fixture(autouse=True)
def nobody_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of a real network, nor of this machine's NetworkManager."""
    monkeypatch.setattr(portal_probe, "NOBODY", LOOPBACK)
    monkeypatch.setattr("shutil.which", lambda _name: None)


async def test_one_plain_request_is_made_and_no_redirect_followed() -> None:
    async with answering(b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n") as (port, asked):
        assert await ask(LOOPBACK, port, limit=5) == Reply(302, "/login", present=True)
    assert len(asked) == 1
    lines = asked[0].split(b"\r\n")
    assert lines[:2] == [b"GET / HTTP/1.1", b"Host: 127.0.0.1"]
    assert not any(line.lower().startswith(b"cookie") for line in lines)


async def test_the_answer_is_taken_as_soon_as_its_head_is_there() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n", hang_up=False) as (port, _):
        began = time.monotonic()
        assert await ask(LOOPBACK, port, limit=30) == Reply(200, present=True)
        assert time.monotonic() - began < 10


async def test_an_endless_answer_is_given_up() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n" + b"X-Endless: x\r\n" * MAX_ANSWER) as (port, _):
        assert await ask(LOOPBACK, port, limit=5) == REFUSAL


async def test_a_server_that_takes_the_connection_and_says_nothing_costs_the_limit_and_not_more() -> None:
    async with answering(b"", hang_up=False) as (port, _):
        assert await ask(LOOPBACK, port, limit=0.05) == REFUSAL


async def test_where_nobody_listens_is_somebody_who_refuses() -> None:
    assert await ask(LOOPBACK, free_port(), limit=5) == REFUSAL


async def test_an_address_without_a_way_is_silence() -> None:
    assert await ask("::ffff:0.0.0.0%nowhere", 80, limit=5) == SILENCE


async def test_an_address_of_an_interface_with_a_strange_name_is_silence() -> None:
    assert await ask("fe80::1%caf\N{LATIN SMALL LETTER E WITH ACUTE}" + "x" * 300, 80, limit=2) == SILENCE


async def test_many_tunnels_ask_nobody_once() -> None:
    async with answering(b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n") as (port, asked):
        probe = HttpPortalProbe(port=port)
        verdicts = await asyncio.gather(*(probe.look(("9.9.9.9",), NO_DOUBT) for _ in range(100)))
        verdicts.append(await probe.look((), NO_DOUBT, again=True))
        await probe.aclose()
    assert set(verdicts) == {Verdict(True, "http://login/")}
    assert len(asked) == 1


async def test_the_ssh_host_is_asked_only_where_it_behaves_strangely() -> None:
    async with answering(b"HTTP/1.1 503 No\r\n\r\n") as (port, asked):
        probe = HttpPortalProbe(port=port, clock=iter(range(0, 100, 10)).__next__)
        assert await probe.look((LOOPBACK,), NO_DOUBT) == Verdict(None)
        assert len(asked) == 1
        assert await probe.look((LOOPBACK,), Doubt(Manner.HTTP)) == Verdict(False)
        assert len(asked) == 3
        await probe.aclose()


async def test_network_manager_is_asked_where_it_is_and_http_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nmcli"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho portal\n')
    program.chmod(0o700)
    monkeypatch.setattr("shutil.which", lambda _name: str(program))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    probe = HttpPortalProbe(port=free_port())
    assert (await probe.look(())).manager
    assert (await probe.look((), again=True)).captive
    program.write_text("#!/bin/sh\necho portal; exit 8\n")
    assert await probe.look(()) == Verdict(None)
    program.unlink()
    assert await probe.look(()) == Verdict(None)
    await probe.aclose()
    assert (tmp_path / "asked").read_text().splitlines() == [
        "--terse networking connectivity",
        "--terse networking connectivity check",  # or it would go on believing what it saw minutes ago
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HostUnreachable("bastion did not answer in time"), "captive-portal"),
        (LoginRefused("bastion refused the login"), "login-refused"),
    ],
)
async def test_one_attempt_is_explained_where_nothing_got_through(error: TunnelsError, code: str) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (port, _):
        assert (await portal_probe.explain(error, port=port)).code == code
