"""What an agent says, and what becomes of one that says something else."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tunnels.ssh.agent import MAX_ANSWER, MAX_KEYS, Agent, AgentError

KEY = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)


def packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


class Server:
    """An agent that answers every request with the same bytes."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()


@asynccontextmanager
async def answering(home: Path, answer: bytes | None) -> AsyncIterator[tuple[Agent, Server]]:
    """None never answers."""
    server = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while length := await reader.read(4):
                server.requests.append(await reader.readexactly(int.from_bytes(length, "big")))
                if answer is not None:
                    writer.write(answer)
                if answer == b"":
                    break
        except OSError:
            pass
        finally:
            writer.close()
            server.gone.set()

    async with await asyncio.start_unix_server(serve, str(home / "agent")):
        agent = await Agent.open(str(home / "agent"))
        try:
            yield agent, server
        finally:
            agent.close()
            await server.gone.wait()


def listing(*keys: tuple[bytes, bytes], count: int | None = None) -> bytes:
    many = struct.pack(">I", len(keys) if count is None else count)
    return packed(b"\x0c" + many + b"".join(packed(part) for key in keys for part in key))


async def test_it_tells_its_keys_in_its_order_with_comments_of_any_bytes(home: Path) -> None:
    async with answering(home, listing((KEY, b"me@work"), (b"\0\0\0\x03odd", b"\xff"))) as (agent, server):
        found = await agent.keys()
    assert [(key.blob, key.comment) for key in found] == [(KEY, "me@work"), (b"\0\0\0\x03odd", "�")]
    assert [key.algorithm for key in found] == [b"ssh-ed25519", b"odd"]
    assert server.requests == [b"\x0b"]


@pytest.mark.parametrize(
    ("algorithm", "flags"), [(b"ssh-ed25519", 0), (b"rsa-sha2-256", 2), (b"rsa-sha2-512", 4)]
)
async def test_a_signature_is_asked_for_with_the_algorithm(home: Path, algorithm: bytes, flags: int) -> None:
    async with answering(home, packed(b"\x0e" + packed(b"signature"))) as (agent, server):
        assert await agent.sign(KEY, b"data", algorithm) == b"signature"
    assert server.requests == [b"\x0d" + packed(KEY) + packed(b"data") + struct.pack(">I", flags)]


async def test_a_signature_that_it_refuses_is_said_to_be_refused(home: Path) -> None:
    async with answering(home, packed(b"\x05")) as (agent, _):
        with pytest.raises(AgentError, match="refused to sign"):
            await agent.sign(KEY, b"data", b"ssh-ed25519")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "hung up"),
        (packed(b"\x05"), "does not tell"),
        (struct.pack(">I", MAX_ANSWER + 1), f"an answer of {MAX_ANSWER + 1} bytes"),
        (struct.pack(">I", 0), "an answer of 0 bytes"),
        (listing(count=MAX_KEYS + 1), f"{MAX_KEYS + 1} keys"),
        (listing((KEY, b""), count=2), "nonsense"),
        (packed(b"\x0c\0\0\0\x01\xff\xff\xff\xff"), "nonsense"),
        (packed(b"\x0c"), "nonsense"),
    ],
)
async def test_whatever_it_sends_instead_is_named(home: Path, answer: bytes, said: str) -> None:
    async with answering(home, answer) as (agent, _):
        with pytest.raises(AgentError, match=said):
            await agent.keys()


async def test_one_that_was_cut_off_in_the_middle_is_hung_up_on(home: Path) -> None:
    """Or the late answer would be taken for the next one."""
    async with answering(home, None) as (agent, server):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await agent.keys()
        await server.gone.wait()


async def test_a_key_without_a_kind_is_no_reason_to_fail(home: Path) -> None:
    async with answering(home, listing((b"", b""))) as (agent, _):
        assert [key.blob for key in await agent.keys()] == [b""]
