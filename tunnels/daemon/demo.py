"""``tunnels demo``: the whole engine against an SSH server of our own, on loopback, with real requests.

Every step checks what it shows. Nothing is faked but the distance: the profile, the supervisor, the
forwards and the reconnect are the ones that `tunnels up` uses.
"""

from __future__ import annotations

import asyncio
import random
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tunnels import profiles
from tunnels.core.state import ForwardState, TunnelState
from tunnels.core.status import TunnelStatus
from tunnels.errors import NotAsAsked
from tunnels.ssh.connect import connect
from tunnels.ssh.demo_server import DemoServer
from tunnels.supervisor.supervisor import Supervisor

#: Tells the person what is happening: a sentence, and whether it is a result.
Say = Callable[[str, bool], None]

#: Seconds that the server is away in the middle.
OUTAGE = 2.0

_STEP_TIMEOUT = 8.0

_FAR = b"hello from the private network behind the server"
_NEAR = b"hello from this machine"

_PROFILE = """\
[profiles.demo]
host = "127.0.0.1"
port = {ssh_port}
user = "{user}"
ssh_config = "none"
identity_file = "{identity_file}"
known_hosts = "{known_hosts}"
host_key_policy = "strict"
local = ["127.0.0.1:{local}:intranet.demo:80"]
remote = ["127.0.0.1:0:127.0.0.1:{near}"]
dynamic = ["127.0.0.1:{dynamic}"]
"""


async def run(say: Say) -> None:
    """Show the main job. Raises NotAsAsked at the first thing that is not as it should be."""
    far_site, far_port = await _site(_FAR)
    near_site, near_port = await _site(_NEAR)
    with tempfile.TemporaryDirectory(prefix="tunnels-demo-") as name:
        folder = Path(name)
        server = DemoServer(folder, {("intranet.demo", 80): far_port})
        supervisor = Supervisor(
            connect, random=random.random, wall_clock=time.time, on_desired=lambda _: None
        )
        try:
            await server.start()
            await _Demo(folder, server, supervisor, near_port, say).run()
        finally:
            await supervisor.aclose()
            await server.cut()
            far_site.close()
            near_site.close()


class _Demo:
    def __init__(
        self, folder: Path, server: DemoServer, supervisor: Supervisor, near_port: int, say: Say
    ) -> None:
        self._server = server
        self._supervisor = supervisor
        self._say = say
        self._local, self._dynamic = _free_ports(2)
        known_hosts = folder / "known_hosts"
        known_hosts.write_text(server.known_hosts_line)
        self._text = _PROFILE.format(
            ssh_port=server.port,
            user=server.user,
            identity_file=server.identity_file,
            known_hosts=known_hosts,
            local=self._local,
            near=near_port,
            dynamic=self._dynamic,
        )

    async def run(self) -> None:
        profile = profiles.parse(self._text, "demo").profiles["demo"]
        self._say("an SSH server on loopback, and a small site that only it can reach", False)
        await self._supervisor.up(profile)
        status = await self._wait_for(TunnelState.UP)
        if any(forward.state is not ForwardState.LISTENING for forward in status.forwards):
            raise NotAsAsked("a forward does not listen")
        self._say(f"tunnel up: {len(status.forwards)} forwards on one connection, {status.cipher}", True)
        await self._all_three()

        self._say("the connection is cut, and the server is away", False)
        await self._server.cut()
        await self._wait_for(TunnelState.BACKOFF)
        waiting = asyncio.ensure_future(_get(self._local))  # noqa: TID251 - awaited below, in every case
        try:
            await asyncio.sleep(OUTAGE)
            if waiting.done():
                raise NotAsAsked("the client that came during the outage was not held")
            self._say(f"a client connected {OUTAGE:g} s ago, and waits instead of failing", True)
            await self._server.start()
            back = time.monotonic()
            _expect(await _within(waiting, "the held client"), _FAR)
        finally:
            waiting.cancel()
        self._say(
            f"the server is back: the waiting client was answered after {time.monotonic() - back:.1f} s", True
        )
        await self._wait_for(TunnelState.UP)
        await self._all_three()
        await self._supervisor.down(["demo"])
        await self._check_free()
        self._say("taken down: every port is free again", True)

    async def _all_three(self) -> None:
        _expect(await _within(_get(self._local), "the local forward"), _FAR)
        self._say(f"local    127.0.0.1:{self._local} → intranet.demo:80 answered", True)
        port = int(self._status().forwards[1].listen.rpartition(":")[2])
        _expect(await _within(_get(port), "the remote forward"), _NEAR)
        self._say(f"remote   server's 127.0.0.1:{port} → this machine answered", True)
        _expect(
            await _within(_get_through_socks(self._dynamic, "intranet.demo", 80), "the SOCKS proxy"), _FAR
        )
        self._say(
            f"dynamic  127.0.0.1:{self._dynamic} → intranet.demo:80 answered, a name known only there",
            True,
        )

    def _status(self) -> TunnelStatus:
        return self._supervisor.statuses()[0]

    async def _wait_for(self, state: TunnelState) -> TunnelStatus:
        with self._supervisor.bus.watch() as watch:
            deadline = time.monotonic() + _STEP_TIMEOUT
            while (status := self._status()).state is not state:
                if time.monotonic() > deadline or status.state is TunnelState.FAILED:
                    why = f": {status.error.message}" if status.error is not None else ""
                    raise NotAsAsked(f"the tunnel is {status.state.value}, not {state.value}{why}")
                await watch.wait(0.5)
        return status

    async def _check_free(self) -> None:
        for port in (self._local, self._dynamic):
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    sock.bind(("127.0.0.1", port))
                except OSError as exc:
                    raise NotAsAsked(f"port {port} is not free after the tunnel was taken down") from exc


async def _within(awaitable: Awaitable[bytes], what: str) -> bytes:
    try:
        async with asyncio.timeout(_STEP_TIMEOUT):
            return await awaitable
    except TimeoutError as exc:
        raise NotAsAsked(f"{what} gave no answer within {_STEP_TIMEOUT:g} s") from exc
    except (OSError, EOFError) as exc:
        raise NotAsAsked(f"{what} failed: {exc}") from exc


def _expect(answer: bytes, wanted: bytes) -> None:
    if answer != wanted:
        raise NotAsAsked(f"the answer was {answer[:60]!r} and not {wanted!r}")


def _free_ports(count: int) -> list[int]:
    """Ports that are free at this moment, found by asking the kernel for them all at once."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


async def _site(body: bytes) -> tuple[asyncio.Server, int]:
    """A web site of one page on loopback."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            )
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def _get(port: int) -> bytes:
    """The body of ``GET /`` from a port on loopback."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    return await _request(reader, writer)


async def _get_through_socks(port: int, host: str, host_port: int) -> bytes:
    """The same through a SOCKS 5 proxy, with the name resolved at its far end (RFC 1928)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"\x05\x01\x00")
        if await reader.readexactly(2) != b"\x05\x00":
            raise NotAsAsked("the SOCKS proxy wants a login")
        name = host.encode("ascii")
        writer.write(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + host_port.to_bytes(2, "big"))
        reply = await reader.readexactly(10)
        if reply[1] != 0:
            raise NotAsAsked(f"the SOCKS proxy refused with code {reply[1]}")
        return await _request(reader, writer)
    finally:
        writer.close()


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: intranet.demo\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        return answer.partition(b"\r\n\r\n")[2]
    finally:
        writer.close()
