"""Connections to a real sshd: how they come about, what goes over them, and every way in which they end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import asyncssh
import psutil
import pytest

from tests.e2e.bed.ports import LOOPBACK, RefusingPort, accepts, free_port, in_use
from tests.e2e.bed.sshd import Sshd, find_sshd, make_key
from tests.forwarding import fakes
from tests.forwarding.fakes import KIB, MIB, Peer, RecordingEnd, black_hole, destination, opened, turns, until
from tunnels.core.address import EVERY_INTERFACE, TcpAddress, UnixAddress
from tunnels.core.forward import Forward, ForwardKind
from tunnels.core.profile import HostKeyPolicy, Profile
from tunnels.core.question import PersonNeeded
from tunnels.errors import (
    BadSetting,
    ConnectionLost,
    DialError,
    DialReason,
    HostKeyRejected,
    HostKeyUnknown,
    HostUnreachable,
    ListenError,
    LoginRefused,
    NotSsh,
    TunnelsError,
)
from tunnels.forwarding.channel import ChannelEnd, LinkLost, Origin
from tunnels.forwarding.door import Door
from tunnels.forwarding.local import LocalForwarder
from tunnels.forwarding.remote import RemoteForwarder
from tunnels.ssh import agent_keys, doubt, fast_path, hop, options
from tunnels.ssh import connect as making
from tunnels.ssh import connection as connections
from tunnels.ssh.agent_keys import AgentKeys
from tunnels.ssh.connect import connect
from tunnels.ssh.connection import LINK_HIGH_WATER, SshConnection
from tunnels.ssh.cpu import has_aes
from tunnels.ssh.destination import Destination
from tunnels.tasks import TaskScope

every_loop = fakes.every_loop
pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(find_sshd() is None, reason="no sshd: install OpenSSH's server (openssh-server)"),
]

VISITOR = (LOOPBACK, 4711)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server for the whole module; a test may end its sessions, and nothing else."""
    with Sshd(tmp_path_factory.mktemp("connection") / "sshd") as server:
        yield server


@pytest.fixture
def another_sshd(tmp_path: Path, sshd: Sshd) -> Iterator[Callable[..., Sshd]]:
    """Starts a server of this test's own, which takes the same key."""
    with contextlib.ExitStack() as running:

        def start(*config: str, **keys: Any) -> Sshd:
            folder = tmp_path / f"sshd{len(list(tmp_path.iterdir()))}"
            return running.enter_context(Sshd(folder, config=config, identity=sshd.identity, **keys))

        yield start


def profile(server: Sshd, **keys: Any) -> Profile:
    return replace(
        Profile(
            "test",
            server.host,
            user=server.user,
            port=server.port,
            identity_file=(str(server.identity),),
            known_hosts=(str(server.known_hosts),),
            host_key_policy=HostKeyPolicy.STRICT,
            ssh_config="none",
        ),
        **keys,
    )


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections whose channels are asyncssh's own; what guards those is of no use to ours."""
    monkeypatch.setenv(fast_path.SWITCH, "off")


@asynccontextmanager
async def connected(
    server: Sshd, on_lost: Callable[[TunnelsError], None] = lambda _: None, **keys: Any
) -> AsyncIterator[SshConnection]:
    connection = await connect(profile(server, **keys), on_lost)
    try:
        yield connection
    finally:
        await connection.aclose()


async def freeze(server: Sshd) -> None:
    """Stop the server where it is; after a login, a process that has served may just be ending."""
    for _ in range(100):
        with contextlib.suppress(psutil.NoSuchProcess):
            server.pause()
            return
        await asyncio.sleep(0)


def its(connection: SshConnection) -> Any:
    """What asyncssh has of it."""
    return connection._conn


async def refuse_to_connect(to: Profile) -> TunnelsError:
    """Connect, and return why that was not possible."""
    with pytest.raises(TunnelsError) as caught:
        await connect(to, lambda _: None)
    return caught.value


# --- connecting and closing -----------------------------------------------------------------------


@pytest.mark.usefixtures("every_loop")
async def test_a_connection_comes_up_and_closing_it_leaves_nothing(sshd: Sshd) -> None:
    lost: list[TunnelsError] = []
    async with connected(sshd, lost.append) as connection:
        assert repr(connection) == "<SshConnection: 0 channels>"
        await connection.aclose()
        await connection.aclose()
        assert its(connection).is_closed()
    await until(lambda: sshd.sessions() == 0)
    assert lost == []  # it was asked for


async def test_the_fastest_cipher_for_this_processor_is_used_and_told(sshd: Sshd) -> None:
    async with connected(sshd) as connection:
        wanted = options.CIPHERS_WITH_AES if has_aes() else options.CIPHERS_WITHOUT_AES
        assert connection.cipher == wanted[0]


async def test_the_ciphers_of_the_profile_are_used(sshd: Sshd) -> None:
    async with connected(sshd, ciphers=("aes256-ctr",)) as connection:
        assert connection.cipher == "aes256-ctr"


async def test_the_round_trip_is_known_soon_after_the_login(sshd: Sshd) -> None:
    async with connected(sshd) as connection:
        await until(lambda: connection.rtt_ms is not None)
        assert connection.rtt_ms is not None
        assert 0 < connection.rtt_ms < 1000


async def test_what_asyncssh_would_read_from_the_users_folder_is_not_read(sshd: Sshd, home: Path) -> None:
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    (folder / "config").write_text("Port 1\nCiphers none\n")
    (folder / "known_hosts").write_text("this is no line of known hosts\n")
    (folder / "id_ed25519").write_text(sshd.identity.read_text())
    (folder / "id_ed25519").chmod(0o600)
    async with connected(sshd):
        pass
    (home / "open_to_others").write_text(sshd.identity.read_text())
    (home / "open_to_others").chmod(0o644)
    without_a_key = profile(sshd, identity_file=(str(home / "open_to_others"),))
    error = await refuse_to_connect(without_a_key)
    assert isinstance(error, LoginRefused)
    assert "there was no key to try" in error.message


@pytest.mark.usefixtures("every_loop")
async def test_a_connection_that_is_cancelled_leaves_no_socket_and_no_task() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        silent.setblocking(False)
        loop = asyncio.get_running_loop()
        to = Profile("test", LOOPBACK, user="me", port=silent.getsockname()[1], ssh_config="none")
        sockets: list[int] = []
        for _ in range(2):  # a loop may open something of its own the first time
            attempt = loop.create_task(connect(to, lambda _: None))
            accepted, _ = await loop.sock_accept(silent)
            with Peer(accepted) as server:
                assert (await server.receive(4)) == b"SSH-"
                attempt.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await attempt
                with contextlib.suppress(ConnectionResetError):
                    await server.rest()
            await turns()
            sockets.append(psutil.Process().num_fds())
        assert sockets[0] == sockets[1]


@pytest.mark.usefixtures("every_loop")
async def test_an_attempt_that_is_cancelled_at_its_second_hop_leaves_the_first(sshd: Sshd) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        silent.setblocking(False)
        loop = asyncio.get_running_loop()
        to = profile(sshd, port=silent.getsockname()[1], jump=(f"{sshd.user}@{sshd.host}:{sshd.port}",))
        attempt = loop.create_task(connect(to, lambda _: None))
        accepted, _ = await loop.sock_accept(silent)
        with Peer(accepted) as server:
            assert (await server.receive(4)) == b"SSH-"
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
            await server.rest()
    await until(lambda: sshd.sessions() == 0)


# --- what can be wrong ----------------------------------------------------------------------------


async def test_a_login_that_is_refused_names_what_was_tried_and_what_was_not(
    sshd: Sshd, tmp_path: Path
) -> None:
    make_key(tmp_path / "stranger")
    make_key(tmp_path / "open_to_others")
    (tmp_path / "open_to_others").chmod(0o644)
    files = (str(tmp_path / "stranger"), str(tmp_path / "open_to_others"))
    error = await refuse_to_connect(profile(sshd, identity_file=files))
    assert isinstance(error, LoginRefused)
    assert not error.retryable
    where = f"{sshd.user}@{sshd.host}:{sshd.port}"
    assert error.message.startswith(f"{where} refused the login: tried {files[0]}; skipped {files[1]} (")
    assert "tunnels check --ssh test" in (error.hint or "")
    await until(lambda: sshd.sessions() == 0)


async def test_too_many_keys_are_a_refused_login_with_its_own_advice(
    another_sshd: Callable[..., Sshd], tmp_path: Path
) -> None:
    server = another_sshd("MaxAuthTries 1")
    files = []
    for name in ("one", "two"):
        make_key(tmp_path / name)
        files.append(str(tmp_path / name))
    error = await refuse_to_connect(profile(server, identity_file=(*files, str(server.identity))))
    assert isinstance(error, LoginRefused)
    assert "after too many keys" in error.message
    assert error.message.endswith(f": tried {files[0]}; the server takes publickey"), (
        "the others were not heard"
    )
    assert error.hint == "set identity_file, so that only the right key is offered"


async def test_a_key_file_of_the_profile_that_does_not_exist_is_a_bad_setting(sshd: Sshd) -> None:
    error = await refuse_to_connect(profile(sshd, identity_file=("~/nowhere",)))
    assert isinstance(error, BadSetting)
    assert error.message == "identity_file ~/nowhere does not exist"


async def test_a_cipher_that_does_not_exist_is_a_bad_setting_and_leaves_no_socket(sshd: Sshd) -> None:
    open_before = psutil.Process().num_fds()
    error = await refuse_to_connect(profile(sshd, ciphers=("rot13",)))
    assert isinstance(error, BadSetting)
    assert "rot13" in error.message
    assert psutil.Process().num_fds() == open_before


@pytest.mark.parametrize("works", [True, False])
async def test_the_agent_is_hung_up_on_when_the_login_is_over(
    works: bool, sshd: Sshd, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Agent:
        held: tuple[object, ...] = ()

        def has(self, public: bytes) -> bool:
            return False

        def close(self) -> None:
            calls.append("close")

    async def find(destination: Destination, *_: object) -> AgentKeys:
        return cast("AgentKeys", Agent())

    monkeypatch.setattr(agent_keys, "look", find)
    if works:
        async with connected(sshd):
            assert calls == ["close"]
    else:
        make_key(home / "unknown")
        refused = await refuse_to_connect(profile(sshd, identity_file=(str(home / "unknown"),)))
        assert isinstance(refused, LoginRefused)
        assert calls == ["close"]


async def test_a_machine_that_has_no_room_to_ask_ssh_is_worth_a_retry(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_room(_: Profile) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(making, "resolve", no_room)
    error = await refuse_to_connect(profile(sshd))
    assert isinstance(error, HostUnreachable)
    assert error.message == f"ssh could not be asked about {sshd.host}: Too many open files"


async def test_an_unknown_host_key_is_an_error_where_the_policy_is_strict(sshd: Sshd, home: Path) -> None:
    error = await refuse_to_connect(profile(sshd, known_hosts=(str(home / "known_hosts"),)))
    assert isinstance(error, HostKeyUnknown)
    assert sshd.fingerprint in error.message
    assert not (home / "known_hosts").exists()


async def test_an_unknown_host_key_is_a_question_where_the_policy_is_to_ask(sshd: Sshd, home: Path) -> None:
    file = home / "known_hosts"
    to = profile(sshd, known_hosts=(str(file),), host_key_policy=HostKeyPolicy.ASK)
    person = await refuse_to_connect(to)
    assert isinstance(person, PersonNeeded)
    assert person.question.kind == "host-key"
    assert sshd.fingerprint in person.question.text
    person.take("yes")
    connection = await connect(to, lambda _: None)
    await connection.aclose()
    assert file.exists()


async def test_a_changed_host_key_is_rejected(sshd: Sshd, home: Path) -> None:
    file = home / "known_hosts"
    other = make_key(home / "other")
    file.write_text(f"[{sshd.host}]:{sshd.port} {other}\n")
    for policy in HostKeyPolicy:
        error = await refuse_to_connect(profile(sshd, known_hosts=(str(file),), host_key_policy=policy))
        assert isinstance(error, HostKeyRejected)
        assert sshd.fingerprint in error.message


async def test_a_refused_connection_is_worth_a_retry() -> None:
    with RefusingPort() as refusing:
        to = Profile("test", refusing.host, user="me", port=refusing.port, ssh_config="none")
        error = await refuse_to_connect(to)
    assert isinstance(error, HostUnreachable)
    assert error.message == f"me@{refusing.host}:{refusing.port} refused the connection"
    assert error.retryable


async def test_a_server_that_says_nothing_does_not_hang_us_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hop, "LOGIN_TIMEOUT", 0.05)
    with socket.create_server((LOOPBACK, 0)) as silent:
        port = silent.getsockname()[1]
        error = await refuse_to_connect(Profile("test", LOOPBACK, user="me", port=port, ssh_config="none"))
    assert isinstance(error, HostUnreachable)
    assert "did not finish the login" in error.message


async def test_a_server_that_is_none_says_what_else_it_may_be() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server((LOOPBACK, 0)) as web:
        web.setblocking(False)
        to = Profile("test", LOOPBACK, user="me", port=web.getsockname()[1], ssh_config="none")
        attempt = loop.create_task(refuse_to_connect(to))
        accepted, _ = await loop.sock_accept(web)
        with Peer(accepted) as peer:
            await peer.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            peer.end()
            error = await attempt
    assert isinstance(error, NotSsh)
    assert "is no SSH server but a web server" in error.message
    assert "check the host and the port" in (error.hint or "")


# --- jump hosts -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_loop")
async def test_a_server_is_reached_through_another_and_both_connections_end_together(
    sshd: Sshd, another_sshd: Callable[..., Sshd]
) -> None:
    target = another_sshd()
    both = (str(sshd.known_hosts), str(target.known_hosts))
    jump = (f"{sshd.user}@{sshd.host}:{sshd.port}",)
    end = RecordingEnd()
    with destination() as (address, accept):
        async with connected(target, jump=jump, known_hosts=both) as connection:
            assert sshd.sessions() > 0
            await opened(connection, end, address, VISITOR)
            with await accept() as peer:
                await peer.send(b"from afar")
                await until(lambda: end.data == b"from afar")
        await until(lambda: sshd.sessions() == target.sessions() == 0)


async def test_a_jump_host_that_goes_takes_the_connection_with_it(
    sshd: Sshd, another_sshd: Callable[..., Sshd]
) -> None:
    hop = another_sshd()
    both = (str(sshd.known_hosts), str(hop.known_hosts))
    lost: list[TunnelsError] = []
    async with connected(sshd, lost.append, jump=(f"{hop.user}@{hop.host}:{hop.port}",), known_hosts=both):
        hop.drop_sessions()
        await until(lambda: lost)
        assert isinstance(lost[0], ConnectionLost)
    assert len(lost) == 1


async def test_a_target_that_goes_leaves_no_connection_to_its_jump_host(
    sshd: Sshd, another_sshd: Callable[..., Sshd]
) -> None:
    target = another_sshd()
    both = (str(sshd.known_hosts), str(target.known_hosts))
    lost: list[TunnelsError] = []
    jump = (f"{sshd.user}@{sshd.host}:{sshd.port}",)
    async with connected(target, lost.append, jump=jump, known_hosts=both):
        target.drop_sessions()
        await until(lambda: lost)
        await until(lambda: sshd.sessions() == 0)


async def test_the_host_key_of_a_jump_host_is_checked_too(
    sshd: Sshd, another_sshd: Callable[..., Sshd]
) -> None:
    target = another_sshd()
    error = await refuse_to_connect(profile(target, jump=(f"{sshd.user}@{sshd.host}:{sshd.port}",)))
    assert isinstance(error, HostKeyUnknown)
    assert sshd.fingerprint in error.message
    assert target.sessions() == 0


async def test_a_target_that_its_jump_host_cannot_reach_is_said_so_and_the_hop_is_left(sshd: Sshd) -> None:
    with RefusingPort() as refusing:
        to = profile(sshd, port=refusing.port, jump=(f"{sshd.user}@{sshd.host}:{sshd.port}",))
        error = await refuse_to_connect(to)
    assert isinstance(error, HostUnreachable)
    assert f":{refusing.port} refused the connection from jump host {sshd.user}@" in error.message
    await until(lambda: sshd.sessions() == 0)


async def test_a_target_that_is_silent_behind_its_jump_host_is_given_up_in_time(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    jump = (f"{sshd.user}@{sshd.host}:{sshd.port}",)
    real = options.connect_timeout
    with black_hole() as port:
        # Only for the target: the login to the jump host takes as long as the machine needs.
        monkeypatch.setattr(
            hop, "connect_timeout", lambda to: 0.1 - options.LOGIN_TIMEOUT if to.port == port else real(to)
        )
        error = await refuse_to_connect(profile(sshd, port=port, jump=jump))
    assert isinstance(error, HostUnreachable)
    assert "did not finish the login" in error.message
    await until(lambda: sshd.sessions() == 0)


# --- channels -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("every_loop")
async def test_a_channel_leads_to_the_destination_and_is_forgotten_when_it_ends(sshd: Sshd) -> None:
    end = RecordingEnd()
    async with connected(sshd) as connection:
        with destination() as (address, accept):
            await opened(connection, end, address, VISITOR)
            assert repr(connection) == "<SshConnection: 1 channels>"
            assert end.channel is not None
            with await accept() as peer:
                end.channel.write(b"question")
                assert await peer.receive(8) == b"question"
                await peer.send(b"answer")
                await until(lambda: end.data == b"answer")
                end.channel.write_eof()
                assert await peer.rest() == b""
            await until(lambda: "lost" in end.told)
        assert end.told == ["made", "data", "eof", "lost"]
        assert end.error is None
        assert repr(connection) == "<SshConnection: 0 channels>"


async def test_a_refusal_that_comes_late_is_an_answer_too(
    another_sshd: Callable[..., Sshd], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or TCP would go on repeating itself every second because of a slow destination."""
    server = another_sshd()
    monkeypatch.setattr(doubt, "LATE", 0.01)
    outages: list[bool] = []
    monkeypatch.setattr(connections, "limit_retransmission_timeout", lambda _, outage: outages.append(outage))
    answers: list[Exception | None] = []
    async with connected(server) as connection:
        await freeze(server)
        with RefusingPort() as refusing:
            there = TcpAddress(LOOPBACK, refusing.port)
            connection.open_channel(RecordingEnd(), there, VISITOR, answers.append)
            await until(lambda: outages)
            server.resume()
            await until(lambda: answers)
        assert isinstance(answers[0], DialError)
        assert outages == [True, False]


async def test_a_destination_that_refuses_is_told_as_such_and_the_connection_lives(sshd: Sshd) -> None:
    end = RecordingEnd()
    async with connected(sshd) as connection:
        with RefusingPort() as refusing, pytest.raises(DialError) as caught:
            await opened(connection, end, TcpAddress(LOOPBACK, refusing.port), VISITOR)
        assert caught.value.reason is DialReason.REFUSED
        assert end.told == []
        assert repr(connection) == "<SshConnection: 0 channels>"
        with destination() as (address, _):
            await opened(connection, end, address, VISITOR)


async def test_a_destination_that_the_server_forbids_is_told_as_such(
    another_sshd: Callable[..., Sshd],
) -> None:
    server = another_sshd("PermitOpen 127.0.0.1:1")
    async with connected(server) as connection:
        with destination() as (address, _), pytest.raises(DialError) as caught:
            await opened(connection, RecordingEnd(), address, VISITOR)
        assert caught.value.reason is DialReason.PROHIBITED
        assert "PermitOpen" in (caught.value.hint or "")
        assert not its(connection).is_closed()


async def test_a_name_that_the_server_does_not_know_is_told_as_such(sshd: Sshd) -> None:
    async with connected(sshd) as connection:
        with pytest.raises(DialError) as caught:
            await opened(connection, RecordingEnd(), TcpAddress("no..name", 80), VISITOR)
        assert caught.value.reason is DialReason.NAME_NOT_RESOLVED


async def test_a_unix_socket_that_nobody_listens_on_is_that_clients_error(sshd: Sshd) -> None:
    async with connected(sshd) as connection:
        with pytest.raises(DialError, match="AllowStreamLocalForwarding"):
            await opened(connection, RecordingEnd(), UnixAddress("/no/such.sock"), VISITOR)
        assert not its(connection).is_closed()


# --- listening on the server ----------------------------------------------------------------------


async def nobody(origin: Origin) -> ChannelEnd:
    """Turn every client away."""
    raise DialError("nobody is at home", reason=DialReason.REFUSED)


async def test_the_server_listens_and_its_clients_get_a_channel(sshd: Sshd) -> None:
    port = free_port()
    origins: list[Origin] = []
    end = RecordingEnd()

    async def accept(origin: Origin) -> ChannelEnd:
        origins.append(origin)
        return end

    async with connected(sshd) as connection:
        listener = await connection.listen(TcpAddress(None, port), accept)
        assert listener.port == port
        with fakes.connect(port) as client:
            await client.send(b"hello")
            await until(lambda: end.data == b"hello")
            assert origins == [client.sock.getsockname()]
            assert end.channel is not None
            end.channel.write(b"world")
            assert await client.receive(5) == b"world"
            assert repr(connection) == "<SshConnection: 1 channels>"
        await listener.aclose()
        await listener.aclose()
        await until(lambda: not in_use(port))
        assert end.told[0] == "made"


@pytest.mark.parametrize(
    ("host", "reached_by"),
    [(None, {LOOPBACK}), (LOOPBACK, {LOOPBACK}), (EVERY_INTERFACE, {LOOPBACK, "127.0.0.2"})],
)
async def test_without_a_bind_address_the_server_listens_on_its_loopback_only(
    sshd: Sshd, host: str | None, reached_by: set[str]
) -> None:
    port = free_port()
    async with connected(sshd) as connection:
        await connection.listen(TcpAddress(host, port), nobody)
        assert {address for address in (LOOPBACK, "127.0.0.2") if accepts(port, address)} == reached_by


async def test_port_0_is_a_port_that_the_server_chooses(sshd: Sshd) -> None:
    async with connected(sshd) as connection:
        listener = await connection.listen(TcpAddress(None, 0), nobody)
        assert listener.port != 0
        assert accepts(listener.port)


async def test_a_port_that_the_server_has_not_free_is_an_error_of_that_forward_only(sshd: Sshd) -> None:
    async with connected(sshd) as connection:
        with socket.create_server((LOOPBACK, 0)) as holder, pytest.raises(ListenError) as caught:
            await connection.listen(TcpAddress(LOOPBACK, holder.getsockname()[1]), nobody)
        assert caught.value.retryable
        for word in ("ClientAliveInterval", "AllowTcpForwarding", "PermitListen", "GatewayPorts"):
            assert word in (caught.value.hint or "")
        listener = await connection.listen(TcpAddress(None, 0), nobody)
        assert accepts(listener.port)


async def test_a_port_below_1024_that_is_refused_names_one_above(another_sshd: Callable[..., Sshd]) -> None:
    server = another_sshd("PermitListen none")
    async with connected(server) as connection:
        with pytest.raises(ListenError, match="the server refused to listen on 80") as caught:
            await connection.listen(TcpAddress(None, 80), nobody)
        assert caught.value.hint == "only root may listen on ports below 1024 there; try 8080"


@pytest.mark.parametrize(
    "failure", [DialError("nobody is at home", reason=DialReason.REFUSED), ZeroDivisionError("a bug")]
)
async def test_an_acceptor_that_raises_ends_one_client_and_not_the_connection(
    sshd: Sshd, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [failure]
    end = RecordingEnd()

    async def accept(_origin: Origin) -> ChannelEnd:
        if failures:
            raise failures.pop()
        return end

    async with connected(sshd) as connection:
        listener = await connection.listen(TcpAddress(None, 0), accept)
        with fakes.connect(listener.port) as unlucky, contextlib.suppress(ConnectionResetError):
            assert await unlucky.rest() == b""
        with fakes.connect(listener.port) as lucky:
            await lucky.send(b"hello")
            await until(lambda: end.data == b"hello")
        assert not its(connection).is_closed()
    assert ("a bug" in caplog.text) == isinstance(failure, ZeroDivisionError)


# --- the end of a connection ----------------------------------------------------------------------


@pytest.mark.usefixtures("every_loop")
async def test_a_connection_that_is_lost_says_so_once_and_to_every_channel(sshd: Sshd) -> None:
    lost: list[TunnelsError] = []
    ends = [RecordingEnd(), RecordingEnd()]
    with destination() as (address, accept):
        async with connected(sshd, lost.append) as connection:
            for end in ends:
                await opened(connection, end, address, VISITOR)
            with await accept(), await accept():
                sshd.drop_sessions()
                await until(lambda: lost)
                for end in ends:
                    assert end.told == ["made", "link lost", "lost"]
            assert isinstance(lost[0], ConnectionLost)
            assert repr(connection) == "<SshConnection: 0 channels>"
    assert len(lost) == 1


async def test_nothing_can_be_opened_on_a_connection_that_is_gone(sshd: Sshd) -> None:
    lost: list[TunnelsError] = []
    async with connected(sshd, lost.append) as connection:
        sshd.drop_sessions()
        await until(lambda: lost)
        with pytest.raises(LinkLost):
            await opened(connection, RecordingEnd(), TcpAddress(LOOPBACK, 9), VISITOR)
        with pytest.raises(LinkLost):
            await connection.listen(TcpAddress(None, 0), nobody)


async def test_a_server_that_says_goodbye_in_the_middle_is_a_loss_like_any_other(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """asyncssh has no error to give then, and without one a channel looks as if it had ended well."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    (home / "key").write_bytes(key.export_private_key())
    (home / "key").chmod(0o600)
    authorized = asyncssh.import_authorized_keys(key.export_public_key().decode())
    sessions: list[asyncssh.SSHServerConnection] = []

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            sessions.append(conn)

        def connection_requested(self, *_: object) -> bool:
            return True

    lost: list[TunnelsError] = []
    end = RecordingEnd()
    async with asyncssh.listen(
        LOOPBACK,
        0,
        server_host_keys=[key],
        server_factory=Server,
        authorized_client_keys=authorized,
        config=None,
    ) as server:
        port = server.get_port()
        (home / "hosts").write_text(f"[{LOOPBACK}]:{port} {key.export_public_key().decode()}")
        to = Profile(
            "test",
            LOOPBACK,
            user="me",
            port=port,
            identity_file=(str(home / "key"),),
            known_hosts=(str(home / "hosts"),),
            ssh_config="none",
        )
        connection = await connect(to, lost.append)
        with destination() as (address, accept):
            await opened(connection, end, address, VISITOR)
            with await accept():
                # Not disconnect(), which closes every channel in good order before it says goodbye.
                sessions[0]._send_disconnect(asyncssh.DISC_BY_APPLICATION, "goodbye", "")
                await until(lambda: lost)
        assert "link lost" in end.told
        assert end.told.index("link lost") < end.told.index("lost")
        assert lost[0].message == "the server closed the connection"
        await connection.aclose()
        await sessions[0].wait_closed()


async def test_a_server_that_does_not_answer_the_keepalives_is_lost(
    another_sshd: Callable[..., Sshd],
) -> None:
    server = another_sshd()
    lost: list[TunnelsError] = []
    async with connected(server, lost.append, keepalive=0.05, keepalive_count=1):
        await freeze(server)
        await until(lambda: lost)
        assert lost[0].message == "the server did not answer the keepalives"


@pytest.mark.usefixtures("every_loop")
async def test_a_connection_knows_its_addresses_and_answers_when_it_is_asked(sshd: Sshd) -> None:
    found: list[tuple[str, ...]] = []
    connection = await connect(profile(sshd), lambda _: None, found.append)
    try:
        assert found == [(LOOPBACK,)]
        assert (connection.local_address, connection.peer_address) == (LOOPBACK, LOOPBACK)
        for outage in (True, False):
            connection.expect_outage(outage)
        assert await connection.probe(5.0)
    finally:
        await connection.aclose()
    assert not await connection.probe(5.0)
    connection.expect_outage(True)  # the network changes when it likes


async def test_a_server_that_is_frozen_does_not_answer_and_a_late_answer_does_no_harm(
    another_sshd: Callable[..., Sshd],
) -> None:
    server = another_sshd()
    async with connected(server) as connection:
        await freeze(server)
        assert not await connection.probe(0.05)
        server.resume()
        assert await connection.probe(5.0)


async def test_through_a_jump_host_its_addresses_are_the_ones_that_count(
    sshd: Sshd, another_sshd: Callable[..., Sshd]
) -> None:
    target = another_sshd()
    both = (str(sshd.known_hosts), str(target.known_hosts))
    jump = (f"{sshd.user}@{sshd.host}:{sshd.port}",)
    found: list[tuple[str, ...]] = []
    connection = await connect(profile(target, jump=jump, known_hosts=both), lambda _: None, found.append)
    try:
        assert found == [(LOOPBACK,)], "the target is not reached from here"
        assert connection._through is not None
        first = connection._through.kept.conn
        assert connection.local_address == first.get_extra_info("sockname")[0]
        assert connection.peer_address == LOOPBACK
        assert await connection.probe(5.0)
    finally:
        await connection.aclose()


async def test_a_connection_can_be_closed_while_its_server_is_frozen(
    another_sshd: Callable[..., Sshd],
) -> None:
    server = another_sshd()
    async with connected(server) as connection:
        await freeze(server)
        async with asyncio.timeout(1):
            await connection.aclose()


async def test_a_connection_that_does_not_end_in_good_order_is_cut(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CLOSE_TIMEOUT", 0.01)
    async with connected(sshd) as connection:
        monkeypatch.setattr(its(connection), "close", lambda: None)
        async with asyncio.timeout(1):
            await connection.aclose()
        await until(lambda: its(connection).is_closed())
    await until(lambda: sshd.sessions() == 0)


async def test_a_connection_that_is_lost_before_anybody_looked_is_lost_all_the_same(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hop.Hop.connect

    async def connect_and_lose(*args: Any) -> asyncssh.SSHClientConnection:
        conn = await real(*args)
        conn.abort()
        await conn.wait_closed()
        return conn

    monkeypatch.setattr(hop.Hop, "connect", connect_and_lose)
    lost: list[TunnelsError] = []
    async with connected(sshd, lost.append):
        assert lost == []  # its owner must have it first
        await until(lambda: lost)
    assert len(lost) == 1


@pytest.mark.usefixtures("stock")
async def test_a_channel_that_the_server_opens_in_the_very_moment_of_the_loss_is_none(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = RecordingEnd()
    async with connected(sshd) as connection:

        async def answered_too_late(session: Callable[[], object], *_: object) -> None:
            its(connection).abort()
            session()

        monkeypatch.setattr(its(connection), "create_connection", answered_too_late)
        with pytest.raises(LinkLost):
            await opened(connection, end, TcpAddress(LOOPBACK, 9), VISITOR)
        await turns()
        assert end.told == []  # not even that the link is lost: it waits for the next one
        assert end.on_closed is None


@pytest.mark.usefixtures("stock")
async def test_asyncssh_finding_itself_disconnected_is_a_lost_link(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def asserts(*_: object) -> None:
        raise AssertionError

    async with connected(sshd) as connection:
        monkeypatch.setattr(its(connection), "create_connection", asserts)
        with pytest.raises(LinkLost):
            await opened(connection, RecordingEnd(), TcpAddress(LOOPBACK, 9), VISITOR)
        assert repr(connection) == "<SshConnection: 0 channels>"


@pytest.mark.usefixtures("stock")
async def test_whatever_an_unknown_asyncssh_raises_the_client_is_told(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def has_changed(*_: object) -> None:
        raise TypeError("create_connection() takes one more argument")

    async with connected(sshd) as connection:
        monkeypatch.setattr(its(connection), "create_connection", has_changed)
        with pytest.raises(DialError, match="TypeError"):
            await opened(connection, RecordingEnd(), TcpAddress(LOOPBACK, 9), VISITOR)
        assert repr(connection) == "<SshConnection: 0 channels>"
        assert not connection._doubt._waiting
    assert "one more argument" in caplog.text


async def test_a_bug_before_the_server_is_asked_is_told_and_leaves_nothing(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(sshd) as connection:
        with monkeypatch.context() as patched:
            patched.setattr(its(connection), "send_packet", lambda *_: 1 // 0)
            with pytest.raises(DialError, match="ZeroDivisionError"):
                await opened(connection, RecordingEnd(), TcpAddress(LOOPBACK, 9), VISITOR)
        assert not its(connection)._channels
        assert repr(connection) == "<SshConnection: 0 channels>"
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("path", ["ours", "stock"])
async def test_who_asks_for_a_channel_when_the_connection_is_closed_waits_for_the_next_one(
    path: str, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path == "stock":
        monkeypatch.setenv(fast_path.SWITCH, "off")
    answers: list[Exception | None] = []
    connection = await connect(profile(sshd), lambda _: None)
    connection.open_channel(RecordingEnd(), TcpAddress(LOOPBACK, 9), VISITOR, answers.append)
    closing = asyncio.get_running_loop().create_task(connection.aclose())
    await turns(1)
    connection.open_channel(RecordingEnd(), TcpAddress(LOOPBACK, 9), VISITOR, answers.append)
    await closing
    assert [type(answer) for answer in answers] == [LinkLost, LinkLost]


@pytest.mark.parametrize("path", ["ours", "stock"])
async def test_a_connection_that_we_close_ourselves_is_no_end_of_what_its_channels_carry(
    path: str, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a change of the network: a program would take half of an answer for all of it."""
    if path == "stock":
        monkeypatch.setenv(fast_path.SWITCH, "off")
    end = RecordingEnd()
    with destination() as (address, accept):
        async with connected(sshd) as connection:
            await opened(connection, end, address, VISITOR)
            channel: Any = end.channel
            channel.pause_reading()
            channel.write_eof()
            with await accept() as peer:
                await peer.send(b"half of it")
            if path == "stock":
                await until(lambda: channel._chan._recv_state == "close_pending")
            else:
                await until(lambda: channel._close_got)
            await connection.aclose()
    assert "data" not in end.told
    assert end.told.index("link lost") < end.told.index("lost")


# --- a link that is full --------------------------------------------------------------------------


@pytest.mark.usefixtures("stock")
async def test_a_link_that_stalls_stops_every_channel_and_starts_them_again(
    another_sshd: Callable[..., Sshd],
) -> None:
    server = another_sshd()
    ends = [RecordingEnd() for _ in range(3)]
    late = RecordingEnd()
    with destination() as (address, accept):
        async with connected(server) as connection:
            for end in ends:
                await opened(connection, end, address, VISITOR)
            await freeze(server)
            sent = 0
            while "link paused" not in ends[0].told:
                assert sent < 64 * MIB
                assert ends[0].channel is not None
                ends[0].channel.write(b"x" * 64 * KIB)
                sent += 64 * KIB
                await asyncio.sleep(0)
                if "pause" in ends[0].told:  # its own window is used up; the next one goes on
                    ends.append(ends.pop(0))
            assert all("link paused" in end.told for end in ends)
            assert its(connection)._transport.get_write_buffer_size() < LINK_HIGH_WATER + 128 * KIB
            opening = asyncio.get_running_loop().create_task(opened(connection, late, address, VISITOR))
            await turns()
            assert late.told == ["link paused"]

            server.resume()
            peers = [await accept() for _ in range(4)]

            async def drain(peer: Peer) -> None:
                with contextlib.suppress(OSError):
                    await peer.rest()

            loop = asyncio.get_running_loop()
            draining = [loop.create_task(drain(peer)) for peer in peers]
            await opening
            await until(lambda: all("link resumed" in end.told for end in ends))
            assert "link resumed" in late.told
        await asyncio.gather(*draining)
        for peer in peers:
            peer.close()


@pytest.mark.usefixtures("stock")
async def test_an_end_that_got_no_channel_on_a_full_link_does_not_stay_stopped(sshd: Sshd) -> None:
    end = RecordingEnd()
    async with connected(sshd) as connection:
        its(connection).pause_writing()
        with RefusingPort() as refusing, pytest.raises(DialError):
            await opened(connection, end, TcpAddress(LOOPBACK, refusing.port), VISITOR)
        assert end.told == ["link paused", "link resumed"]


@asynccontextmanager
async def local_forward(to: TcpAddress) -> AsyncIterator[tuple[LocalForwarder, Door, int]]:
    port = free_port()
    scope = TaskScope("test")
    door = Door(3600, on_waiting=lambda: None)
    forwarder = LocalForwarder(
        Forward(ForwardKind.LOCAL, TcpAddress(None, port), to),
        door,
        scope,
        on_change=lambda: None,
        on_refused=lambda _, error: pytest.fail(error.message),
    )
    await forwarder.bind()
    try:
        yield forwarder, door, port
    finally:
        forwarder.close()
        await scope.aclose()
        await turns()


async def test_uploads_on_a_link_that_stalls_cost_little_and_lose_nothing(
    another_sshd: Callable[..., Sshd],
) -> None:
    server = another_sshd()
    with destination() as (address, accept):
        async with connected(server) as connection, local_forward(address) as (forwarder, door, port):
            door.admit(connection)
            clients = [fakes.connect(port) for _ in range(4)]
            servers = [await accept() for _ in clients]
            await freeze(server)
            sent = [0] * 4
            taken = -1
            while taken != forwarder.counters.from_socket:
                taken = forwarder.counters.from_socket
                for number, client in enumerate(clients):
                    sent[number] += client.send_what_fits(bytes([number]) * 64 * KIB)
                await turns(50)
            buffered = its(connection)._transport.get_write_buffer_size()
            assert buffered < LINK_HIGH_WATER + 5 * fakes.ONE_READ  # and not 2 MiB for each of them

            server.resume()
            for client in clients:
                client.end()
            arrived = await asyncio.gather(*(peer.rest() for peer in servers))
            assert sorted(map(len, arrived)) == sorted(sent)
            assert all(len(set(data)) == 1 for data in arrived)
            for peer in (*clients, *servers):
                peer.close()


# --- clients whose connection goes ----------------------------------------------------------------


@pytest.mark.usefixtures("every_loop")
async def test_a_client_whose_connection_is_lost_while_its_channel_opens_is_served_by_the_next(
    sshd: Sshd, another_sshd: Callable[..., Sshd]
) -> None:
    dying = another_sshd()
    lost: list[TunnelsError] = []
    with destination() as (address, accept):
        async with (
            connected(dying, lost.append) as first,
            connected(sshd) as second,
            local_forward(address) as (forwarder, door, port),
        ):
            door.admit(first)
            await freeze(dying)
            with fakes.connect(port) as client:
                await client.send(b"patience")
                await until(lambda: repr(first) == "<SshConnection: 1 channels>")
                dying.stop()
                await until(lambda: lost)
                door.shut()
                await turns()
                assert forwarder.counters.clients == 1
                door.admit(second)
                with await accept() as peer:
                    assert await peer.receive(8) == b"patience"


async def test_a_client_in_the_middle_of_a_download_is_reset_when_the_server_dies(sshd: Sshd) -> None:
    lost: list[TunnelsError] = []
    with destination() as (address, accept):
        async with connected(sshd, lost.append) as connection, local_forward(address) as (_, door, port):
            door.admit(connection)
            with fakes.connect(port) as client, await accept() as peer:
                await peer.send(b"half of the fi")
                assert await client.receive(14) == b"half of the fi"
                sshd.drop_sessions()
                with pytest.raises(ConnectionResetError):
                    await client.rest()
            await until(lambda: lost)


async def test_a_destination_that_answers_after_the_connection_is_lost_is_let_go(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop: Any = asyncio.get_running_loop()
    real = loop.create_connection
    gate, waiting = asyncio.Event(), asyncio.Event()

    async def slowly(*args: Any, **keys: Any) -> Any:
        waiting.set()
        await gate.wait()
        return await real(*args, **keys)

    lost: list[TunnelsError] = []
    scope = TaskScope("test")
    with destination() as (address, accept):
        forwarder = RemoteForwarder(
            Forward(ForwardKind.REMOTE, TcpAddress(None, 0), address),
            scope,
            on_change=lambda: None,
            on_refused=lambda *_: None,
        )
        async with connected(sshd, lost.append) as connection:
            await forwarder.open(connection)
            port = int(forwarder.status().listen.rpartition(":")[2])
            monkeypatch.setattr(loop, "create_connection", slowly)
            with fakes.connect(port):
                await waiting.wait()
                sshd.drop_sessions()
                await until(lambda: lost)
                forwarder.link_lost()
                gate.set()
                with await accept() as peer:
                    try:
                        async with asyncio.timeout(1):
                            with contextlib.suppress(ConnectionResetError):
                                assert await peer.rest() == b""
                    finally:
                        forwarder.reset_clients()
                        await turns()
    await scope.aclose()


# --- what asyncssh must have ----------------------------------------------------------------------


@pytest.mark.usefixtures("stock")
async def test_asyncssh_still_has_what_we_put_ourselves_in_the_way_of(sshd: Sshd) -> None:
    """Where one of them is missing, our guard is off without a word: this is the word."""
    for name in ("pause_writing", "resume_writing", "_cleanup", "_make_keepalive_request"):
        assert callable(getattr(asyncssh.SSHClientConnection, name)), name
    async with connected(sshd) as connection:
        for name in ("pause_writing", "resume_writing", "_cleanup", "_make_keepalive_request"):
            assert name in vars(its(connection)), name
        assert its(connection)._transport.get_write_buffer_limits()[1] == LINK_HIGH_WATER
