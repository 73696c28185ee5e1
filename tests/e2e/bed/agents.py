"""Real ssh-agents, and keys of every kind made by ssh-keygen."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.bed.wait import eventually


@contextmanager
def ssh_agent(
    socket: Path, *, arguments: Sequence[str] = (), env: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """Run an agent without keys."""
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)  # what an agent that died has left
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )
    try:
        eventually(socket.exists, within=10, what="the agent's socket")
        yield socket
    finally:
        agent.terminate()
        agent.wait()


def ssh_add(
    socket: Path,
    *arguments: str,
    answer: str = "",
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run ssh-add; ``answer`` is what it is told where it asks, by a program in ``folder``."""
    environment = {**os.environ, "SSH_AUTH_SOCK": str(socket), **(env or {})}
    if folder is not None:
        askpass = folder / "askpass"
        askpass.write_text(f"#!/bin/sh\necho '{answer}'\n")
        askpass.chmod(0o700)
        environment |= {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(
        ["ssh-add", *arguments], env=environment, stdin=subprocess.DEVNULL, check=True, capture_output=True
    )


def keygen(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run ssh-keygen."""
    done = subprocess.run(
        ["ssh-keygen", "-q", *arguments],
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def make_key(path: Path, *, passphrase: str = "", kind: str = "ed25519", pem: bool = False) -> Path:
    """Make a key pair; with ``pem`` in the format from before 2014. One round of bcrypt is enough for a test."""
    form = ["-m", "PEM"] if pem else ["-a", "1"]
    keygen("-t", kind, *form, "-N", passphrase, "-C", path.name, "-f", str(path))
    return path


def certify(ca: Path, key: Path, *, user: str, valid: str = "-1m:+1h", name: str = "test") -> Path:
    """Certify a key, and return where the certificate is."""
    keygen("-s", str(ca), "-I", name, "-n", user, "-V", valid, f"{key}.pub")
    return Path(f"{key}-cert.pub")
