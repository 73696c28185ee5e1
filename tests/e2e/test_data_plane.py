"""Whatever the other side does, bytes arrive whole, cost bounded memory, and end nobody else's connection.

The bounds are those of the contract: a reader that stops costs at most two windows, a client whose channel is
not open yet 64 KiB. Memory is what the daemon has resident. They hold for every kind of forward.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable

import pytest

from tests.e2e.bed import socks, traffic
from tests.e2e.bed.clients import End, talk_over
from tests.e2e.bed.load import (
    MIB,
    FullPort,
    Memory,
    Pushing,
    Service,
    all_of,
    answer,
    answer_afterwards,
    flood,
    flooded,
    reset,
    say_and_leave,
    until_end,
)
from tests.e2e.bed.ports import LOOPBACK, free_port
from tests.e2e.bed.product import Tunnels
from tests.e2e.bed.servers import Digest, random_bytes
from tests.e2e.bed.site import Site
from tests.e2e.bed.sshd import Sshd
from tests.e2e.bed.traffic import Dial, dialing
from tests.e2e.bed.wait import Background, eventually, for_seconds

pytestmark = [pytest.mark.loopback_site, pytest.mark.long]

KINDS = ("local", "remote", "dynamic")

WINDOW = 2 * MIB
"""What OpenSSH and asyncssh grant a channel."""

NOISE = 2 * MIB
"""What the memory of a process changes by itself: pages of code, arenas of malloc."""

Lead = Callable[..., Dial]


@pytest.fixture
def lead(tunnels: Tunnels, site: Site) -> Lead:
    """Make a tunnel whose forward of a kind leads to ``host:port``; return how to connect to it."""

    def make(kind: str, to: object, *, server: Sshd | Site = site, **keys: object) -> Dial:
        port = free_port()
        forwards = {
            "local": [f"{port}:{to}"],
            "remote": [f"{LOOPBACK}:{port}:{to}"],
            "dynamic": [str(port)],
        }
        tunnels.write(work={**server.login(), "keepalive": "1m", **keys, kind: forwards[kind]})
        tunnels.up("work")
        if kind != "dynamic":
            return dialing(port)
        host, _, number = str(to).rpartition(":")
        return lambda: socks.socks5(port, host, int(number))

    return make


def still_the_same_connection(tunnels: Tunnels) -> None:
    __tracebackhide__ = True
    tunnel = tunnels.tunnel("work")
    assert (tunnel["state"], tunnel["reconnects"]) == ("up", 0)


def clients_now(tunnels: Tunnels) -> int:
    return int(tunnels.tunnel("work")["forwards"][0]["clients"])


def nobody_left(tunnels: Tunnels, *services: FullPort | Service) -> None:
    """Neither the product nor the far side has anybody left: a channel that stays open would keep its socket."""
    __tracebackhide__ = True
    eventually(
        lambda: clients_now(tunnels) == 0 and not any(it.live for it in services),
        within=8,
        what="the end of every client on both sides",
    )


# --- who does not read ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_that_stops_costs_two_windows_and_loses_nothing(
    kind: str, lead: Lead, tunnels: Tunnels, site: Site
) -> None:
    count, seed = 48 * MIB, 71
    dial = lead(kind, site.far.source)
    traffic.check_download(dial)
    memory = Memory(tunnels.daemon_pid())
    with dial() as connection:
        connection.sendall(f"{count} {seed}\n".encode())
        memory.settled(lambda: tunnels.tunnel("work")["forwards"][0]["bytes_in"])
        assert memory.peak <= 2 * WINDOW + NOISE
        rest = talk_over(connection, b"", half_close=False)
    assert rest.end is End.EOF
    assert hashlib.sha256(rest.data).digest() == hashlib.sha256(random_bytes(count, seed)).digest()


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_reader_costs_two_windows_however_long_it_reads(
    kind: str, lead: Lead, tunnels: Tunnels
) -> None:
    with Service(flood) as fast:
        dial = lead(kind, fast)
        with dial() as connection:
            connection.recv(1)
        memory = Memory(tunnels.daemon_pid())
        with dial() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
            received = 0
            deadline = time.monotonic() + 4
            while time.monotonic() < deadline:
                data = connection.recv(MIB)
                assert flooded(data, received)
                received += len(data)
                time.sleep(0.005)  # so slow is this reader
                assert memory.grown <= 2 * WINDOW + NOISE, f"after {received} bytes"
            assert received > 4 * WINDOW, "that was no test: nearly nothing was sent"
        nobody_left(tunnels, fast)
    still_the_same_connection(tunnels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_slow_service_costs_two_windows_however_long_it_reads(
    kind: str, lead: Lead, tunnels: Tunnels
) -> None:
    received = [0]
    over = threading.Event()

    def read_slowly(client: socket.socket) -> None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        while not over.is_set() and (data := client.recv(MIB)):
            received[0] += len(data)
            time.sleep(0.005)  # so slow is this service

    with Service(read_slowly) as service:
        dial = lead(kind, service)
        with dial() as connection:
            eventually(lambda: service.live == 1, within=5, what="a channel")
            memory = Memory(tunnels.daemon_pid())
            upload = Pushing(connection)

            def look() -> None:
                assert memory.grown <= 2 * WINDOW + NOISE, f"after {received[0]} bytes"

            for_seconds(4, meanwhile=look)
            assert received[0] > 4 * WINDOW, "that was no test: nearly nothing was read"
            over.set()
            upload.finish()
        nobody_left(tunnels, service)
    still_the_same_connection(tunnels)


def test_a_server_that_sends_as_fast_as_it_can_to_50_slow_clients_costs_two_windows_each_however_long(
    lead: Lead, tunnels: Tunnels
) -> None:
    slow = 50
    with Service(flood) as fast:
        dial = lead("local", fast)
        memory = Memory(tunnels.daemon_pid())
        with all_of(dial, slow) as connections:
            received = [0] * slow
            for connection in connections:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)

            def read_a_little() -> None:
                for number, connection in enumerate(connections):
                    data = connection.recv(MIB // 4)
                    assert flooded(data, received[number])
                    received[number] += len(data)
                assert memory.grown <= slow * 2 * WINDOW + NOISE

            for_seconds(5, meanwhile=read_a_little)
            assert min(received) > 0, "somebody gets nothing at all"
        nobody_left(tunnels, fast)
    still_the_same_connection(tunnels)


def lead_another(tunnels: Tunnels, site: Site, fast: Service) -> Dial:
    """Give the tunnel a second forward, for somebody who is served beside the slow ones."""
    first = tunnels.forward("work")["listen"].rpartition(":")[2]
    port = free_port()
    keys = {**site.login(), "keepalive": "1m"}
    tunnels.write(work={**keys, "local": [f"{first}:{fast}", f"{port}:{site.far.echo}"]})
    tunnels.run("reload", expect=0)
    tunnels.wait_state("work", "up")
    return dialing(port)


def test_beside_50_clients_that_do_not_read_another_one_is_served_at_once(
    lead: Lead, tunnels: Tunnels, site: Site
) -> None:
    with Service(flood) as fast:
        dial = lead("local", fast)
        other = lead_another(tunnels, site, fast)
        memory = Memory(tunnels.daemon_pid())
        with all_of(dial, 50):
            memory.settled(lambda: tunnels.tunnel("work")["forwards"][0]["bytes_in"])
            for _ in range(5):
                traffic.check_echo(other)
            assert memory.peak <= 50 * 2 * WINDOW + NOISE
        nobody_left(tunnels, fast)


# --- a link that has stopped --------------------------------------------------------------------------


UPLOADS = 20 * 256 * 1024 + NOISE
"""What twenty may have on their way within the daemon; without a bound it is a window each."""


@pytest.mark.parametrize("kind", ["local", "dynamic"])
def test_20_uploads_into_a_link_that_stalls_cost_little_and_arrive_whole(
    kind: str, lead: Lead, tunnels: Tunnels, start_sshd: Callable[..., Sshd]
) -> None:
    sshd = start_sshd("ClientAliveInterval 0")
    with Digest() as digest:
        dial = lead(kind, f"{digest.host}:{digest.port}", server=sshd)
        traffic.check_upload(dial)
        memory = Memory(tunnels.daemon_pid())
        with all_of(dial, 20) as connections:
            eventually(lambda: digest.accepted == 21, within=10, what="twenty channels")
            sshd.pause_sessions()
            uploads = [Pushing(connection) for connection in connections]
            try:
                memory.settled(lambda: [it.sent for it in uploads])
                assert memory.peak <= UPLOADS
            finally:
                sshd.resume()
            expected = [it.finish() for it in uploads]
            assert [answer(it) for it in connections] == expected
    still_the_same_connection(tunnels)


def test_20_services_that_speak_into_a_link_that_stalls_cost_little_and_are_heard_whole(
    lead: Lead, tunnels: Tunnels, start_sshd: Callable[..., Sshd]
) -> None:
    speaking: list[Pushing] = []
    stalled, over = threading.Event(), threading.Event()

    def speak(client: socket.socket) -> None:
        stalled.wait(20)
        speaking.append(Pushing(client))
        over.wait(60)

    sshd = start_sshd("ClientAliveInterval 0")
    with Service(speak) as service:
        dial = lead("remote", service, server=sshd)
        with all_of(dial, 20) as connections:
            eventually(lambda: service.live == 20, within=10, what="twenty channels")
            memory = Memory(tunnels.daemon_pid())
            sshd.pause_sessions()
            stalled.set()
            try:
                eventually(lambda: len(speaking) == 20, within=5, what="twenty that speak")
                memory.settled(lambda: [it.sent for it in speaking])
                assert memory.peak <= UPLOADS
            finally:
                sshd.resume()
            heard = [Background(lambda it=it: sum_of(it)) for it in connections]  # type: ignore[misc]
            said = {it.finish() for it in speaking}
            assert {it.result(within=20) for it in heard} == said
            over.set()
    still_the_same_connection(tunnels)


def sum_of(connection: socket.socket) -> str:
    """Read to the end; return what a `Digest` would say of it."""
    digest, count = hashlib.sha256(), 0
    while data := connection.recv(65536):
        digest.update(data)
        count += len(data)
    return f"{count} {digest.hexdigest()}\n"


# --- before the channel is open -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["local"])
def test_what_a_client_writes_before_its_channel_is_open_costs_64_kib_and_arrives_whole(
    kind: str, lead: Lead, tunnels: Tunnels
) -> None:
    with FullPort() as full:
        dial = lead(kind, full)
        memory = Memory(tunnels.daemon_pid())
        with all_of(dial, 30) as connections:
            eventually(lambda: clients_now(tunnels) == 30, within=10, what="thirty clients")
            early = [Pushing(connection) for connection in connections]
            memory.settled(lambda: [it.sent for it in early])
            # What one read of an event loop brings comes on top: up to 256 KiB.
            assert memory.peak <= 30 * (64 + 256) * 1024
            full.serve()
            expected = [it.finish() for it in early]
            assert [answer(it) for it in connections] == expected
    nobody_left(tunnels, full)
    still_the_same_connection(tunnels)


def test_clients_that_send_much_and_reset_before_their_channel_is_open_end_nothing_else(
    lead: Lead, tunnels: Tunnels
) -> None:
    with FullPort() as full:
        dial = lead("local", full)
        with dial() as patient:
            for _ in range(10):
                rude = dial()
                rude.settimeout(0.05)
                with contextlib.suppress(OSError):
                    rude.sendall(bytes(8 * MIB))
                reset(rude)
            full.serve()
            eventually(lambda: full.served == 11, within=10, what="every channel open")
            eventually(lambda: full.live == 1, within=5, what="the end of the channels that nobody wants")
            eventually(lambda: clients_now(tunnels) == 1, within=5, what="the patient one alone")
            patient.sendall(b"patience")
            patient.shutdown(socket.SHUT_WR)
            assert answer(patient) == f"8 {hashlib.sha256(b'patience').hexdigest()}\n"
    nobody_left(tunnels, full)
    still_the_same_connection(tunnels)


# --- who leaves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_clients_that_reset_at_any_moment_leave_no_channel(kind: str, lead: Lead, tunnels: Tunnels) -> None:
    def greet_and_wait(client: socket.socket) -> None:
        client.sendall(b"hello")
        until_end(client)

    with Service(greet_and_wait) as service:
        dial = lead(kind, service)
        for number in range(120):
            connection = dial()
            if number % 4 == 1:
                connection.sendall(b"x")
            if number % 4 == 2:
                assert connection.recv(5)
            if number % 4 == 3:
                connection.sendall(bytes(300_000))
            reset(connection)
        with dial() as last:
            assert last.recv(5) == b"hello"
        nobody_left(tunnels, service)
        assert service.served > 30, "that was no test: nearly nobody got as far as the service"
    still_the_same_connection(tunnels)


@pytest.mark.parametrize("kind", KINDS)
def test_services_that_reset_leave_no_client(kind: str, lead: Lead, tunnels: Tunnels) -> None:
    def say_no(client: socket.socket) -> None:
        client.recv(1)
        reset(client)

    with Service(say_no) as service:
        dial = lead(kind, service)
        for _ in range(40):
            with dial() as connection, contextlib.suppress(OSError):
                connection.sendall(b"x" * 100_000)
                while connection.recv(65536):
                    pass
        nobody_left(tunnels, service)
    still_the_same_connection(tunnels)


# --- ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_begins_after_the_client_has_said_everything_arrives_whole(
    kind: str, lead: Lead, tunnels: Tunnels
) -> None:
    count = 16 * MIB
    question, expected = random_bytes(count, 81), random_bytes(count, 82)
    with Service(answer_afterwards(count, 82)) as service:
        with lead(kind, service)() as connection:
            said = talk_over(connection, question)
        assert said.end is End.EOF
        assert hashlib.sha256(said.data).digest() == hashlib.sha256(expected).digest()
        nobody_left(tunnels, service)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_client_says_after_the_server_has_said_everything_arrives_whole(
    kind: str, lead: Lead, tunnels: Tunnels
) -> None:
    count = 16 * MIB
    arrived: list[bytes] = []

    def end_first(client: socket.socket) -> None:
        client.sendall(b"go")
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as stream:
            arrived.append(stream.read())

    data = random_bytes(count, 83)
    with Service(end_first) as service:
        with lead(kind, service)() as connection:
            assert answer(connection) == "go"
            connection.sendall(data)
        nobody_left(tunnels, service)
    assert [hashlib.sha256(it).digest() for it in arrived] == [hashlib.sha256(data).digest()]


@pytest.mark.parametrize("kind", KINDS)
def test_50_mb_said_by_a_server_that_leaves_at_once_arrive_at_a_slow_client(
    kind: str, lead: Lead, tunnels: Tunnels
) -> None:
    count = 50_000_000
    with Service(say_and_leave(count, 84)) as service:
        digest, received = hashlib.sha256(), 0
        with lead(kind, service)() as connection:
            connection.settimeout(20)
            while data := connection.recv(1 << 18):
                digest.update(data)
                received += len(data)
                if received < 4 * MIB:
                    for_seconds(0.01)
        assert received == count
        assert digest.digest() == hashlib.sha256(random_bytes(count, 84)).digest()
        nobody_left(tunnels, service)


@pytest.mark.parametrize("kind", KINDS)
def test_50_mb_said_by_a_client_that_leaves_at_once_arrive_at_a_slow_server(
    kind: str, lead: Lead, tunnels: Tunnels
) -> None:
    count = 50_000_000
    arrived: list[tuple[int, str]] = []

    def read_slowly(client: socket.socket) -> None:
        digest, received = hashlib.sha256(), 0
        while data := client.recv(1 << 18):
            digest.update(data)
            received += len(data)
            if received < 4 * MIB:
                for_seconds(0.01)
        arrived.append((received, digest.hexdigest()))

    data = random_bytes(count, 85)
    with Service(read_slowly) as service:
        with lead(kind, service)() as connection:
            connection.sendall(data)
        eventually(lambda: arrived, within=20, what="everything at the server")
        nobody_left(tunnels, service)
    assert arrived == [(count, hashlib.sha256(data).hexdigest())]


@pytest.mark.parametrize("kind", KINDS)
def test_down_in_the_middle_of_a_download_does_not_look_like_its_end(
    kind: str, lead: Lead, tunnels: Tunnels
) -> None:
    with Service(flood) as fast:
        dial = lead(kind, fast)
        with dial() as connection:
            reading = Background(lambda: talk_over(connection, b"", half_close=False).end)
            eventually(
                lambda: sum(tunnels.tunnel("work")["forwards"][0][it] for it in ("bytes_in", "bytes_out")),
                within=10,
                what="bytes on their way",
            )
            tunnels.down("work")
            if kind == "remote":  # the client's socket is sshd's, and it closes in its own way
                reading.result(within=10)
            else:
                assert reading.result(within=10) is End.RESET


# --- new keys under load ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cipher",
    ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"],
)
def test_new_keys_every_megabyte_on_both_sides_change_no_byte(
    cipher: str, tunnels: Tunnels, start_sshd: Callable[..., Sshd]
) -> None:
    sshd = start_sshd("RekeyLimit 1M", "LogLevel DEBUG1")
    config = tunnels.home / "ssh_config"
    config.write_text(
        f"Host gate\nHostName {sshd.host}\nPort {sshd.port}\nUser {sshd.user}\nIdentityFile {sshd.identity}\n"
        f"IdentitiesOnly yes\nUserKnownHostsFile {sshd.known_hosts}\nStrictHostKeyChecking yes\n"
        f"Ciphers {cipher}\nRekeyLimit 1M\n"
    )
    count, seeds = 12 * MIB, range(90, 93)
    sums = {seed: hashlib.sha256(random_bytes(count, seed)).hexdigest() for seed in seeds}
    failures: list[BaseException] = []

    def noting(check: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                check()
            except BaseException as exc:
                failures.append(exc)

        return threading.Thread(target=run)

    def echo(client: socket.socket) -> None:
        while data := client.recv(65536):
            client.sendall(data)

    near, far = free_port(), free_port()
    with Service(echo) as service:
        tunnels.write(
            work={
                "host": "gate",
                "ssh_config": str(config),
                "keepalive": "1s",
                "local": [f"{near}:{service}"],
                "remote": [f"{LOOPBACK}:{far}:{service}"],
            }
        )
        tunnels.up("work")

        def there_and_back(port: int, seed: int) -> Callable[[], None]:
            def check() -> None:
                with dialing(port)() as connection:
                    said = talk_over(connection, random_bytes(count, seed))
                assert said.end is End.EOF
                assert hashlib.sha256(said.data).hexdigest() == sums[seed]

            return check

        transfers = [noting(there_and_back(port, seed)) for port in (near, far) for seed in seeds]
        for transfer in transfers:
            transfer.start()
        for transfer in transfers:
            transfer.join()
        assert failures == []
        assert tunnels.tunnel("work")["cipher"] == cipher
        nobody_left(tunnels, service)
    still_the_same_connection(tunnels)
    assert sshd.log.count("rekey") > 50, "that was no test: there were hardly any new keys"


def test_who_is_answered_in_the_middle_of_a_key_exchange_and_does_not_read_costs_bounded_memory(
    tunnels: Tunnels, start_sshd: Callable[..., Sshd]
) -> None:
    sshd, near, proxy, over = start_sshd("RekeyLimit 1M"), free_port(), free_port(), threading.Event()

    def read() -> None:
        with dialing(near)() as connection:
            while not over.is_set() and connection.recv(MIB):
                pass

    said = bytes(32 * MIB)  # made before anybody asks, or the key exchange is over by then
    with Service(flood) as fast, Service(lambda client: client.sendall(said)) as big:
        tunnels.write(
            work={
                **sshd.login(),
                "keepalive": "1m",
                "remote": [f"{LOOPBACK}:{near}:{fast}", f"{LOOPBACK}:{proxy}"],
            }
        )
        tunnels.up("work")
        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:  # who make new keys necessary all the time
            reader.start()
        try:
            host, _, port = str(big).rpartition(":")
            with socks.socks5(proxy, host, int(port)) as first:
                first.recv(1)
            memory = Memory(tunnels.daemon_pid())
            with contextlib.ExitStack() as clients:
                for _ in range(20):
                    clients.enter_context(socks.socks5(proxy, host, int(port)))
                for_seconds(1)
                assert memory.grown <= 20 * MIB, "a read of its destination for each"
        finally:
            over.set()
            for reader in readers:
                reader.join()
    still_the_same_connection(tunnels)
