"""Our verdict about a host key against that of the program ssh, on the same files and the same real servers.

The verdict stands, and is written down, when the keys have been exchanged; logging in would be most of the
work and tell nothing more. So nobody has a key here: a host key that was accepted is a login that is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from tests.ssh.blobs import ed25519, rsa, text
from tests.ssh.test_host_keys_sshd import Server, verdict
from tunnels.core.profile import HostKeyPolicy
from tunnels.errors import HostKeyRejected, HostKeyUnknown
from tunnels.ssh.destination import Destination
from tunnels.ssh.host_keys import HostKeyChecker
from tunnels.ssh.known_hosts import hashed_name

pytestmark = [pytest.mark.openssh, pytest.mark.long]

Word = Literal["accepted", "unknown", "changed", "revoked"]


def keygen(*arguments: str | Path) -> None:
    subprocess.run(["ssh-keygen", "-q", *arguments], check=True, stdout=subprocess.DEVNULL)


#: Certificates of the one host key: how ssh-keygen makes them.
CERTIFICATES = {
    "good": ("-h", "-n", "localhost", "-V", "-1m:+1h"),
    "forever": ("-h", "-n", "localhost"),
    "nameless": ("-h", "-V", "-1m:+1h"),
    "pattern": ("-h", "-n", "local*", "-V", "-1m:+1h"),
    "several": ("-h", "-n", "a,b,localhost", "-V", "-1m:+1h"),
    "expired": ("-h", "-n", "localhost", "-V", "-2h:-1h"),
    "early": ("-h", "-n", "localhost", "-V", "+1h:+2h"),
    "other": ("-h", "-n", "other", "-V", "-1m:+1h"),
    "user": ("-n", "localhost", "-V", "-1m:+1h"),
}


@dataclass
class Servers:
    folder: Path
    ports: dict[str, int]  #: by the certificate that they show; "plain" shows none

    def text(self, name: str) -> str:
        return " ".join((self.folder / f"{name}.pub").read_text().split()[:2])


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "ca"):
        keygen("-t", "ed25519", "-N", "", "-f", folder / name)
    keygen("-t", "ecdsa", "-N", "", "-f", folder / "ecca")
    keygen("-t", "rsa", "-b", "2048", "-N", "", "-f", folder / "weakca")
    for name, about in {**CERTIFICATES, "sha1": ("-h", "-n", "localhost")}.items():
        shutil.copy(folder / "host", folder / name)
        shutil.copy(folder / "host.pub", folder / f"{name}.pub")
        authority = ("-t", "ssh-rsa", "-s", folder / "weakca") if name == "sha1" else ("-s", folder / "ca")
        keygen(*authority, "-I", name, *about, folder / f"{name}.pub")
    ports = {}
    with contextlib.ExitStack() as open_ones:
        for name in ("plain", *CERTIFICATES, "sha1"):
            with socket.create_server(("127.0.0.1", 0)) as free:
                ports[name] = free.getsockname()[1]
            key = "host" if name == "plain" else name
            lines = [
                *(
                    f"Port {ports[name]}",
                    "ListenAddress 127.0.0.1",
                    "PidFile none",
                    "UsePAM no",
                    "StrictModes no",
                ),
                *(f"HostKey {folder / key}", "AuthorizedKeysFile none"),
                *("AuthenticationMethods publickey", "KexAlgorithms curve25519-sha256"),  # the quickest
                *(() if name == "plain" else (f"HostCertificate {folder / name}-cert.pub",)),
            ]
            (folder / f"{name}.config").write_text("\n".join(lines) + "\n")
            process = subprocess.Popen(
                [program, "-D", "-e", "-f", folder / f"{name}.config"], stderr=subprocess.PIPE
            )
            open_ones.callback(process.wait)
            open_ones.callback(process.terminate)
            assert process.stderr is not None
            open_ones.callback(process.stderr.close)
            assert b"listening" in process.stderr.readline()
        yield Servers(folder, ports)


class Row(NamedTuple):
    """A case. In the lines, N is the server's name with its port, K its key, CA the authority."""

    lines: tuple[str, ...]
    server: str = "plain"
    alias: str | None = None
    stricter: Word | None = None  #: what we say where ssh says something weaker


SALT = b"as long as the hash."
OTHER, OTHER_RSA = text(ed25519(7)), text(rsa(7))

ROWS = [
    # plain keys
    Row(()),
    Row(("# nothing", "", "junk", "N ssh-ed25519", "N K")),
    Row((f"N {OTHER}",)),
    Row((f"N {OTHER_RSA}",)),
    Row((f"N {OTHER}", "N K")),
    Row(("N K", f"N {OTHER}")),
    Row((f"N {OTHER_RSA}", "N K")),
    Row(("localhost K",)),
    Row((f"localhost {OTHER}",)),
    Row((f"N {OTHER}", "localhost K")),
    Row((f"localhost {OTHER}", "N K")),
    Row(("LOCALHOST K",)),
    Row(("[LocalHost]:PORT K",)),
    Row(("[localhost]:1 K",)),
    Row(("x,N,y K",)),
    Row(("* K",)),
    Row(("*,!N K",)),
    Row(("[local*]:PORT K",)),
    Row(("[localhost]:* K",)),
    Row(("local????,!localhost K",)),
    Row(("H(N) K",)),
    Row((f"H(N) {OTHER}",)),
    Row(("H(localhost) K",)),
    Row(("H(x) K",)),
    Row(("|1|short|short K",)),
    Row(("N \t K",)),
    Row(("  N   K   comment with words",)),
    Row(("N K\r",)),
    Row(("N ssh-rsa B",)),
    Row(("N ssh-ed25519 AAAA",)),
    Row(("N K=",)),
    Row(("@weird N K",)),
    Row(("@ N K",)),
    # revoked
    Row(("@revoked N K",)),
    Row(("@revoked N K", "N K")),
    Row(("N K", "@revoked N K")),
    Row(("N K", "@revoked * K")),
    Row(("N K", f"@revoked * {OTHER}")),
    Row(("N K", "@revoked H(N) K")),
    Row(("N K", "@revoked localhost K"), stricter="revoked"),
    Row(("@revoked localhost K",), stricter="revoked"),
    Row(("N K", "@revoked other K")),
    # an alias
    Row(("work K",), alias="work"),
    Row(("WORK K",), alias="Work"),
    Row(("N K", "localhost K"), alias="work"),
    Row((f"work {OTHER}", "N K"), alias="work"),
    # authorities
    *(Row(("@cert-authority N CA",), name) for name in CERTIFICATES),
    *(Row(("@cert-authority N CA", "N K"), name) for name in CERTIFICATES),
    *(Row(("@cert-authority N CA", f"N {OTHER}"), name) for name in CERTIFICATES),
    Row(("@cert-authority * CA",), "good"),
    Row(("@cert-authority localhost CA",), "good"),
    Row(("@cert-authority *.example.com CA",), "good"),
    Row(("@cert-authority *,!N CA",), "good"),
    Row(("@cert-authority H(N) CA",), "good"),
    Row(("N CA",), "good"),
    Row(("N K",), "good"),
    Row((), "good"),
    Row((f"@cert-authority N {OTHER}",), "good"),
    Row((f"@cert-authority N {OTHER}", "N K"), "good"),
    Row((f"@cert-authority N {OTHER}", "@cert-authority N CA"), "good"),
    Row((f"@cert-authority N {OTHER}", "@cert-authority localhost CA"), "good"),
    Row(("@cert-authority N CA", "@revoked * CA"), "good"),
    Row(("@cert-authority N CA", "@revoked * K"), "good"),
    Row(("@cert-authority N CA", "@revoked * CA", "N K"), "good"),
    Row(("@revoked * CA", "N K"), "expired"),
    Row(("@cert-authority N CA",), "plain"),
    Row(("@cert-authority N CA", "N K"), "plain"),
    Row(("@cert-authority N K",), "plain"),
    Row(("@cert-authority work CA",), "good", alias="work"),
    Row(("@cert-authority work CA",), "other", alias="other"),
    Row(("@cert-authority other CA",), "other", alias="other"),
    Row(("@cert-authority N SHA1",), "sha1"),
    Row(("@cert-authority N SHA1", "N K"), "sha1"),
]


def write(file: Path, row: Row, servers: Servers) -> None:
    port = servers.ports[row.server]
    name = f"[localhost]:{port}"
    words = {"N": name, "K": servers.text("host"), "CA": servers.text("ca"), "SHA1": servers.text("weakca")}
    words |= {"K=": f"{words['K']}=", "K\r": f"{words['K']}\r", "B": words["K"].split()[1]}
    words |= {"x,N,y": f"x,{name},y", "*,!N": f"*,!{name}", "H(N)": hashed_name(name, SALT)}
    words |= {f"H({other})": hashed_name(other, SALT) for other in ("localhost", "x")}

    def filled(line: str) -> str:
        return " ".join(words.get(word, word.replace("PORT", str(port))) for word in line.split(" "))

    file.write_text("".join(f"{filled(line)}\n" for line in row.lines))


def what_ssh_says(file: Path, row: Row, servers: Servers, policy: str) -> Word:
    options = [
        *(f"UserKnownHostsFile={file}", "GlobalKnownHostsFile=none", f"StrictHostKeyChecking={policy}"),
        *("BatchMode=yes", "IdentitiesOnly=yes", "UpdateHostKeys=no", "PreferredAuthentications=none"),
        *([f"HostKeyAlias={row.alias}"] if row.alias else []),
    ]
    done = subprocess.run(
        [
            *("ssh", "-4", "-F", "none", "-p", str(servers.ports[row.server])),
            *(f"-o{option}" for option in options),
            *("localhost", "true"),
        ],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if "Permission denied (publickey)" in done.stderr:
        return "accepted"
    if "REVOKED HOST KEY" in done.stderr:
        return "revoked"
    if "IDENTIFICATION HAS CHANGED" in done.stderr:
        return "changed"
    assert "Host key verification failed" in done.stderr, done.stderr
    return "unknown"


async def what_we_say(file: Path, row: Row, servers: Servers, policy: HostKeyPolicy) -> Word:
    port = servers.ports[row.server]
    where = Destination(
        "localhost", "localhost", port, "me", user_known_hosts_files=(str(file),), host_key_alias=row.alias
    )
    error = await verdict(Server(servers.folder, port), HostKeyChecker(where, policy))
    if error is None:
        return "accepted"
    if isinstance(error, HostKeyRejected) and "revoked" in error.message:
        return "revoked"
    if isinstance(error, HostKeyRejected) and "has changed" in error.message:
        return "changed"
    assert isinstance(error, HostKeyUnknown | HostKeyRejected), error
    return "unknown"


def named(row: Row) -> str:
    return f"{row.server} {row.alias or ''} {' / '.join(row.lines)}"[:80]


@pytest.mark.parametrize("row", ROWS, ids=named)
@pytest.mark.parametrize("policy", ["yes", "accept-new"])
async def test_ssh_and_we_say_the_same_about_a_key(
    policy: str, row: Row, servers: Servers, tmp_path: Path
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write(ours, row, servers)
    write(theirs, row, servers)
    expected = what_ssh_says(theirs, row, servers, policy)
    chosen = HostKeyPolicy.STRICT if policy == "yes" else HostKeyPolicy.ACCEPT_NEW
    assert await what_we_say(ours, row, servers, chosen) == (row.stricter or expected)
    if row.stricter is None:
        assert ours.read_text() == theirs.read_text(), "and the same is written down"
