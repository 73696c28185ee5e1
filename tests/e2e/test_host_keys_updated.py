"""UpdateHostKeys with a real sshd that gets new host keys, and with the program ssh as the judge."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.ports import free_port
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd, fingerprint, known_hosts_line
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually

pytestmark = [pytest.mark.loopback_site, pytest.mark.long]

KINDS = ("ecdsa", "rsa")


def make_key(path: Path, kind: str) -> str:
    path.unlink(missing_ok=True)
    bits = ("-b", "2048") if kind == "rsa" else ()
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


class Server:
    """An sshd with three host keys, one of each kind, and a tunnel to it whose file is the user's usual one."""

    def __init__(self, start_sshd: Callable[..., Sshd], site: Site, tunnels: Tunnels, folder: Path) -> None:
        self.keys = {kind: make_key(folder / kind, kind) for kind in KINDS}
        self._folder = folder
        self.sshd = start_sshd(*(f"HostKey {folder / kind}" for kind in KINDS))
        self.keys["ed25519"] = " ".join(self.sshd.host_key.split()[:2])
        self.file = tunnels.home / ".ssh" / "known_hosts"
        self._tunnels = tunnels
        self._site = site
        self.port = free_port()
        self.write()

    def write(self, **settings: object) -> None:
        login = {**self.sshd.login(), "known_hosts": str(self.file), **settings}
        self._tunnels.write(work={**login, "local": [f"{self.port}:{self._site.far.echo}"]})

    def line(self, key: str) -> str:
        return known_hosts_line(self.sshd.host, self.sshd.port, key)

    def lines(self, *kinds: str) -> list[str]:
        return [self.line(self.keys[kind]) for kind in kinds]

    def rotate(self, kind: str) -> str:
        """Get a new key of a kind; return the old one."""
        old = self.keys[kind]
        self.sshd.stop()
        if kind == "ed25519":
            self.sshd.new_host_key()
            self.keys[kind] = " ".join(self.sshd.host_key.split()[:2])
        else:
            self.keys[kind] = make_key(self._folder / kind, kind)
        self.sshd.start()
        return old

    def ssh(self, file: Path) -> None:
        """Log in with ssh, which updates a file of its own."""
        options = [
            *(f"UserKnownHostsFile={file}", "GlobalKnownHostsFile=none", "StrictHostKeyChecking=yes"),
            *("BatchMode=yes", "IdentitiesOnly=yes", "UpdateHostKeys=yes"),
        ]
        subprocess.run(
            [
                *("ssh", "-F", "none", "-p", str(self.sshd.port), "-i", str(self.sshd.identity)),
                *(f"-o{option}" for option in options),
                *(f"{self.sshd.user}@{self.sshd.host}", "sleep 1"),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )


@pytest.fixture
def server(start_sshd: Callable[..., Sshd], site: Site, tunnels: Tunnels, tmp_path: Path) -> Server:
    return Server(start_sshd, site, tunnels, tmp_path)


def updated(file: Path, expected: Sequence[str]) -> None:
    def look() -> bool:
        assert sorted(file.read_text().splitlines()) == sorted(expected)
        return True

    eventually(look, within=10, what="the updated known_hosts")


def test_the_other_keys_of_a_server_are_learned_and_one_that_is_replaced_is_forgotten(
    server: Server, tunnels: Tunnels
) -> None:
    first = ["# mine", "other.example.com ssh-ed25519 AAAA", ""]
    server.file.write_text("\n".join([*first, *server.lines("ed25519")]) + "\n")
    tunnels.up("work")
    updated(server.file, [*first, *server.lines("ed25519", "ecdsa", "rsa")])
    assert server.file.read_text().splitlines()[:3] == first, "in their order"
    tunnels.down("work")

    old = server.rotate("rsa")
    tunnels.up("work")
    updated(server.file, [*first, *server.lines("ed25519", "ecdsa", "rsa")])
    assert server.line(old) not in server.file.read_text()
    for key in (server.keys["rsa"], old):
        assert fingerprint(key) in tunnels.log
    tunnels.down("work")

    # The key that has been used so far is lost without a warning: a line less, and the learned ones hold the door.
    lost = server.rotate("ed25519")
    server.file.write_text(server.file.read_text().replace(f"{server.line(lost)}\n", ""))
    tunnels.up("work")
    traffic.check_echo(dialing(server.port), 1000)
    updated(server.file, [*first, *server.lines("ed25519", "ecdsa", "rsa")])


@pytest.mark.parametrize("hashed", [False, True])
def test_ssh_would_have_written_the_same(
    hashed: bool, server: Server, tunnels: Tunnels, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    stale = make_key(tmp_path / "stale", "ecdsa")
    text = "\n".join(["# mine", server.line(stale), *server.lines("ed25519"), ""])
    for file in (server.file, theirs):
        file.write_text(text)
        if hashed:
            subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
    server.ssh(theirs)
    tunnels.up("work")

    def keys(file: Path) -> list[str]:
        return [line.split(" ", 1)[1] for line in file.read_text().splitlines()]

    def look() -> bool:
        assert sorted(keys(server.file)) == sorted(keys(theirs))
        return True

    eventually(look, within=10, what="what ssh has written")
    assert stale not in server.file.read_text()


@pytest.mark.parametrize(
    "line", ["* {key}", "[{host}]:*,a,b {key}", "other {key}", "@cert-authority x {key}\n@revoked * {stale}"]
)
def test_what_ssh_would_leave_alone_is_left_alone(
    line: str, server: Server, tunnels: Tunnels, tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    filled = line.format(
        host=server.sshd.host, key=server.keys["ed25519"], stale=make_key(tmp_path / "s", "ecdsa")
    )
    text = "\n".join([*server.lines("ed25519"), filled, ""])
    for file in (server.file, theirs):
        file.write_text(text)
    server.ssh(theirs)
    assert theirs.read_text() == text
    tunnels.up("work")
    traffic.check_echo(dialing(server.port), 1000)
    eventually(lambda: "are not taken" in tunnels.log or None, within=10, what="why")
    assert server.file.read_text() == text


def test_a_file_that_the_profile_names_is_the_users_own_business(
    server: Server, tunnels: Tunnels, tmp_path: Path
) -> None:
    """As with `-o UserKnownHostsFile`: ssh's default is not to touch it."""
    mine = tmp_path / "mine"
    mine.write_text("\n".join([*server.lines("ed25519"), ""]))
    before = mine.read_text()
    server.write(known_hosts=str(mine))
    tunnels.up("work")
    traffic.check_echo(dialing(server.port), 1000)
    assert mine.read_text() == before


def test_ssh_config_can_say_yes_for_a_file_of_its_own_and_names_be_hashed(
    server: Server, tunnels: Tunnels, tmp_path: Path, site: Site
) -> None:
    mine = tmp_path / "mine"
    mine.write_text("\n".join([*server.lines("ed25519"), ""]))
    config = tmp_path / "config"
    sshd = server.sshd
    config.write_text(
        f"Host work\n HostName {sshd.host}\n Port {sshd.port}\n User {sshd.user}\n IdentityFile {sshd.identity}\n"
        f" UserKnownHostsFile {mine}\n UpdateHostKeys yes\n HashKnownHosts yes\n"
    )
    tunnels.write(
        work={"host": "work", "ssh_config": str(config), "local": [f"{server.port}:{site.far.echo}"]}
    )
    tunnels.up("work")

    def look() -> bool:
        lines = mine.read_text().splitlines()
        assert lines[0] == server.lines("ed25519")[0]
        assert sorted(line.split(" ", 1)[1] for line in lines[1:]) == sorted(
            server.keys[kind] for kind in KINDS
        )
        assert all(line.startswith("|1|") for line in lines[1:])
        return True

    eventually(look, within=10, what="the new keys under hashed names")
