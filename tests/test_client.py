from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.daemon.served import FILE, daemon_thread, forward, profile_file, tunnel
from tunnels import __version__, client, control_socket, errors, paths
from tunnels.client import Client
from tunnels.core.framing import MAX_FRAME_BYTES, MAX_REPLY_BYTES, encode
from tunnels.core.protocol import Hello
from tunnels.core.state import TunnelState
from tunnels.core.status import Snapshot
from tunnels.errors import (
    ControlError,
    DaemonNotRunning,
    ErrorInfo,
    ProfileError,
    ProtocolViolation,
    TunnelsError,
    VersionMismatch,
)

HELLO = {"hello": "tunnels", "protocol": 1, "version": "0.1.0", "pid": 4711}


def frames(*documents: object) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


class Line:
    """A client, and in place of the daemon a test that has said everything before it is asked."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.settimeout(5)

    def client(self, *answers: object) -> Client:
        """Connect; each answer is a document, or bytes that are sent as they are."""
        self.far.sendall(frames(HELLO))
        for answer in answers:
            self.far.sendall(answer if isinstance(answer, bytes) else frames(answer))
        return Client(self.near)

    def asked(self) -> list[Any]:
        """What the client has sent."""
        self.near.shutdown(socket.SHUT_WR)
        sent = b""
        while data := self.far.recv(65536):
            sent += data
        return [json.loads(frame) for frame in sent.splitlines()]


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    with line.near, line.far:
        yield line


#: Each thing a client can ask for.
CALLS: dict[str, Callable[[Client], object]] = {
    "up": lambda it: it.up(["work-db"], "/p.toml"),
    "down": lambda it: it.down(["work-db"]),
    "restart": lambda it: it.restart(["work-db"], "/p.toml"),
    "reload": lambda it: it.reload(),
    "status": lambda it: it.status(),
    "watch": lambda it: next(it.watch()),
    "answer": lambda it: it.answer("work-db", "7", "yes"),
    "shutdown": lambda it: it.shutdown(),
}

#: Every error that errors.py has.
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, TunnelsError) and kind.__module__ == errors.__name__
]


# --- the daemon speaks first ----------------------------------------------------------------------


def test_the_hello_says_which_daemon_this_is(line: Line) -> None:
    assert line.client().hello == Hello("0.1.0", 4711)


def test_a_daemon_with_another_protocol_is_a_version_mismatch(line: Line) -> None:
    line.far.sendall(frames({**HELLO, "protocol": 2, "version": "3.0"}))
    with pytest.raises(VersionMismatch, match=r"3\.0") as caught:
        Client(line.near)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\xff\xfe\n",
        frames({}),
        frames([]),
        frames({**HELLO, "hello": "else"}),
        frames({**HELLO, "pid": "4711"}),
        frames({"error": {"code": "internal", "message": "no", "hint": None}}),
    ],
)
def test_what_does_not_say_hello_is_not_the_daemon(first: bytes, line: Line) -> None:
    line.far.sendall(first)
    with pytest.raises(ProtocolViolation):
        Client(line.near)


def test_a_socket_that_is_not_our_daemon_is_closed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with control_socket.listen(paths.socket_path()) as listener:
        opened = []

        def connect(*args: Any, **kwargs: Any) -> socket.socket:
            opened.append(sock := control_socket_connect(*args, **kwargs))
            listener.setblocking(True)
            with listener.accept()[0] as far:
                far.sendall(b"something else\n")
            return sock

        control_socket_connect = control_socket.connect
        monkeypatch.setattr(control_socket, "connect", connect)
        with pytest.raises(ProtocolViolation):
            Client.connect()
        assert opened[0].fileno() == -1


def test_without_a_daemon_it_is_not_running() -> None:
    with pytest.raises(DaemonNotRunning):
        Client.connect()


# --- asking and being answered --------------------------------------------------------------------


def test_each_request_has_a_number_of_its_own_and_says_what_is_asked_for(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    result = {"tunnels": {"work-db": "started"}}
    it = line.client(
        {"id": 1, "result": result}, {"id": 2, "result": {"stopped": []}}, {"id": 3, "result": {}}
    )
    assert it.up(["work-db"], "/p.toml") == {"work-db": "started"}
    assert it.down(["work-db"]) == []
    it.answer("work-db", "7", "yes")
    assert line.asked() == [
        {"id": 1, "command": "up", "names": ["work-db"], "config": "/p.toml", "agent": "/run/agent"},
        {"id": 2, "command": "down", "names": ["work-db"], "everything": False},
        {
            "id": 3,
            "command": "answer",
            "name": "work-db",
            "question_id": "7",
            "answer": "yes",
            "save": False,
            "agent": "/run/agent",
        },
    ]


def test_an_answer_that_comes_byte_by_byte_is_one_answer(line: Line) -> None:
    class Trickle(socket.socket):
        def recv(self, size: int, flags: int = 0) -> bytes:
            return super().recv(1, flags)

    line.far.sendall(frames(HELLO, {"id": 1, "result": {"tunnels": {"work-db": "started"}}}))
    with Trickle(fileno=line.near.detach()) as near:
        assert Client(near).up(["work-db"], "/p.toml") == {"work-db": "started"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_an_error_of_the_daemon_is_the_same_error_here(kind: type[TunnelsError], line: Line) -> None:
    error = {"code": kind.code, "message": "no profile x", "hint": "did you mean y?"}
    with pytest.raises(TunnelsError) as caught:
        line.client({"id": 1, "error": error}).up(["x"], "/p.toml")
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.hint) == ("no profile x", "did you mean y?")


def test_an_error_that_only_a_newer_daemon_knows_is_an_error_too(line: Line) -> None:
    error = {"code": "moon-phase", "message": "not tonight", "hint": None}
    with pytest.raises(TunnelsError, match="not tonight") as caught:
        line.client({"id": 1, "error": error}).status()
    assert caught.value.exit_code == 1


def test_an_error_leaves_the_connection_usable(line: Line) -> None:
    error = {"code": "profile-file", "message": "two problems", "hint": None}
    it = line.client({"id": 1, "error": error}, {"id": 2, "result": {"stopped": ["a"]}})
    with pytest.raises(ProfileError):
        it.status()
    assert it.down(["a"]) == ["a"]


def test_the_answer_to_another_question_is_not_taken(line: Line) -> None:
    with pytest.raises(ProtocolViolation):
        line.client({"id": 2, "result": {"stopped": ["a"]}}).down(["a"])


@pytest.mark.parametrize(
    "answer",
    [
        {"id": 1},
        {"id": 1, "result": None},
        {"id": 1, "result": []},
        {"id": 1, "error": {}},
        {"id": 1, "error": {"code": 7, "message": None}},
        [],
        b"garbage\n",
    ],
    ids=str,
)
def test_whatever_is_answered_raises_nothing_but_an_error_of_ours(answer: object, line: Line) -> None:
    with pytest.raises(TunnelsError):
        line.client(answer).status()


@pytest.mark.parametrize("call", ["up", "down", "reload", "status", "watch", "shutdown"])
def test_an_answer_without_what_was_asked_for_is_an_error_of_ours(call: str, line: Line) -> None:
    it = line.client({"id": 1, "result": {}})
    with pytest.raises(TunnelsError):
        CALLS[call](it)


# --- the daemon goes away -------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_a_daemon_that_dies_before_it_is_asked_is_said(call: str, line: Line) -> None:
    it = line.client()
    line.far.close()
    with pytest.raises(ControlError, match="hung up") as caught:
        CALLS[call](it)
    assert "tunnels logs" in (caught.value.hint or "")


@pytest.mark.parametrize("said", [b"", b'{"id": 1, "resu'])
def test_a_daemon_that_dies_while_it_is_asked_is_said(said: bytes, line: Line) -> None:
    it = line.client(said)
    line.far.shutdown(socket.SHUT_WR)
    with pytest.raises(ControlError, match="hung up"):
        it.status()


def test_a_daemon_that_dies_with_a_request_unread_is_said(line: Line) -> None:
    class Killed(socket.socket):
        def recv(self, size: int, flags: int = 0) -> bytes:
            line.far.close()  # the kernel says "reset": there was something it had not read
            return super().recv(size, flags)

    line.client()
    with Killed(fileno=line.near.detach()) as near, pytest.raises(ControlError, match="hung up"):
        Client(near)


def test_a_daemon_that_does_not_answer_is_given_up(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.01)
    it = line.client()
    line.near.settimeout(client.TIMEOUT)
    with pytest.raises(ControlError, match=r"did not answer within 0\.01 s"):
        it.status()


def test_a_daemon_that_accepts_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.01)
    with (
        control_socket.listen(paths.socket_path()),
        pytest.raises(ControlError, match="did not answer") as caught,
    ):
        Client.connect()
    assert not isinstance(caught.value, DaemonNotRunning), "another daemon would be started beside it"


def test_a_watch_ends_with_the_daemon(line: Line) -> None:
    snapshot: dict[str, object] = {"version": 1, "daemon": None, "tunnels": []}
    it = line.client({"id": 1, "event": snapshot}, {"id": 1, "event": snapshot})
    line.far.shutdown(socket.SHUT_WR)
    snapshots = it.watch()
    assert next(snapshots) == next(snapshots) == Snapshot(None)
    with pytest.raises(ControlError, match="hung up"):
        next(snapshots)


# --- with the real server -------------------------------------------------------------------------


def test_every_call_reaches_the_daemon_and_its_answer_comes_back() -> None:
    config = str(profile_file())
    with daemon_thread() as daemon, Client.connect() as it:
        assert it.hello.version == __version__
        assert it.up(["work-*"], config) == {"work-db": "started", "work-web": "started"}
        assert it.up(["work-db"], config) == {"work-db": "already"}
        assert [tunnel.name for tunnel in it.status().tunnels] == ["work-db", "work-web"]
        profile_file(FILE.replace("8080", "8081"))
        assert it.reload() == {
            "restart": ["work-web"],
            "stop": [],
            "start": [],
            "keep": ["work-db"],
        }
        it.restart(["work-db"], config)
        it.answer("work-db", "7", "yes")
        assert it.down(["work-web", "home"]) == ["work-web"]
        assert it.shutdown() == ["work-db"]
        assert daemon.supervisor.calls == [
            ("up", "work-db"),
            ("up", "work-web"),
            ("up", "work-db"),
            ("reload", ["home", "work-db", "work-web"]),
            ("restart", ["work-db"]),
            ("answer", ("work-db", "7", "yes")),
            ("down", ["work-web", "home"]),
        ]


def test_a_snapshot_is_the_same_on_both_sides() -> None:
    tunnels = (
        tunnel(rtt_ms=23.4, reconnects=2, cipher="aes128-gcm@openssh.com"),
        tunnel("home", TunnelState.BACKOFF, attempt=3, retry_at=1_800_000_060.0, forwards=()),
        tunnel(
            "cafe", forwards=(forward("localhost:1080", None, kind="dynamic", clients=2, bytes_in=10**12),)
        ),
    )
    with daemon_thread(*tunnels), Client.connect() as it:
        assert it.status().tunnels == tunnels
        assert next(it.watch()).tunnels == tunnels


def test_a_thousand_tunnels_with_three_forwards_each_can_be_shown() -> None:
    error = ErrorInfo(
        "connection-lost", "the server did not answer the keepalives", "`tunnels logs` says more"
    )
    forwards = tuple(
        forward(f"localhost:{port}", f"db-{port}.internal.example.com:5432", error=error) for port in range(3)
    )
    tunnels = tuple(tunnel(f"tunnel-{number}", error=error, forwards=forwards) for number in range(1000))
    wire = encode(Snapshot(None, tunnels).to_json(), limit=MAX_REPLY_BYTES)
    assert len(wire) > MAX_FRAME_BYTES, "it is no larger than a request may be"
    with daemon_thread(*tunnels), Client.connect() as it:
        assert it.status().tunnels == tunnels
        assert next(it.watch()).tunnels == tunnels
