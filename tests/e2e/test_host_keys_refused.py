"""A server whose host key is not good gets no login and no byte of a client, however it is reached."""

from __future__ import annotations

import asyncio
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import asyncssh
import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import LOOPBACK, free_port, in_use
from tests.e2e.bed.product import NEEDS_PERSON, NOT_AS_ASKED, OK, Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd, fingerprint, known_hosts_line, make_key
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually

pytestmark = pytest.mark.long


class Impostor:
    """A server that would take every login and every channel, and remembers whether it was asked to."""

    def __init__(self) -> None:
        self.logins: list[str] = []
        self.channels: list[object] = []
        self.connections: list[Any] = []
        self.host = LOOPBACK
        self.port = 0
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._loop = asyncio.new_event_loop()
        self._server: asyncssh.SSHAcceptor | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def key(self) -> str:
        return self._key.export_public_key().decode().strip()

    def certify(self, authority: asyncssh.SSHKey, **about: Any) -> None:
        """Show a certificate from now on."""
        certificate = authority.generate_host_certificate(self._key.convert_to_public(), "x", **about)
        self._on_loop(self._serve([(self._key, certificate)]))

    def __enter__(self) -> Self:
        self._thread.start()
        self._on_loop(self._serve([self._key]))
        return self

    def __exit__(self, *_: object) -> None:
        self._on_loop(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _on_loop(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def _serve(self, keys: Any) -> None:
        impostor = self
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                impostor.connections.append(conn)

            def begin_auth(self, username: str) -> bool:
                impostor.logins.append(username)
                return False

            def connection_requested(self, *where: object) -> bool:
                impostor.channels.append(where)
                return False

        self._server = await asyncssh.create_server(
            Server, self.host, self.port, server_host_keys=keys, keepalive_interval=0
        )
        self.port = self._server.get_port()

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for conn in self.connections:
            conn.abort()
        await asyncio.sleep(0)

    def saw_nothing(self) -> None:
        """Check that every connection ended before anything was said under the new keys."""
        assert self.connections, "nobody has come"
        assert self.logins == self.channels == []
        assert not any(conn._recv_encryption for conn in self.connections), "a packet under the new keys"


@pytest.fixture
def impostor() -> Iterator[Impostor]:
    with Impostor() as running:
        yield running


def line(impostor: Impostor, key: str) -> str:
    return known_hosts_line(impostor.host, impostor.port, key)


def nothing_is_served(port: int) -> None:
    """A client gets no connection, or one that carries nothing."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=5) as client:
            client.settimeout(1)
            client.sendall(b"a secret")
            assert client.recv(1) == b""
    except OSError:
        return


AUTHORITY = asyncssh.generate_private_key("ssh-ed25519")
AUTHORITY_LINE = AUTHORITY.export_public_key().decode().strip()

#: What is on file (N: the server's name, K: its key, O: another one), the policy, the exit code, the state.
CASES = {
    "changed": ("N O", "accept-new", NOT_AS_ASKED, "failed"),
    "changed, as strict as it gets": ("N O", "strict", NOT_AS_ASKED, "failed"),
    "changed, on a terminal it would not be asked either": ("N O", "ask", NOT_AS_ASKED, "failed"),
    "unknown": ("", "strict", NOT_AS_ASKED, "failed"),
    "unknown, nobody there": ("", "ask", NEEDS_PERSON, "needs-input"),
    "revoked": ("N K\n@revoked * K", "accept-new", NOT_AS_ASKED, "failed"),
    "revoked without its port": ("N K\n@revoked 127.0.0.1 K", "accept-new", NOT_AS_ASKED, "failed"),
    "binary garbage": ("\0\x01\ufffd N \x07 K", "strict", NOT_AS_ASKED, "failed"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_server_whose_key_is_not_good_never_sees_a_byte(
    case: str, impostor: Impostor, tunnels: Tunnels, site: Site, tmp_path: Path
) -> None:
    text, policy, code, state = CASES[case]
    other = " ".join(make_key(tmp_path / "other").split()[:2])
    words = {"N": f"[{impostor.host}]:{impostor.port}", "K": impostor.key, "O": other}
    file = tunnels.home / ".ssh" / "known_hosts"
    lines = [" ".join(words.get(word, word) for word in line.split(" ")) for line in text.split("\n")]
    file.write_text("\n".join([*lines, ""]))
    before = file.read_text()
    never(impostor, tunnels, site, policy, code, state)
    assert file.read_text() == before


def never(
    impostor: Impostor, tunnels: Tunnels, site: Site, policy: str, code: int, state: str, **more: object
) -> dict[str, Any]:
    port = free_port()
    profile = {
        "host": impostor.host,
        "port": impostor.port,
        "user": "me",
        "identity_file": str(site.identity),
        "host_key_policy": policy,
        "ssh_config": "none",
        "local": [f"{port}:{site.far.echo}"],
    }
    tunnels.write(work={**profile, **more})
    tunnels.up("work", expect=code)
    tunnel = tunnels.tunnel("work")
    assert tunnel["state"] == state
    nothing_is_served(port)
    impostor.saw_nothing()
    forward = tunnel["forwards"][0]
    assert (forward["bytes_in"], forward["bytes_out"]) == (0, 0)
    tunnels.down("work")
    assert not in_use(port)
    impostor.saw_nothing()
    return dict(tunnel["error"] or {})


@pytest.mark.parametrize("file", ["none", "/dev/null", "missing/known_hosts"])
def test_no_file_is_no_way_around_the_check(
    file: str, impostor: Impostor, tunnels: Tunnels, site: Site, tmp_path: Path
) -> None:
    where = str(tmp_path / file) if file.startswith("missing") else file
    never(impostor, tunnels, site, "strict", NOT_AS_ASKED, "failed", known_hosts=where)


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"principals": ["other.example.com"]}, "it is for other.example.com, and not for 127.0.0.1"),
        ({"valid_after": 0, "valid_before": 1000}, "it has expired at 1970-01-01 00:16:40 UTC"),
        ({"valid_after": 4000000000, "valid_before": 4000000001}, "it is valid from 2096-10-02"),
    ],
)
def test_a_certificate_that_is_not_good_is_said_why(
    about: dict[str, Any], words: str, impostor: Impostor, tunnels: Tunnels, site: Site
) -> None:
    file = tunnels.home / ".ssh" / "known_hosts"
    file.write_text(f"@cert-authority * {AUTHORITY_LINE}\n")
    impostor.certify(AUTHORITY, **about)
    error = never(impostor, tunnels, site, "strict", NOT_AS_ASKED, "failed")
    assert words in error["message"]
    assert fingerprint(impostor.key) in error["message"]


def test_a_revoked_authority_is_refused_although_the_key_is_on_file(
    impostor: Impostor, tunnels: Tunnels, site: Site
) -> None:
    file = tunnels.home / ".ssh" / "known_hosts"
    file.write_text(f"{line(impostor, impostor.key)}\n@revoked * {AUTHORITY_LINE}\n")
    impostor.certify(AUTHORITY, principals=[impostor.host])
    assert "revoked" in never(impostor, tunnels, site, "accept-new", NOT_AS_ASKED, "failed")["message"]


@pytest.mark.loopback_site
def test_a_jump_host_is_checked_like_every_server(impostor: Impostor, tunnels: Tunnels, site: Site) -> None:
    connections = site.connections
    never(
        impostor, tunnels, site, "strict", NOT_AS_ASKED, "failed",
        host=site.host, port=site.port, user=site.user, jump=[f"me@{impostor.host}:{impostor.port}"],
        known_hosts=str(site.known_hosts),
    )  # fmt: skip
    assert site.connections == connections, "the server behind it was not reached"


@pytest.mark.loopback_site
def test_a_server_behind_a_jump_host_is_checked_too(impostor: Impostor, tunnels: Tunnels, site: Site) -> None:
    error = never(
        impostor, tunnels, site, "strict", NOT_AS_ASKED, "failed",
        jump=[f"{site.user}@{site.host}:{site.port}"], known_hosts=str(site.known_hosts),
    )  # fmt: skip
    assert error["code"] == "host-key-unknown"


# --- what to type ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["known_hosts", "the known hosts of O'Brien"])
@pytest.mark.parametrize("hashed", [False, True])
def test_the_command_of_the_hint_mends_a_changed_key_when_it_is_pasted(
    hashed: bool, name: str, start_sshd: Callable[..., Sshd], tunnels: Tunnels, site: Site, tmp_path: Path
) -> None:
    sshd = start_sshd()
    file = tmp_path / name
    others = f"# mine\nother {make_key(tmp_path / 'other')}\n"
    file.write_text(f"{others}{known_hosts_line(sshd.host, sshd.port, make_key(tmp_path / 'old'))}\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    port = free_port()
    login = {**sshd.login(), "known_hosts": str(file), "host_key_policy": "accept-new"}
    tunnels.write(work={**login, "local": [f"{port}:{site.far.echo}"]})
    tunnels.up("work", expect=NOT_AS_ASKED)
    command = tunnels.tunnel("work")["error"]["hint"].partition("run: ")[2]
    assert shlex.split(command)[0] == "ssh-keygen"
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    tunnels.up("work")
    traffic.check_echo(dialing(port), 1000)
    assert sshd.host_key.split()[1] in file.read_text()
    if not hashed:
        assert file.read_text().startswith(others)


def test_the_question_says_by_which_other_name_the_key_is_known(tunnels: Tunnels, site: Site) -> None:
    file = tunnels.home / ".ssh" / "known_hosts"
    key = next(each for each in site.known_hosts.read_text().splitlines() if f":{site.port} " in each).split(
        " ", 1
    )[1]
    file.write_text(f"work.example.com {key}\n")
    login = {**site.login(), "known_hosts": str(file), "host_key_policy": "ask"}
    tunnels.write(work={**login, "local": [f"{free_port()}:{site.far.echo}"]})
    with tunnels.terminal("up", "work") as terminal:
        terminal.expect("already known as")
        terminal.expect("work.example.com")
        terminal.expect("yes/no")
        terminal.send(fingerprint(key))
        assert terminal.wait() == OK
    eventually(lambda: key in file.read_text().splitlines()[-1], within=5, what="the key in the file")
