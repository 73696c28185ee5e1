from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.console import tunnels
from tests.daemon.served import FILE, daemon_thread, profile_file, tunnel
from tunnels import __version__, client, control_socket, paths
from tunnels.cli import daemon as verb
from tunnels.daemon import app as engine

# --- run ------------------------------------------------------------------------------------------


def test_run_is_the_daemon_with_the_named_file_and_returns_its_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def run_daemon(config: Path, *, ready: Callable[[str], None]) -> int:
        seen.append(config)
        ready("ready")
        return 7

    monkeypatch.setattr(engine, "run_daemon", run_daemon)
    reader, writer = os.pipe()
    assert tunnels("--config", "/p.toml", "daemon", "run", "--ready-fd", str(writer)).code == 7
    with open(reader, "rb") as said:  # noqa: PTH123 - a file descriptor
        assert said.read() == b"ready\n"
    assert tunnels("daemon", "run").code == 7
    assert seen == [Path("/p.toml"), paths.config_file()]


def test_a_second_daemon_is_refused() -> None:
    with daemon_thread():
        result = tunnels("daemon", "run")
    assert result.code == 1
    assert "another daemon is running" in result.err


# --- stop -----------------------------------------------------------------------------------------


def test_stop_returns_when_the_daemon_has_ended_and_says_what_comes_back() -> None:
    with daemon_thread(tunnel("work-db"), tunnel("home")):
        result = tunnels("daemon", "stop")
        lock = control_socket.Lock(paths.lock_file())
        assert lock.acquire(), "it is still there"
        lock.release()
    assert (result.code, result.out) == (0, "the daemon has ended\n")
    assert "work-db, home" in result.err


def test_stop_as_json_is_one_document() -> None:
    with daemon_thread(tunnel("work-db")):
        assert tunnels("daemon", "stop", "--json").json == {"version": 1, "tunnels": ["work-db"]}


@pytest.mark.parametrize("command", ["stop", "status"])
@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_without_a_daemon_it_is_3(command: str, arguments: list[str]) -> None:
    result = tunnels("daemon", command, *arguments)
    assert result.code == 3
    if arguments:
        assert result.json["error"]["code"] == "daemon-not-running"
    else:
        assert "not running" in result.err


def test_a_daemon_that_does_not_end_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    lock = control_socket.Lock(paths.lock_file())
    assert lock.acquire()
    clock = iter(range(0, 1000, 5))
    slept: list[float] = []
    monkeypatch.setattr(verb, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=slept.append))
    with scripted(json.dumps({"id": 1, "result": {"tunnels": []}})):
        result = tunnels("daemon", "stop")
    lock.release()
    assert result.code == 1
    assert "did not end within 25 s" in result.err
    assert "tunnels logs" in result.err
    assert 0 < len(slept) < 10


# --- a daemon that cannot be talked to ------------------------------------------------------------


@contextlib.contextmanager
def scripted(*answers: str) -> Iterator[None]:
    """Have something at the control socket that says hello, and then says these whatever it is asked."""
    hello = json.dumps({"hello": "tunnels", "protocol": 1, "version": "9.9", "pid": os.getpid()})

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as far:
            far.sendall("".join(f"{line}\n" for line in (hello, *answers)).encode())
            while far.recv(65536):
                pass

    with control_socket.listen(paths.socket_path()) as listener:
        listener.setblocking(True)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield
        thread.join(10)


STRANGER = """
import json, os, sys
from tunnels import control_socket, paths
lock = control_socket.Lock(paths.lock_file())
assert lock.acquire()
with control_socket.listen(paths.socket_path()) as listener:
    print("listens", flush=True)
    listener.setblocking(True)
    hello = json.loads(sys.argv[1])
    while True:
        far, _ = listener.accept()
        if hello:
            far.sendall(json.dumps({**hello, "pid": os.getpid()}).encode() + b"\\n")
        while far.recv(65536):
            pass
"""

HELLO = {"hello": "tunnels", "protocol": 1, "version": "9.9"}


@pytest.mark.parametrize(
    "hello", [{**HELLO, "protocol": 2}, HELLO, {}], ids=["another version", "no answer", "no hello"]
)
def test_a_daemon_that_cannot_be_talked_to_can_be_stopped_as_the_hint_says(
    hello: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.05)
    with subprocess.Popen(
        [sys.executable, "-c", STRANGER, json.dumps(hello)], stdout=subprocess.PIPE
    ) as stranger:
        try:
            assert stranger.stdout
            assert stranger.stdout.readline() == b"listens\n"
            assert "tunnels daemon stop" in tunnels("status").words
            result = tunnels("daemon", "stop")
            assert (result.code, result.out) == (0, "the daemon has ended\n")
            assert stranger.wait(5) == -signal.SIGTERM
        finally:
            stranger.kill()


def test_what_cannot_be_talked_to_and_is_not_found_is_not_said_to_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.05)
    with control_socket.listen(paths.socket_path()):  # and no lock is held
        result = tunnels("daemon", "stop")
    assert result.code == 1
    assert "tunnels daemon stop" not in result.words, "it sends the person round in a circle"


# --- status ---------------------------------------------------------------------------------------


def test_status_says_who_and_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verb, "time", SimpleNamespace(time=lambda: 1_800_000_720.0, monotonic=time.monotonic))
    config = profile_file()
    with daemon_thread(tunnel("work-db"), tunnel("home")):
        result = tunnels("daemon", "status")
    assert result.out.splitlines() == [
        f"running for 12m, pid {os.getpid()}, version {__version__}",
        f"profile file: {config}",
        f"log: {paths.log_file()}",
        "2 tunnels",
    ]
    assert (result.code, result.err) == (0, "")


def test_status_says_what_is_wrong_with_the_profile_file() -> None:
    profile_file(FILE + "hosst = 1\n")
    with daemon_thread():
        assert "hosst" in tunnels("daemon", "status").err


def test_status_as_json_is_the_daemon_of_the_contract() -> None:
    profile_file()
    with daemon_thread(tunnel("work-db")) as daemon:
        document = tunnels("daemon", "status", "--json").json
        snapshot = daemon.do(daemon.handlers.snapshot).to_json()
    assert document == {"version": 1, "daemon": snapshot["daemon"]}
