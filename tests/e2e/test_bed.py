"""The test bed itself, with plain ``ssh``: what fails here is no fault of the product."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.bed import traffic
from tests.e2e.bed.clients import End, http_get, talk
from tests.e2e.bed.ports import LOOPBACK, free_port, in_use
from tests.e2e.bed.servers import GREETING
from tests.e2e.bed.site import NOWHERE, Site
from tests.e2e.bed.socks import SocksRefused, socks4, socks5
from tests.e2e.bed.traffic import dialing
from tests.e2e.bed.wait import eventually


@contextmanager
def plain_ssh(site: Site, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run OpenSSH's own client against the site."""
    command = ["ssh", "-N", "-F", "none", "-p", str(site.port), "-i", str(site.identity)]
    options = ["IdentitiesOnly=yes", "BatchMode=yes", f"UserKnownHostsFile={site.known_hosts}"]
    options += ["StrictHostKeyChecking=yes", "ExitOnForwardFailure=yes", "LogLevel=ERROR"]
    for option in options:
        command += ["-o", option]
    ssh = subprocess.Popen([*command, *arguments, f"{site.user}@{site.host}"], stdin=subprocess.DEVNULL)
    try:
        yield ssh
    finally:
        ssh.kill()
        ssh.wait()


def test_ssh_carries_what_the_bed_asks_through_a_local_forward(site: Site) -> None:
    services = [
        site.far.echo,
        site.far.source,
        site.far.digest,
        site.far.mailbox,
        site.far.web,
        site.far.database,
    ]
    ports = [free_port() for _ in services]
    flags = [flag for pair in zip(ports, services, strict=True) for flag in ("-L", f"{pair[0]}:{pair[1]}")]
    echo, source, digest, mailbox, web, database = ports
    with plain_ssh(site, *flags):
        eventually(lambda: in_use(database), within=10, what="ssh listening")
        traffic.check_echo(dialing(echo))
        traffic.check_download(dialing(source))
        traffic.check_upload(dialing(digest))
        traffic.check_server_may_end_first(dialing(mailbox), dialing(mailbox))
        traffic.check_database(database)
        assert GREETING in http_get(LOOPBACK, web)


def test_ssh_carries_what_the_bed_asks_through_a_remote_forward(site: Site) -> None:
    port = site.remote_port()
    with plain_ssh(site, "-R", f"127.0.0.1:{port}:{site.near.digest}"):
        data = b"x" * traffic.MIB
        answer = eventually(lambda: talk_if_open(site, port, data), within=10, what="a remote listening port")
        assert answer is not None
        assert answer.startswith(str(len(data)).encode())


def talk_if_open(site: Site, port: int, data: bytes) -> bytes | None:
    answer = site.talk(port, data)
    return None if answer.end is End.REFUSED else answer.data


def test_ssh_carries_what_the_bed_asks_through_socks(site: Site) -> None:
    port = free_port()
    with plain_ssh(site, "-D", str(port)):
        eventually(lambda: in_use(port), within=10, what="ssh listening")
        far = site.far.echo
        traffic.check_echo(lambda: socks5(port, far.host, far.port))
        traffic.check_echo(lambda: socks4(port, far.host, far.port))
        for host, wanted in ((site.far.refusing.host, site.far.refusing.port), (NOWHERE, 80)):
            with pytest.raises((SocksRefused, OSError, EOFError)):
                socks5(port, host, wanted).close()


def test_a_killed_server_takes_its_sessions_along_and_comes_back(site: Site) -> None:
    port = free_port()
    with plain_ssh(site, "-L", f"{port}:{site.far.echo}") as ssh:
        eventually(lambda: in_use(port), within=10, what="ssh listening")
        site.stop()
        ssh.wait(timeout=10)
    assert talk(site.host, site.port, b"").data == b""
    site.start()
    with plain_ssh(site, "-L", f"{port}:{site.far.echo}"):
        eventually(lambda: in_use(port), within=10, what="ssh listening")
        traffic.check_echo(dialing(port), 1000)


def test_a_frozen_server_says_nothing_and_keeps_its_connections(site: Site) -> None:
    port = free_port()
    with plain_ssh(site, "-L", f"{port}:{site.far.echo}") as ssh:
        eventually(lambda: in_use(port), within=10, what="ssh listening")
        traffic.check_echo(dialing(port), 1000)
        site.pause()
        try:
            with dialing(port)() as connection:
                connection.settimeout(0.3)
                connection.sendall(b"anybody there?")
                with pytest.raises(TimeoutError):
                    connection.recv(1)
        finally:
            site.resume()
        traffic.check_echo(dialing(port), 1000)
        assert ssh.poll() is None
