"""Real ssh-agents, and keys of every kind made by ssh-keygen."""

from __future__ import annotations

import os
import shutil
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


# --- keys that are not in files -------------------------------------------------------------------

SOFTHSM = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so")

#: What OpenSSH has called the version of its interface to security keys; only the one it was built with will do.
_SK_VERSIONS = ("0x000a0000", "0x00090000", "0x000b0000")


def why_no_security_key() -> str | None:
    """Return what is missing for a security key of software."""
    if shutil.which("gcc") is None or not Path("/usr/include/openssl/evp.h").exists():
        return "no gcc with the headers of OpenSSL: it builds a security key of software"
    return None


class SecurityKey:
    """A security key of software, as a library that ssh-keygen and ssh-agent load."""

    def __init__(self, folder: Path, key: Path) -> None:
        self.library = folder / "sk_software.so"
        source = Path(__file__).with_name("sk_software.c")
        failure = None
        for version in _SK_VERSIONS:
            subprocess.run(
                [
                    "gcc",
                    "-shared",
                    "-fPIC",
                    f"-DSK_VERSION={version}",
                    "-o",
                    self.library,
                    source,
                    "-lcrypto",
                ],
                check=True,
            )
            try:
                keygen("-t", "ed25519-sk", "-w", str(self.library), "-N", "", "-f", str(key))
            except subprocess.CalledProcessError as exc:
                failure = exc
            else:
                return
        raise AssertionError(f"ssh-keygen takes none of the versions: {failure and failure.stderr}")

    @property
    def agent_arguments(self) -> list[str]:
        """What lets an ssh-agent load it."""
        return ["-P", str(self.library)]


def softhsm() -> str | None:
    """Return the library of a smart card of software, if it is installed with what fills it."""
    if shutil.which("softhsm2-util") is None or shutil.which("pkcs11-tool") is None:
        return None
    return next((path for path in SOFTHSM if Path(path).exists()), None)


class SmartCard:
    """A smart card of software with one key."""

    PIN = "271828"

    def __init__(self, folder: Path, kind: str = "EC:prime256v1") -> None:
        library = softhsm()
        assert library is not None
        self.library = library
        (folder / "tokens").mkdir(parents=True)
        (folder / "softhsm2.conf").write_text(
            f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        self.env = {"SOFTHSM2_CONF": str(folder / "softhsm2.conf")}
        self._run(
            *("softhsm2-util", "--init-token", "--free", "--label", "badge"),
            *("--pin", self.PIN, "--so-pin", "31415926"),
        )
        self._run(
            *("pkcs11-tool", "--module", library, "--token-label", "badge", "--login", "--pin", self.PIN),
            *("--keypairgen", "--key-type", kind, "--id", "01", "--label", "mine"),
        )

    @property
    def public(self) -> str:
        """The public half of its key."""
        return self._run("ssh-keygen", "-D", self.library)

    @property
    def agent_arguments(self) -> list[str]:
        """What lets an ssh-agent load its library."""
        return ["-P", f"{self.library},{Path(self.library).resolve()}"]

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            text=True,
        )
        return done.stdout
