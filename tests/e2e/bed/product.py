"""The product under test: the ``tunnels`` command, with a home, a daemon and a profile file of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.e2e.bed import leaks
from tests.e2e.bed.terminal import Terminal
from tests.e2e.bed.wait import eventually

COMMAND = (sys.executable, "-m", "tunnels")

OK, NOT_AS_ASKED, USAGE, NOT_RUNNING, NO_SUCH_PROFILE, NEEDS_PERSON = range(6)
"""The exit codes of the contract."""


#: Modules that stand in the way of optional libraries.
WITHOUT_EXTRAS = Path(__file__).with_name("without_extras")


def package_folder() -> str:
    """Return the folder that the package is imported from, without importing it."""
    spec = importlib.util.find_spec("tunnels")
    assert spec is not None
    assert spec.origin is not None, "the package tunnels is neither installed nor in the working folder"
    return str(Path(spec.origin).parents[1])


@dataclass(frozen=True)
class Result:
    """What a command did."""

    command: str
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Everything it said."""
        return self.out + self.err

    @property
    def words(self) -> str:
        """Everything it said on one line, so that a search does not stumble over wrapped lines."""
        return " ".join(self.text.split())

    @property
    def json(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"$ {self.command}\nexit code {self.code}\n--- out\n{self.out}--- err\n{self.err}"


class Running:
    """A command that goes on while the test does something else; what it says is collected."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: str) -> None:
        self.command = " ".join(command[2:])
        self._process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            self._lines.extend(iter(lines.readline, ""))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def text(self) -> str:
        """Everything it has said so far, on both streams."""
        return "".join(self._lines)

    def expect(self, pattern: str, *, within: float = 15) -> str:
        """Wait until it says something that a regular expression matches."""
        __tracebackhide__ = True

        def look() -> str | None:
            match = re.search(pattern, self.text, re.IGNORECASE)
            if match is None and self._process.poll() is not None and not self._reader.is_alive():
                pytest_fail(f"{self.command} has ended without saying {pattern!r}:\n{self.text}")
            assert match, self.text
            return match[0]

        return eventually(look, within=within, what=f"{pattern!r} said by {self.command}") or ""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def wait(self, *, within: float = 15) -> int:
        """Wait for its end and return its exit code."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.command} is still running after {within:g} s:\n{self.text}"
            ) from None
        self._reader.join(5)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)


def pytest_fail(message: str) -> None:
    """Fail at once, also inside `eventually`."""
    raise RuntimeError(message)


class Tunnels:
    """The command, run as its user does. Leaving the ``with`` block stops the daemon, or fails."""

    _numbers = itertools.count(1)

    def __init__(self, inside: Sequence[str] = ()) -> None:
        """``inside`` is a program that runs every command of it, and its daemon: ``ip netns exec NAME``."""
        self._inside = tuple(inside)
        self.home = Path(
            tempfile.mkdtemp(prefix=f"te{os.getpid()}-{next(self._numbers)}-", dir=_short_folder())
        )
        self.profiles = self.home / "profiles.toml"
        self.runtime = self.home / "run"
        self.state = self.home / "state"
        self.may_have_secrets: list[Path] = []  #: files that a test has put secrets into
        (self.home / ".ssh").mkdir(mode=0o700)
        self.env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
            "USER": os.environ.get("USER", "tester"),
            "PYTHONPATH": f"{WITHOUT_EXTRAS}{os.pathsep}{package_folder()}",
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "XDG_DATA_HOME": str(self.home / ".local/share"),
            "XDG_STATE_HOME": str(self.home / ".local/state"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "TUNNELS_CONFIG": str(self.profiles),
            "TUNNELS_RUNTIME_DIR": str(self.runtime),
            "TUNNELS_STATE_DIR": str(self.state),
        }

    # --- commands -----------------------------------------------------------------------------

    def run(
        self,
        *arguments: str,
        expect: int | None = None,
        timeout: float = 30,
        input: str | None = None,  # noqa: A002  # as in subprocess.run
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> Result:
        """Run a command to its end, without a terminal; with ``expect`` any other exit code is a failure.

        ``prefix`` is a program that runs it.
        """
        __tracebackhide__ = True
        shown = " ".join(["tunnels", *arguments])
        try:
            done = subprocess.run(
                [*prefix, *self._inside, *COMMAND, *arguments],
                env={**self.env, **(env or {})},
                cwd=self.home,
                input=input if input is not None else "",
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            said = b"".join(filter(None, [exc.stdout, exc.stderr])).decode(errors="replace")
            raise AssertionError(
                f"{shown}: not finished after {timeout:g} s, or its output is still held open:\n{said}"
            ) from None
        result = Result(shown, done.returncode, done.stdout, done.stderr)
        assert "Traceback (most recent call last)" not in result.text, str(result)
        if expect is not None:
            assert result.code == expect, f"expected exit code {expect}:\n{result}"
        return result

    def spawn(self, *arguments: str) -> Running:
        """Start a command that goes on."""
        return Running([*self._inside, *COMMAND, *arguments], env=self.env, cwd=str(self.home))

    def terminal(self, *arguments: str, columns: int = 120) -> Terminal:
        """Run a command on a terminal."""
        return Terminal(
            [*self._inside, *COMMAND, *arguments], env=self.env, cwd=str(self.home), columns=columns
        )

    def up(self, *names: str, expect: int = OK, timeout: float = 30) -> Result:
        """``tunnels up NAME…``."""
        __tracebackhide__ = True
        return self.run("up", *names, expect=expect, timeout=timeout)

    def down(self, *names: str) -> Result:
        """``tunnels down NAME…``."""
        __tracebackhide__ = True
        return self.run("down", *names, expect=OK)

    # --- what is there ------------------------------------------------------------------------

    def write_profiles(self, text: str) -> None:
        """Make this the profile file."""
        temporary = self.profiles.with_suffix(".new")
        temporary.write_text(text)
        temporary.chmod(0o600)
        temporary.replace(self.profiles)

    def write(self, **profiles: Mapping[str, object]) -> None:
        """Make a profile file of these profiles; ``_`` in a name stands for ``-``."""
        self.write_profiles(
            "\n".join(profile(name.replace("_", "-"), keys) for name, keys in profiles.items())
        )

    def with_extras(self) -> None:
        """From now on the extras are there, for security keys and smart cards."""
        self.env["PYTHONPATH"] = package_folder()

    def status_json(self) -> dict[str, Any]:
        """Return the document of ``tunnels status --json``; no daemon is the same as no tunnels."""
        __tracebackhide__ = True
        result = self.run("status", "--json")
        document = result.json
        if not isinstance(document, dict) or "tunnels" not in document:
            return {"tunnels": [], "daemon": None}
        return document

    def tunnel(self, name: str) -> dict[str, Any]:
        """Return what ``status --json`` says of one tunnel; the daemon is asked, without a process for each look."""
        __tracebackhide__ = True
        found = [tunnel for tunnel in self._document()["tunnels"] if tunnel["name"] == name]
        assert len(found) == 1, f"{len(found)} tunnels are called {name}"
        return dict(found[0])

    def forward(self, name: str, index: int = 0) -> dict[str, Any]:
        """Return what ``status --json`` says of one forward of a tunnel."""
        __tracebackhide__ = True
        return dict(self.tunnel(name)["forwards"][index])

    def wait_state(self, name: str, *states: str, within: float = 15) -> dict[str, Any]:
        """Wait until a tunnel is in one of these states; return what ``status --json`` says of it then."""
        __tracebackhide__ = True

        def look() -> dict[str, Any]:
            tunnel = self.tunnel(name)
            assert tunnel["state"] in states, tunnel
            return tunnel

        return eventually(look, within=within, what=f"{name} {' or '.join(states)}")

    def wait_tunnel(
        self, name: str, probe: Callable[[dict[str, Any]], object], *, within: float = 15, what: str
    ) -> dict[str, Any]:
        """Wait until something is true of a tunnel."""
        __tracebackhide__ = True

        def look() -> dict[str, Any]:
            tunnel = self.tunnel(name)
            assert probe(tunnel), tunnel
            return tunnel

        return eventually(look, within=within, what=what)

    def _document(self) -> dict[str, Any]:
        __tracebackhide__ = True
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(10)
                asking.connect(str(self.runtime / "control.sock"))
                asking.sendall(b'{"id": 1, "command": "status"}\n')
                with asking.makefile("rb") as said:
                    said.readline()  # its greeting
                    return dict(json.loads(said.readline())["result"])
        except OSError:  # there is none, or it is just being started
            return self.status_json()

    def processes(self) -> list[psutil.Process]:
        """Return every process that has this product's environment: daemons, and commands that go on."""
        mine = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                same = process.environ().get("TUNNELS_RUNTIME_DIR") == str(self.runtime)
                if same and process.status() != psutil.STATUS_ZOMBIE:
                    mine.append(process)
        return mine

    def daemon_pids(self) -> list[int]:
        """Return the process ids of all daemons of this product; more than one is a fault of it."""
        return [p.pid for p in self.processes() if {"daemon", "run"} <= set(_command_line(p))]

    def daemon_pid(self) -> int:
        """Return the process id of the daemon."""
        pids = self.daemon_pids()
        assert len(pids) == 1, f"{len(pids)} daemons are running"
        return pids[0]

    def kill_daemon(self) -> None:
        """Let the daemon die without a chance to clean up."""
        process = psutil.Process(self.daemon_pid())
        process.kill()
        _wait_gone([process])

    @property
    def log(self) -> str:
        """Whatever the product has written to log files."""
        found = sorted(path for path in self.home.rglob("*") if path.is_file() and ".log" in path.name)
        return "".join(
            f"--- {path.relative_to(self.home)}\n{path.read_text(errors='replace')}\n" for path in found
        )

    # --- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop the daemon; whatever is left after that is ended, and is a failure, and so is a leaked secret."""
        running = self.processes()
        complaints = leaks.in_processes(running)
        for process in running:
            if {"daemon", "run"} <= set(_command_line(process)):
                with contextlib.suppress(psutil.Error):
                    process.terminate()  # as systemd does it; `daemon stop` has tests of its own
        deadline = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in left:
            complaints.append(f"left running: {' '.join(_command_line(process))}")
            with contextlib.suppress(psutil.Error):
                process.kill()
        _wait_gone(left)
        complaints += leaks.in_files(self.home, but=self.may_have_secrets)
        if complaints:
            complaints.append(self.log)
        shutil.rmtree(self.home, ignore_errors=True)
        assert not complaints, "\n".join(complaints)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def profile(name: str, keys: Mapping[str, object]) -> str:
    """Return a profile as TOML."""
    return f"[profiles.{name}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in keys.items())


def toml(value: object) -> str:
    """Return a value as TOML: texts, numbers, booleans, lists and tables of them."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def _short_folder() -> str | None:
    """Return a folder whose path is short enough for unix sockets below it (104 bytes on macOS)."""
    return "/tmp" if Path("/tmp").is_dir() else None


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _wait_gone(processes: Sequence[psutil.Process]) -> None:
    def gone() -> bool:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                    return False
        return True

    eventually(gone, within=10, what="the end of the killed processes")
