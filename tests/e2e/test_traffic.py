"""What goes through a tunnel that is up: local, remote and dynamic forwards carry real traffic."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.e2e.bed import socks, traffic
from tests.e2e.bed.clients import DatabaseClient, End, Talk, http_get, talk
from tests.e2e.bed.ports import LOOPBACK, free_port, free_ports, has_ipv6
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.servers import GREETING, random_bytes
from tests.e2e.bed.site import NOWHERE, Address, Site
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.traffic import MIB, Dial, dialing
from tests.e2e.bed.wait import eventually


@dataclass(frozen=True)
class Ports:
    """Where the tunnel of this module listens, by what is behind it."""

    echo: int
    source: int
    digest: int
    mailbox: int
    ticker: int
    web: int
    database: int
    refusing: int
    socks: int
    remote_echo: int
    remote_source: int
    remote_digest: int
    remote_mailbox: int
    remote_refusing: int


@pytest.fixture(scope="module")
def ports(standing: Tunnels, _site: Site) -> Ports:
    """Have one tunnel with everything, for the whole module."""
    near = [free_port() for _ in range(9)]
    far = [_site.remote_port() for _ in range(5)]
    ports = Ports(*near, *far)
    local = ["echo", "source", "digest", "mailbox", "ticker", "web", "database", "refusing"]
    remote = ["echo", "source", "digest", "mailbox", "refusing"]
    standing.write(
        everything={
            **_site.login(),
            "local": [f"{getattr(ports, name)}:{getattr(_site.far, name)}" for name in local],
            "remote": [
                f"127.0.0.1:{getattr(ports, f'remote_{name}')}:{getattr(_site.near, name)}" for name in remote
            ],
            "dynamic": [str(ports.socks)],
        }
    )
    standing.up("everything")
    return ports


# --- local ----------------------------------------------------------------------------------------


def test_a_database_session_works_through_a_local_forward(ports: Ports) -> None:
    traffic.check_database(ports.database, questions=50)


def test_several_database_sessions_work_at_once(ports: Ports) -> None:
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(DatabaseClient(LOOPBACK, ports.database)) for _ in range(5)]
        for round_trip in range(5):
            for number, session in enumerate(sessions):
                assert session.md5(f"round {round_trip} of session {number}")


def test_a_web_page_comes_through_a_local_forward(ports: Ports) -> None:
    assert f"{GREETING}: /some/page" in http_get(LOOPBACK, ports.web, "/some/page")


def test_a_mebibyte_comes_back_whole_through_a_local_forward(ports: Ports) -> None:
    traffic.check_echo(dialing(ports.echo))


def test_a_mebibyte_arrives_whole_in_each_direction_of_a_local_forward(ports: Ports) -> None:
    traffic.check_download(dialing(ports.source))
    traffic.check_upload(dialing(ports.digest))


def test_a_local_client_may_end_first_and_still_gets_its_answer(ports: Ports) -> None:
    traffic.check_upload(dialing(ports.digest), count=0)
    traffic.check_upload(dialing(ports.digest), count=17)


def test_a_server_may_end_first_and_still_hears_what_a_local_client_says(ports: Ports) -> None:
    traffic.check_server_may_end_first(dialing(ports.mailbox), dialing(ports.mailbox))


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")
def test_a_forward_without_a_bind_address_listens_on_both_loopback_addresses(ports: Ports) -> None:
    traffic.check_echo(dialing(ports.echo, "127.0.0.1"), 1000)
    traffic.check_echo(dialing(ports.echo, "::1"), 1000)


def test_a_hundred_clients_at_once_are_all_served(ports: Ports) -> None:
    failures: list[BaseException] = []

    def client() -> None:
        try:
            traffic.check_echo(dialing(ports.echo), 20_000)
        except BaseException as exc:
            failures.append(exc)

    clients = [threading.Thread(target=client) for _ in range(100)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert failures == []


def test_a_refused_destination_ends_that_client_and_nothing_else(ports: Ports, standing: Tunnels) -> None:
    with dialing(ports.echo)() as other:
        other.sendall(b"before")
        assert other.recv(100) == b"before"
        for _ in range(3):
            assert talk(LOOPBACK, ports.refusing, b"anybody there?").data == b""
        other.sendall(b"after")
        assert other.recv(100) == b"after"
    tunnel = standing.tunnel("everything")
    assert (tunnel["state"], tunnel["reconnects"]) == ("up", 0)


def test_a_client_that_resets_its_connection_ends_nothing_else(ports: Ports, standing: Tunnels) -> None:
    with dialing(ports.ticker)() as other:
        for wait_for_data in (False, True):
            with dialing(ports.ticker)() as rude:
                if wait_for_data:
                    assert rude.recv(10)
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert b"tick" in other.recv(100)
    assert standing.tunnel("everything")["reconnects"] == 0


def test_a_client_that_sends_much_and_leaves_at_once_ends_nothing_else(
    ports: Ports, standing: Tunnels
) -> None:
    for port in (ports.echo, ports.refusing):
        with dialing(port)() as rude:
            rude.settimeout(0.2)
            with contextlib.suppress(OSError):
                rude.sendall(bytes(8 * MIB))
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    traffic.check_echo(dialing(ports.echo))
    tunnel = standing.tunnel("everything")
    assert (tunnel["state"], tunnel["reconnects"]) == ("up", 0)


# --- remote ---------------------------------------------------------------------------------------


def test_a_client_on_the_server_gets_a_mebibyte_back_whole(ports: Ports, site: Site) -> None:
    data = random_bytes(MIB, 41)
    answer = site.talk(ports.remote_echo, data)
    assert answer.end is End.EOF
    assert answer.data == data


def test_a_mebibyte_arrives_whole_in_each_direction_of_a_remote_forward(ports: Ports, site: Site) -> None:
    down = site.talk(ports.remote_source, f"{MIB} 42\n".encode(), half_close=False)
    assert down.end is End.EOF
    assert down.data == random_bytes(MIB, 42)
    up = site.talk(ports.remote_digest, random_bytes(MIB, 43))
    assert up == talk(site.near.digest.host, site.near.digest.port, random_bytes(MIB, 43))


def test_the_service_behind_a_remote_forward_may_end_first(ports: Ports, site: Site) -> None:
    key = uuid.uuid4().hex
    letter = random_bytes(MIB, 44)
    assert site.talk(ports.remote_mailbox, f"put {key}\n".encode() + letter) == Talk(b"go\n", End.EOF)
    arrived = talk(site.near.mailbox.host, site.near.mailbox.port, f"get {key}\n".encode())
    assert arrived.data.startswith(f"{MIB} ".encode())


def test_a_refused_destination_ends_that_client_of_a_remote_forward_and_nothing_else(
    ports: Ports, site: Site, standing: Tunnels
) -> None:
    assert site.talk(ports.remote_refusing, b"anybody there?").data == b""
    assert site.talk(ports.remote_echo, b"still here").data == b"still here"
    assert standing.tunnel("everything")["reconnects"] == 0


# --- dynamic --------------------------------------------------------------------------------------


def _socks5(ports: Ports, to: Address) -> Dial:
    return lambda: socks.socks5(ports.socks, to.host, to.port)


def _socks4(ports: Ports, to: Address) -> Dial:
    return lambda: socks.socks4(ports.socks, to.host, to.port)


@pytest.fixture(params=["SOCKS 5", "SOCKS 4"])
def through_proxy(request: pytest.FixtureRequest, ports: Ports) -> Callable[[Address], Dial]:
    """Say how to connect through the dynamic forward; version 4 becomes 4a where the host is a name."""
    version = _socks5 if request.param == "SOCKS 5" else _socks4
    return lambda to: version(ports, to)


def test_curl_gets_a_page_through_a_dynamic_forward_and_leaves_the_name_to_the_server(
    ports: Ports, site: Site
) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")
    command = [curl, "-q", "--silent", "--show-error", "--max-time", "20", "--noproxy", ""]
    command += ["--socks5-hostname", f"127.0.0.1:{ports.socks}", f"http://{site.far.web}/by/curl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{GREETING}: /by/curl\n"


def test_a_mebibyte_comes_back_whole_through_a_dynamic_forward(
    through_proxy: Callable[[Address], Dial], site: Site
) -> None:
    traffic.check_echo(through_proxy(site.far.echo))


def test_a_mebibyte_arrives_whole_in_each_direction_of_a_dynamic_forward(
    through_proxy: Callable[[Address], Dial], site: Site
) -> None:
    traffic.check_download(through_proxy(site.far.source))
    traffic.check_upload(through_proxy(site.far.digest))


def test_a_server_behind_a_dynamic_forward_may_end_first(
    through_proxy: Callable[[Address], Dial], site: Site
) -> None:
    traffic.check_server_may_end_first(through_proxy(site.far.mailbox), through_proxy(site.far.mailbox))


@pytest.mark.loopback_site
def test_socks_4a_and_5_take_a_name(ports: Ports, site: Site) -> None:
    named = Address("localhost", site.far.echo.port)
    traffic.check_echo(_socks5(ports, named), 1000)
    traffic.check_echo(_socks4(ports, named), 1000)


def test_a_client_may_speak_before_the_proxy_has_answered(ports: Ports, site: Site) -> None:
    to = site.far.echo
    name = to.host.encode()
    request = b"\x05\x01\x00" + b"\x05\x01\x00\x03" + bytes([len(name)]) + name + struct.pack("!H", to.port)
    answer = talk(LOOPBACK, ports.socks, request + b"in a hurry")
    assert answer.end is End.EOF
    assert answer.data[:4] == b"\x05\x00\x05\x00"
    assert answer.data.endswith(b"in a hurry")


def test_the_proxy_says_that_a_destination_refused(ports: Ports, site: Site) -> None:
    to = site.far.refusing
    with pytest.raises(socks.SocksRefused) as five:
        socks.socks5(ports.socks, to.host, to.port)
    assert five.value.code == socks.CONNECTION_REFUSED
    with pytest.raises(socks.SocksRefused) as four:
        socks.socks4(ports.socks, to.host, to.port)
    assert four.value.code == socks.SOCKS4_REJECTED


def test_the_proxy_says_that_a_name_is_unknown(ports: Ports) -> None:
    with pytest.raises(socks.SocksRefused) as refused:
        socks.socks5(ports.socks, NOWHERE, 80)
    assert refused.value.code == socks.HOST_UNREACHABLE


@pytest.mark.loopback_site
def test_the_proxy_says_that_the_server_does_not_permit_a_destination(
    start_sshd: Callable[..., Sshd], site: Site, tunnels: Tunnels
) -> None:
    allowed, forbidden = site.far.echo, site.far.digest
    sshd = start_sshd(f"PermitOpen {allowed}")
    port = free_port()
    tunnels.write(narrow={**sshd.login(), "dynamic": [str(port)]})
    tunnels.up("narrow")
    traffic.check_echo(lambda: socks.socks5(port, allowed.host, allowed.port), 1000)
    with pytest.raises(socks.SocksRefused) as refused:
        socks.socks5(port, forbidden.host, forbidden.port)
    assert refused.value.code == socks.NOT_ALLOWED


@pytest.mark.parametrize("command", [socks.BIND, socks.UDP_ASSOCIATE])
def test_the_proxy_refuses_what_it_cannot_do(ports: Ports, site: Site, command: int) -> None:
    to = site.far.echo
    with pytest.raises(socks.SocksRefused) as refused:
        socks.socks5(ports.socks, to.host, to.port, command=command)
    assert refused.value.code == socks.COMMAND_NOT_SUPPORTED


def test_nonsense_at_the_proxy_ends_that_client_and_nothing_else(ports: Ports, site: Site) -> None:
    for nonsense in (b"\x05\x00", b"\x06\x01\x00", b"\x04\x07" + bytes(30), b"SSH-2.0-what\r\n", bytes(600)):
        answer = talk(LOOPBACK, ports.socks, nonsense)
        assert answer.end in {End.EOF, End.RESET}, nonsense
        assert len(answer.data) < 1000
    traffic.check_echo(_socks5(ports, site.far.echo), 1000)


# --- counted and spread out -----------------------------------------------------------------------


def test_status_counts_clients_and_bytes_of_each_forward(tunnels: Tunnels, site: Site) -> None:
    port = free_port()
    tunnels.write(counted={**site.login(), "local": [f"{port}:{site.far.source}"]})
    tunnels.up("counted")
    with dialing(port)() as connection:
        connection.sendall(b"300000 1\n")
        with connection.makefile("rb") as stream:
            assert len(stream.read()) == 300_000
        forward = tunnels.forward("counted")
        assert (forward["clients"], forward["clients_total"]) == (1, 1)
        assert (forward["bytes_in"], forward["bytes_out"]) == (300_000, len("300000 1\n"))

    def gone() -> bool:
        return bool(tunnels.forward("counted")["clients"] == 0)

    assert eventually(gone, within=5, what="no client any more")
    assert tunnels.forward("counted")["clients_total"] == 1


def test_a_range_of_ports_is_as_many_forwards(tunnels: Tunnels, site: Site) -> None:
    first, second = free_ports(2)
    to = site.far.echo
    tunnels.write(
        range={**site.login(), "local": [f"{first}-{second}:{to.host}:{to.port}-{to.port + 1}"]},
    )
    tunnels.up("range")
    traffic.check_echo(dialing(first), 1000)
    assert [forward["listen"].rpartition(":")[2] for forward in tunnels.tunnel("range")["forwards"]] == [
        str(first),
        str(second),
    ]


def test_a_remote_forward_of_port_0_shows_the_port_that_the_server_chose(
    tunnels: Tunnels, site: Site
) -> None:
    tunnels.write(chosen={**site.login(), "remote": [f"127.0.0.1:0:{site.near.echo}"]})
    tunnels.up("chosen")
    port = int(tunnels.forward("chosen")["listen"].rpartition(":")[2])
    assert port > 0
    assert site.talk(port, b"found").data == b"found"


@pytest.fixture
def through_jump(tunnels: Tunnels, site: Site) -> int:
    """Have a port that leads through two SSH servers, the second of which only the first one reaches."""
    port = free_port()
    tunnels.write(
        behind={
            **site.login(),
            "host": site.inner.host,
            "port": site.inner.port,
            "jump": f"{site.user}@{site.host}:{site.port}",
            "local": [f"{port}:{site.far.echo}"],
        }
    )
    tunnels.up("behind")
    return port


def test_a_tunnel_goes_through_a_jump_host(through_jump: int) -> None:
    traffic.check_echo(dialing(through_jump))


def test_a_tunnel_through_a_jump_host_comes_back_too(through_jump: int, tunnels: Tunnels, site: Site) -> None:
    site.stop()
    tunnels.wait_state("behind", "backoff", "connecting")
    site.start()
    traffic.check_echo(dialing(through_jump), 1000)
