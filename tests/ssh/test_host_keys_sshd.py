"""The way in which `tunnels.ssh.host_keys` goes together with asyncssh, against a real sshd."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncssh
import pytest

from tests.ssh.blobs import ed25519, rsa, text
from tunnels.core.profile import HostKeyPolicy
from tunnels.errors import HostKeyRejected, TunnelsError
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_key_guard import TRUST_NOTHING, HostKeyGuard
from tunnels.ssh.host_keys import HostKeyChecker, UnconfirmedHostKey
from tunnels.ssh.known_hosts import new_line

pytestmark = pytest.mark.openssh

STRICT, ACCEPT_NEW = HostKeyPolicy.STRICT, HostKeyPolicy.ACCEPT_NEW


#: Keys that no server has.
A, R = ed25519(1), rsa(1)


@pytest.fixture
def file(home: Path) -> Path:
    return home / ".ssh" / "known_hosts"


def write(file: Path, *lines: str) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


@dataclass
class Server:
    folder: Path
    port: int

    def blob(self, name: str) -> bytes:
        return asyncssh.read_public_key(self.folder / f"{name}.pub").public_data


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name, key_type in (("ed", "ed25519"), ("rsa", "rsa"), ("ca", "ed25519"), ("me", "ed25519")):
        keygen("-t", key_type, *(("-b", "2048") if key_type == "rsa" else ()), "-N", "", "-f", folder / name)
    for name, names, time in (
        ("good", "localhost", "-1m:+1h"),
        ("expired", "localhost", "-2h:-1h"),
        ("other", "other", "-1m:+1h"),
    ):
        shutil.copy(folder / "ed", folder / name)
        shutil.copy(folder / "ed.pub", folder / f"{name}.pub")
        keygen("-s", folder / "ca", "-I", name, "-h", "-n", names, "-V", time, folder / f"{name}.pub")
    return folder


@contextlib.contextmanager
def sshd(keys: Path, folder: Path, *host_keys: str, certificate: str | None = None) -> Iterator[Server]:
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / f"sshd_config-{port}"
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        *(f"HostKey {keys / name}" for name in host_keys),
        *([f"HostCertificate {keys / certificate}-cert.pub"] if certificate else []),
        "PidFile none",
        "UsePAM no",
        "StrictModes no",
        f"AuthorizedKeysFile {keys / 'me.pub'}",
    ]
    config.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([program, "-D", "-e", "-f", config], stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        assert b"listening" in process.stderr.readline()
        yield Server(keys, port)
    finally:
        process.terminate()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


async def connect(server: Server, checker: HostKeyChecker) -> TunnelsError | None:
    """Log in, in the way of the docstring of `host_key_guard`; return the verdict."""
    return await _meet(server, checker, keys=[str(server.folder / "me")])


async def verdict(server: Server, checker: HostKeyChecker) -> TunnelsError | None:
    """Return the verdict about a server that lets nobody in."""
    try:
        error = await _meet(server, checker, keys=[])
    except asyncssh.PermissionDenied:
        return None
    assert error is not None, "it has let us in"
    return error


async def _meet(server: Server, checker: HostKeyChecker, *, keys: list[str]) -> TunnelsError | None:
    guard = HostKeyGuard(checker)

    class Client(asyncssh.SSHClient):
        def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
            guard.install(conn)

    try:
        connection = await asyncssh.connect(
            "localhost",
            server.port,
            family=socket.AF_INET,
            client_factory=Client,
            known_hosts=TRUST_NOTHING,
            server_host_key_algs=checker.algorithms(),
            config=None,
            x509_trusted_certs=None,
            client_keys=keys,
            agent_path=None,
        )
    except asyncssh.HostKeyNotVerifiable:
        return guard.verdict
    connection.close()
    await connection.wait_closed()
    return None


def local(server: Server, file: Path) -> Destination:
    return Destination("localhost", "localhost", server.port, "me", user_known_hosts_files=(str(file),))


async def test_a_real_server_is_learned_and_then_known(keys: Path, file: Path, tmp_path: Path) -> None:
    with sshd(keys, tmp_path, "rsa", "ed") as server:
        where = local(server, file)
        error = await connect(server, HostKeyChecker(where))
        assert isinstance(error, UnconfirmedHostKey)
        assert error.new_key is not None
        assert error.new_key.blob == server.blob("ed")  # the better one, although RSA is listed first

        assert await connect(server, HostKeyChecker(where, ACCEPT_NEW)) is None
        assert await connect(server, HostKeyChecker(where, STRICT)) is None
        assert f"[localhost]:{server.port} ssh-ed25519 " in file.read_text()
        write(file, new_line(f"[localhost]:{server.port}", server.blob("rsa"), salt=b"x" * 20).strip())
        assert await connect(server, HostKeyChecker(where, STRICT)) is None


async def test_ssh_takes_what_is_written_here_for_its_own(keys: Path, file: Path, tmp_path: Path) -> None:
    with sshd(keys, tmp_path, "ed") as server:
        for hashed in (False, True):
            file.unlink(missing_ok=True)
            where = replace(local(server, file), hash_known_hosts=hashed)
            assert await connect(server, HostKeyChecker(where, ACCEPT_NEW)) is None
            options = [
                f"UserKnownHostsFile={file}",
                "GlobalKnownHostsFile=none",
                "StrictHostKeyChecking=yes",
                "BatchMode=yes",
                "IdentitiesOnly=yes",
            ]
            done = subprocess.run(
                [
                    *("ssh", "-F", "none", "-p", str(server.port), "-i", str(keys / "me")),
                    *(f"-o{option}" for option in options),
                    *("localhost", "true"),
                ],
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
            )
            assert done.returncode == 0, done.stderr


async def test_a_real_server_with_another_key_is_refused(keys: Path, file: Path, tmp_path: Path) -> None:
    with sshd(keys, tmp_path, "rsa") as server:
        where = local(server, file)
        name = f"[localhost]:{server.port}"
        write(file, f"{name} {text(A)}")
        changed_type = await connect(server, HostKeyChecker(where, ACCEPT_NEW))
        write(file, f"{name} {text(R)}")
        changed = await connect(server, HostKeyChecker(where, ACCEPT_NEW))
        write(file, f"@revoked localhost {text(server.blob('rsa'))}")
        revoked = await connect(server, HostKeyChecker(where, ACCEPT_NEW))

    assert isinstance(changed_type, HostKeyRejected)
    assert "another type" in changed_type.message
    assert isinstance(changed, HostKeyRejected)
    assert "has changed:" in changed.message
    assert isinstance(revoked, HostKeyRejected)
    assert "revoked" in revoked.message


async def test_a_key_that_was_accepted_holds_through_rekeying(
    keys: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tunnels")
    with sshd(keys, tmp_path, "ed") as server:
        where = Destination("localhost", "localhost", server.port, "me")
        checker = HostKeyChecker(where, ACCEPT_NEW)
        asked = []

        class Guard(HostKeyGuard):
            def validate(self, key_data: bytes) -> asyncssh.SSHKey:
                asked.append(key_data)
                return super().validate(key_data)

        class Client(asyncssh.SSHClient):
            def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
                Guard(checker).install(conn)

        async with asyncssh.connect(
            "localhost",
            server.port,
            family=socket.AF_INET,
            client_factory=Client,
            known_hosts=TRUST_NOTHING,
            server_host_key_algs=checker.algorithms(),
            rekey_bytes=4096,
            config=None,
            client_keys=[str(keys / "me")],
            agent_path=None,
        ) as connection:
            result = await connection.run(
                "head -c 100000 /dev/zero | tee /dev/null; cat >/dev/null", input="x" * 50000
            )
            assert len(str(result.stdout)) == 100000
    assert len(asked) > 1
    assert len(caplog.messages) == 1
