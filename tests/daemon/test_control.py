from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.daemon.served import PaperDaemon, forward, serving, tunnel
from tests.forwarding.fakes import until
from tunnels import __version__, control_socket, paths
from tunnels.client import Client
from tunnels.core.framing import MAX_FRAME_BYTES
from tunnels.core.protocol import PROTOCOL
from tunnels.daemon import control
from tunnels.errors import InternalError


class Wire:
    """A command line as the daemon sees it: bytes in, frames out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, *requests: object) -> None:
        for request in requests:
            self.writer.write(request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n")

    async def hear(self) -> Any:
        """One frame; None if the daemon has hung up."""
        line = await self.reader.readline()
        assert line.endswith(b"\n") or not line
        return json.loads(line) if line else None

    async def ask(self, request_id: int, command: str, **members: object) -> Any:
        self.say({"id": request_id, "command": command, **members})
        return await self.hear()


@contextlib.asynccontextmanager
async def wired() -> AsyncIterator[Wire]:
    """Connect, and hear the hello."""
    wire = Wire(*await asyncio.open_unix_connection(str(paths.socket_path()), limit=2**26))
    try:
        hello = await wire.hear()
        assert hello is None or hello["hello"] == "tunnels"
        yield wire
    finally:
        wire.writer.close()


async def answers(wire: Wire) -> bool:
    reply = await wire.ask(99, "status")
    return reply is not None and reply["id"] == 99


async def test_the_daemon_says_who_it_is_before_it_is_asked() -> None:
    async with serving():
        reader, writer = await asyncio.open_unix_connection(str(paths.socket_path()))
        assert json.loads(await reader.readline()) == {
            "hello": "tunnels",
            "protocol": PROTOCOL,
            "version": __version__,
            "pid": os.getpid(),
        }
        writer.close()


async def test_a_request_is_answered_under_its_number() -> None:
    async with serving(tunnel("work-db")), wired() as wire:
        reply = await wire.ask(7, "status")
        assert reply["id"] == 7
        assert [tunnel["name"] for tunnel in reply["result"]["tunnels"]] == ["work-db"]


async def test_requests_that_come_together_are_answered_in_their_order() -> None:
    async with serving(), wired() as wire:
        wire.say({"id": 1, "command": "status"}, {"id": 2, "command": "down", "names": []})
        assert [(await wire.hear())["id"], (await wire.hear())["id"]] == [1, 2]


async def test_a_request_that_comes_in_pieces_is_one_request() -> None:
    async with serving(), wired() as wire:
        for byte in b'{"id":1,"command":"status"}\n':
            wire.say(bytes([byte]))
            await asyncio.sleep(0)
        assert (await wire.hear())["id"] == 1


# --- a command line that makes no sense -----------------------------------------------------------


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01\xff\xfe\n",
        b"[1, 2]\n",
        b'{"id": NaN}\n',
        b"[" * 100_000 + b"\n",
        b"x" * MAX_FRAME_BYTES,
        b'{"id": 1, "command": "' + b"x" * MAX_FRAME_BYTES,
    ],
    ids=["http", "binary", "array", "nan", "deep", "endless", "oversized"],
)
async def test_who_sends_junk_is_told_so_and_hung_up_on_and_the_others_go_on(junk: bytes) -> None:
    async with serving() as daemon, wired() as other:
        async with wired() as wire:
            wire.say(junk)
            reply = await wire.hear()
            assert reply["id"] is None
            assert reply["error"]["code"] == "protocol-violation"
            with contextlib.suppress(ConnectionResetError):  # it had not read everything
                assert await wire.hear() is None
        await daemon.until_tasks(1)
        assert await answers(other)


async def test_what_came_before_the_junk_is_answered() -> None:
    async with serving(), wired() as wire:
        wire.say({"id": 1, "command": "status"}, b"junk\n")
        assert "result" in await wire.hear()
        assert "error" in await wire.hear()
        assert await wire.hear() is None


@pytest.mark.parametrize(
    "request_",
    [
        {"id": 1, "command": "fly"},
        {"id": 1, "command": None},
        {"id": 1},
        {"command": "status"},
        {"id": "1", "command": "status"},
        {"id": True, "command": "status"},
        {"id": 1, "command": "up", "names": ["work-db"]},
        {"id": 1, "command": "up", "names": "work-db", "config": "/p.toml"},
        {"id": 1, "command": "up", "names": [7], "config": "/p.toml"},
        {"id": 1, "command": "watch", "interval": "often"},
        {"id": 1, "command": "answer", "name": "work-db", "question_id": 7, "answer": "yes"},
    ],
    ids=str,
)
async def test_a_request_that_makes_no_sense_is_refused_and_nothing_is_done(request_: dict[str, Any]) -> None:
    async with serving() as daemon, wired() as wire:
        wire.say(request_)
        assert (await wire.hear())["error"]["code"] == "protocol-violation"
        assert await answers(wire), "a newer command line could not go on"
        assert daemon.supervisor.calls == []


async def test_a_member_that_only_a_newer_command_line_knows_is_ignored() -> None:
    async with serving(), wired() as wire:
        assert "result" in await wire.ask(1, "status", since="yesterday")


async def test_who_hangs_up_at_once_or_in_the_middle_of_a_frame_leaves_nothing_behind() -> None:
    async with serving() as daemon:
        for said in (b"", b'{"id": 1, "comm'):
            async with wired() as wire:
                wire.say(said)
            await daemon.until_tasks(0)


async def test_another_user_is_hung_up_on_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as daemon:
        monkeypatch.setattr(control_socket, "peer_uid", lambda _: os.getuid() + 1)
        reader, writer = await asyncio.open_unix_connection(str(paths.socket_path()))
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert daemon.tasks == 0


# --- a command line that does not read ------------------------------------------------------------


async def test_who_never_reads_does_not_keep_the_others_waiting() -> None:
    tunnels = [tunnel(f"tunnel-{number}", forwards=(forward(),) * 3) for number in range(1000)]
    async with serving(*tunnels) as daemon, wired() as deaf, wired() as other:
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a unix transport
        for number in range(5):  # megabytes, which no socket buffer takes
            deaf.say({"id": number, "command": "status"})
        assert await answers(other)
        deaf.say({"id": 6, "command": "watch"})
        assert await answers(other)
        daemon.supervisor.show(tunnel("one-more"))
        assert "one-more" in str(await other.ask(1, "status"))


async def test_closing_does_not_wait_for_who_never_reads() -> None:
    tunnels = [tunnel(f"tunnel-{number}", forwards=(forward(),) * 3) for number in range(1000)]
    async with serving(*tunnels) as daemon, wired() as deaf, wired() as other:
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a unix transport
        deaf.say({"id": 1, "command": "status"})
        assert await answers(other)
        await daemon.server.aclose()
        assert daemon.tasks == 0


# --- how many -------------------------------------------------------------------------------------


async def test_one_too_many_is_hung_up_on_and_let_in_when_another_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "MAX_CLIENTS", 2)
    async with serving() as daemon, wired() as first:
        async with wired():
            with contextlib.suppress(ConnectionResetError):
                async with wired() as third:
                    assert await third.hear() is None
            assert await answers(first)
        await daemon.until_tasks(1)
        async with wired() as third:
            assert await answers(third)


async def test_who_watches_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_CLIENTS", 2)
    async with serving(), wired() as first:
        assert "event" in await first.ask(1, "watch")
        async with wired() as second:
            assert await answers(second), "there was room for two"


# --- watching -------------------------------------------------------------------------------------


def states(event: Any) -> list[str]:
    assert event["id"] == 1
    return [tunnel["name"] for tunnel in event["event"]["tunnels"]]


async def test_a_watch_shows_everything_at_once_and_again_at_every_change() -> None:
    async with serving(tunnel("work-db")) as daemon, wired() as wire:
        assert states(await wire.ask(1, "watch", interval=10)) == ["work-db"]
        daemon.supervisor.show(tunnel("home"))
        assert states(await wire.hear()) == ["work-db", "home"]
        daemon.supervisor.show(tunnel("cafe"))
        assert states(await wire.hear()) == ["work-db", "home", "cafe"]


async def test_a_watch_in_which_nothing_changes_goes_on_all_the_same() -> None:
    async with serving() as daemon, wired() as wire:
        assert states(await wire.ask(1, "watch", interval=0)) == []
        assert states(await wire.hear()) == []
        assert daemon.tasks >= 1


async def test_a_watch_ends_when_its_command_line_goes() -> None:
    async with serving() as daemon:
        async with wired() as wire:
            await wire.ask(1, "watch", interval=10)
        await daemon.until_tasks(0)
        assert daemon.supervisor.bus._watchers == set()


async def test_closing_ends_every_watch_and_hangs_up() -> None:
    async with serving() as daemon, wired() as wire, wired() as idle:
        await wire.ask(1, "watch", interval=10)
        await daemon.server.aclose()
        assert daemon.tasks == 0
        assert await wire.hear() is None
        assert await idle.hear() is None


async def test_closing_twice_is_closing_once() -> None:
    async with serving() as daemon:
        await daemon.server.aclose()
        await daemon.server.aclose()


# --- a bug in the daemon --------------------------------------------------------------------------


def break_status(daemon: PaperDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(daemon.supervisor, "statuses", broken)


async def test_a_bug_is_an_internal_error_for_who_asked_and_a_traceback_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as daemon, wired() as wire, wired() as other:
        break_status(daemon, monkeypatch)
        reply = await wire.ask(1, "status")
        assert (reply["id"], reply["error"]["code"]) == (1, "internal")
        assert "ZeroDivisionError: a bug" in reply["error"]["message"]
        assert "tunnels logs" in reply["error"]["hint"]
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert "ZeroDivisionError" in caplog.text
        monkeypatch.undo()
        assert await answers(wire)
        assert await answers(other)


async def test_a_bug_in_a_watch_is_said_to_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as daemon, wired() as wire:
        assert "event" in await wire.ask(1, "watch", interval=0)
        break_status(daemon, monkeypatch)
        async with asyncio.timeout(1):  # instead of leaving them to wait for nothing
            while (reply := await wire.hear()) is not None and "error" not in reply:
                pass
        assert reply is not None
        assert (reply["id"], reply["error"]["code"]) == (1, "internal")


async def test_an_answer_that_is_too_large_is_an_error_and_not_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "MAX_REPLY_BYTES", 1000)
    async with serving(*(tunnel(f"tunnel-{number}") for number in range(10))), wired() as wire:
        assert (await wire.ask(1, "status"))["error"]["code"] == InternalError.code
        async with asyncio.timeout(1):
            assert (await wire.ask(2, "watch", interval=10))["error"]["code"] == InternalError.code


async def test_the_real_client_in_another_thread_is_answered() -> None:
    def use() -> list[str]:
        with Client.connect() as client:
            return [tunnel.name for tunnel in client.status().tunnels]

    async with serving(tunnel("work-db")):
        assert await asyncio.to_thread(use) == ["work-db"]


# --- a folder that goes away ----------------------------------------------------------------------


async def test_a_socket_that_is_removed_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CHECK_INTERVAL", 0.01)
    async with serving():
        shutil.rmtree(paths.runtime_dir())
        await until(paths.socket_path().exists)
        reader, writer = await asyncio.open_unix_connection(paths.socket_path())
        assert b"hello" in await reader.readline()
        writer.close()


async def test_a_socket_of_somebody_else_is_not_removed_at_the_end() -> None:
    async with serving():
        paths.socket_path().unlink()
        paths.socket_path().write_text("not ours")
    assert paths.socket_path().read_text() == "not ours"
