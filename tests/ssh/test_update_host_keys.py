"""What an announcement of host keys may change, and what a hostile server gets by it. Real ones: tests/e2e."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.ssh.blobs import ed25519, rsa, text
from tunnels.core.profile import HostKeyPolicy
from tunnels.core.question import NobodyThere
from tunnels.ssh.client import Client
from tunnels.ssh.destination import Destination, UpdateHostKeys
from tunnels.ssh.host_key_guard import TRUST_NOTHING
from tunnels.ssh.host_keys import HostKeyChecker
from tunnels.ssh.known_hosts import hashed_name
from tunnels.ssh.login import Login
from tunnels.ssh.public_key import fingerprint, string
from tunnels.ssh.update_host_keys import MAX_KEYS, Change, plan

A, B, C, R = ed25519(1), ed25519(2), ed25519(3), rsa(1)
SALT = b"as long as the hash."


def planned(*lines: str, announced: tuple[bytes, ...] = (A, B)) -> Change | str | None:
    return plan({"/kh": "".join(f"{line}\n" for line in lines), "/kh2": ""}, "h", announced)


def test_new_keys_are_added_and_keys_that_are_gone_are_taken_out() -> None:
    change = planned(f"h {text(A)}", f"h {text(C)}", f"other {text(R)}")
    assert isinstance(change, Change)
    assert change.new == (B,)
    assert [(entry.line, entry.blob) for entry in change.old] == [(2, C)]


def test_nothing_changes_where_everything_is_on_file() -> None:
    assert planned(f"h {text(A)}", f"h {text(B)}") is None
    assert planned(f"*,h,x {text(A)}", f"h {text(B)}") is None


@pytest.mark.parametrize("hosts", ["h", "H", "h,192.0.2.1", hashed_name("h", SALT)])
def test_lines_as_ssh_writes_them_are_changed(hosts: str) -> None:
    assert isinstance(planned(f"{hosts} {text(A)}", f"{hosts} {text(C)}"), Change)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"@cert-authority * {text(C)}", "/kh:2 has a marker"),
        (f"@cert-authority h {text(C)}", "/kh:2 has a marker"),
        (f"@revoked h {text(C)}", "/kh:2 has a marker"),
        (f"* {text(C)}", "/kh:2 speaks of more"),
        (f"h? {text(C)}", None),
        (f"?,h {text(C)}", "/kh:2 speaks of more"),
        (f"h,a,b {text(C)}", "/kh:2 speaks of more"),
        (f"other {text(A)}", "also on file for another name (/kh:2)"),
        (f"other {text(B)}", "also on file for another name (/kh:2)"),
        (f"{hashed_name('other', SALT)} {text(B)}", "also on file for another name (/kh:2)"),
        (f"@revoked other {text(B)}", "also on file for another name (/kh:2)"),
        (f"other {text(C)}\nh {text(C)}", "also on file for another name (/kh:2)"),
        (f"other {text(C)}", None),
    ],
)
def test_what_ssh_leaves_alone_is_left_alone(line: str, why: str | None) -> None:
    change = planned(f"h {text(A)}", line)
    if why is None:
        assert isinstance(change, Change)
    else:
        assert isinstance(change, str)
        assert why in change


# --- with a server --------------------------------------------------------------------------------


def generate(kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind)


def public(key: asyncssh.SSHKey) -> bytes:
    return key.convert_to_public().public_data


class Server(asyncssh.SSHServer):
    """Takes every login."""

    def begin_auth(self, username: str) -> bool:
        return False


class Connection(asyncssh.SSHServerConnection):
    """Announces what the test says, and proves it as the test says."""

    announcement: bytes = b""
    proof: bytes | None = None
    asked: list[bytes]

    def send_server_host_keys(self) -> None:
        self._send_global_request(b"hostkeys-00@openssh.com", self.announcement)

    def _process_hostkeys_prove_00_at_openssh_dot_com_global_request(self, packet: Any) -> None:
        self.asked.append(packet.get_remaining_payload())
        self._report_global_response(False if self.proof is None else self.proof)


@pytest.fixture
def file(home: Path) -> Path:
    (home / ".ssh").mkdir()
    return home / ".ssh" / "known_hosts"


@asynccontextmanager
async def connected(
    file: Path,
    key: asyncssh.SSHKey,
    monkeypatch: pytest.MonkeyPatch,
    *,
    announcement: bytes,
    proof: Any = None,
    mode: UpdateHostKeys = "yes",
    **where: Any,
) -> AsyncIterator[tuple[asyncssh.SSHClientConnection, list[bytes]]]:
    """Be connected to a server that has announced something, after all that came of it."""
    asked: list[bytes] = []

    class Ours(Connection):
        pass

    Ours.announcement = announcement
    Ours.asked = asked
    if callable(proof):
        Ours.proof = property(lambda conn: proof(conn._session_id))  # type: ignore[assignment]
    else:
        Ours.proof = proof
    monkeypatch.setattr(asyncssh.connection, "SSHServerConnection", Ours)
    if not file.exists():
        file.write_text(f"# mine\nh {text(public(key))}\n")
    destination = Destination(
        "h",
        "h",
        where.pop("port", 22),
        "me",
        **{"user_known_hosts_files": (str(file),), "update_host_keys": mode, **where},
    )
    checker = HostKeyChecker(destination, HostKeyPolicy.ACCEPT_NEW)
    client = Client(checker, Login(destination, NobodyThere()))
    async with (
        await asyncssh.create_server(Server, "127.0.0.1", 0, server_host_keys=[key]) as server,
        asyncssh.connect(
            "127.0.0.1",
            server.get_port(),
            client_factory=lambda: client,
            known_hosts=TRUST_NOTHING,
            config=None,
            username="me",
            client_keys=None,
            agent_path=None,
            x509_trusted_certs=None,
            server_host_key_algs=checker.algorithms(),
        ) as conn,
    ):
        await asyncio.wait_for(_round_trip(conn), 10)
        tasks = {task for task in asyncio.all_tasks() if "HostKeyUpdate" in repr(task.get_coro())}
        if tasks:
            await asyncio.wait(tasks, timeout=10)
        yield conn, asked
        await asyncio.wait_for(_round_trip(conn), 10)  # it is still up


async def _round_trip(conn: Any) -> None:
    await conn._make_global_request(b"keepalive@openssh.com")


def signing(*keys: asyncssh.SSHKey) -> Any:
    """Prove that one has these keys, as sshd does."""

    def prove(session: bytes) -> bytes:
        return b"".join(
            string(
                key.sign(
                    string(b"hostkeys-prove-00@openssh.com") + string(session) + string(public(key)),
                    key.sig_algorithms[0],
                )
            )
            for key in keys
        )

    return prove


def announcing(*keys: asyncssh.SSHKey) -> bytes:
    return b"".join(string(public(key)) for key in keys)


async def test_a_key_that_the_server_proves_to_have_is_written_down(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tunnels")
    old, new, other = generate(), generate(), generate("ecdsa-sha2-nistp256")
    announced = announcing(old, new, other)
    async with connected(file, old, monkeypatch, announcement=announced, proof=signing(new, other)) as (
        _,
        asked,
    ):
        assert asked == [announcing(new, other)], "only what is new has to be proved"
    assert (
        file.read_text() == f"# mine\nh {text(public(old))}\nh {text(public(new))}\nh {text(public(other))}\n"
    )
    assert f"ED25519 {fingerprint(public(new))}" in caplog.text


async def test_a_server_that_announces_a_key_it_does_not_have_changes_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key, mine, stolen = generate(), generate(), generate()
    forged = lambda session: signing(mine)(session) + signing(mine)(session)  # noqa: E731
    async with connected(file, key, monkeypatch, announcement=announcing(key, mine, stolen), proof=forged):
        pass
    assert file.read_text() == f"# mine\nh {text(public(key))}\n", "not even the one that it has"
    assert f"it has not proved that it has ED25519 {fingerprint(public(stolen))}" in caplog.text


@pytest.mark.parametrize("proof", [None, b"", b"\0\0\0\1x", b"\xff\xff\xff\xff", string(b"x") * 9])
async def test_a_proof_that_is_none_changes_nothing(
    proof: bytes | None, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key = generate()
    async with connected(file, key, monkeypatch, announcement=announcing(key, generate()), proof=proof):
        pass
    assert file.read_text() == f"# mine\nh {text(public(key))}\n"
    assert "it has not proved" in caplog.text


async def test_the_proof_of_another_session_is_worth_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, new = generate(), generate()
    replayed = signing(new)(b"another session")
    async with connected(file, key, monkeypatch, announcement=announcing(key, new), proof=replayed):
        pass
    assert file.read_text() == f"# mine\nh {text(public(key))}\n"


@pytest.mark.parametrize(
    "announcement",
    [
        b"",
        b"\xff\xff\xff\xff",
        b"\0\0\0\4ssh",
        string(b"junk"),
        string(A) * 2,
        b"".join(string(b"\0\0\0\x0bssh-ed25519" + string(bytes([n]) * 32)) for n in range(MAX_KEYS + 1)),
        string(b"\0\0\0\x07ssh-dss" + string(b"x")),
    ],
)
async def test_an_announcement_that_makes_no_sense_changes_nothing_and_ends_nothing(
    announcement: bytes, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = generate()
    async with connected(
        file, key, monkeypatch, announcement=string(public(key)) + announcement, proof=b""
    ) as (
        _,
        asked,
    ):
        assert asked == []
    assert file.read_text() == f"# mine\nh {text(public(key))}\n"


async def test_a_key_that_is_revoked_or_weak_or_of_a_type_nobody_asked_for_is_not_taken(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, revoked, ecdsa = generate(), generate(), generate("ecdsa-sha2-nistp384")
    (home / "revoked").write_text(f"{text(public(revoked))}\n")
    announced = announcing(key, revoked, ecdsa) + string(
        b"\0\0\0\x07ssh-rsa\0\0\0\1\3" + string(b"\x70" * 90)
    )
    async with connected(
        file,
        key,
        monkeypatch,
        announcement=announced,
        proof=b"",
        revoked_host_keys=str(home / "revoked"),
        host_key_algorithms=("ssh-ed25519", "rsa-sha2-512"),
    ) as (_, asked):
        assert asked == []
    assert file.read_text() == f"# mine\nh {text(public(key))}\n"


@pytest.mark.parametrize("mode", ["no", "ask"])
async def test_nothing_is_taken_unless_ssh_config_says_yes(
    mode: UpdateHostKeys, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tunnels")
    key, new = generate(), generate()
    async with connected(
        file, key, monkeypatch, announcement=announcing(key, new), proof=signing(new), mode=mode
    ) as (_, asked):
        assert asked == []
    assert file.read_text() == f"# mine\nh {text(public(key))}\n"
    assert ("UpdateHostKeys is ask" in caplog.text) is (mode == "ask")


async def test_nothing_is_taken_where_the_key_was_not_found_in_the_users_own_file(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, new = generate(), generate()
    everybody = home / "ssh_known_hosts"
    everybody.write_text(f"h {text(public(key))}\n")
    file.write_text("")
    announced = {"announcement": announcing(key, new), "proof": signing(new)}
    async with connected(file, key, monkeypatch, **announced, global_known_hosts_files=(str(everybody),)) as (
        _,
        asked,
    ):
        assert asked == []
    file.write_text(f"h {text(public(key))}\n")
    async with connected(file, key, monkeypatch, **announced, port=2222) as (
        _,
        asked,
    ):  # known without the port
        assert asked == []
    assert file.read_text() == everybody.read_text() == f"h {text(public(key))}\n"


async def test_nothing_is_taken_at_the_connection_that_has_just_learned_the_first_key(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, new = generate(), generate()
    file.write_text("")
    async with connected(file, key, monkeypatch, announcement=announcing(key, new), proof=signing(new)) as (
        _,
        asked,
    ):
        assert asked == []
    assert file.read_text() == f"h {text(public(key))}\n"


async def test_a_file_that_cannot_be_written_is_said_and_the_connection_stays(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key, new = generate(), generate()
    full = lambda new_key: (_ for _ in ()).throw(OSError("No space left on device"))  # noqa: E731
    monkeypatch.setattr("tunnels.ssh.known_hosts_file.append", full)
    async with connected(file, key, monkeypatch, announcement=announcing(key, new), proof=signing(new)):
        pass
    assert "were not taken: No space left on device" in caplog.text
