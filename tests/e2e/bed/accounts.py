"""An account of the tests' own on this machine, with a password and one-time codes, and servers that take them.

Root makes it and removes it again; its name and those of its PAM services are of this process alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.bed import leaks
from tests.e2e.bed.sshd import Sshd, find_sshd
from tests.e2e.bed.wait import eventually

_PAM = Path("/etc/pam.d")
_MODULES = ("lib*/security", "lib/*/security", "usr/lib*/security")
_PREFIX = "tunnt"

#: What each PAM service asks for, by its name here. ``nodelay``: a wrong password need not cost two seconds.
_STACKS = {
    "password": "auth required pam_unix.so nodelay\n",
    "both": "auth required pam_unix.so nodelay\nauth required {totp}\n",
    "code": "auth required {totp}\n",
    "expiring": "auth required pam_unix.so nodelay\naccount required pam_unix.so\npassword required pam_unix.so\n",
}
_REST = "account required pam_permit.so\nsession required pam_permit.so\n"


def why_not() -> str | None:
    """Return why there can be no account here, in one line, or nothing if there can."""
    if sys.platform != "linux":
        return "accounts with PAM are made on Linux only"
    if os.geteuid() != 0:
        return "accounts are made by root"
    if find_sshd() is None:
        return "no sshd: install openssh-server"
    if shutil.which("useradd", path=_path()) is None or not _PAM.is_dir():
        return "no useradd, or no PAM: install passwd and libpam-modules"
    if not any(
        found for where in _MODULES for found in Path("/").glob(f"{where}/pam_google_authenticator.so")
    ):
        return "no pam_google_authenticator: install libpam-google-authenticator"
    return None


class Account:
    """An account, and what is needed to log in to it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder  #: which its own processes can read
        self.password = ""
        self._key = os.urandom(20)
        self._services: list[Path] = []
        self._numbers = itertools.count()
        self.authorized_keys = folder / "authorized_keys"
        self.authorized_keys.touch()
        codes = folder / "codes"
        key = base64.b32encode(self._key).decode()
        codes.write_text(f'{key}\n" WINDOW_SIZE 3\n" TOTP_AUTH\n')
        codes.chmod(0o400)
        totp = f"pam_google_authenticator.so secret={codes} user=root no_increment_hotp"
        for stack, lines in _STACKS.items():
            service = _PAM / f"{name}-{stack}"
            rest = _REST if "account" not in lines else "session required pam_permit.so\n"
            service.write_text(lines.format(totp=totp) + rest)
            self._services.append(service)
            # The name of a PAM service is the name of the program.
            (folder / service.name).symlink_to(find_sshd() or "")
        self.new_password()

    def program(self, stack: str) -> Path:
        """Return an sshd whose PAM service asks for what ``stack`` says."""
        return self.folder / f"{self.name}-{stack}"

    def new_password(self) -> str:
        """Give the account another password, which is the only one from now on."""
        self.password = leaks.secret("a password")
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"],
            input=self.password,
            text=True,
            capture_output=True,
            check=True,
        )
        _run("usermod", "-p", hashed.stdout.strip(), self.name)
        return self.password

    def expire_password(self, *, expired: bool = True) -> None:
        """Have the password changed at the next login, or not."""
        _run("chage", "-d", "0" if expired else time.strftime("%Y-%m-%d"), self.name)

    def code(self) -> str:
        """Return the one-time code of this moment (RFC 6238)."""
        counter = int(time.time() // 30).to_bytes(8, "big")
        digest = hmac.digest(self._key, counter, hashlib.sha1)
        start = digest[-1] & 15
        number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFFFFFF
        return leaks.known(f"{number % 1_000_000:06}", "a one-time code")

    def wrong_code(self) -> str:
        """Return a code that is not good at any time near this one."""
        return leaks.known(f"{(int(self.code()) + 500_000) % 1_000_000:06}", "a wrong one-time code")

    def remove(self) -> None:
        """Leave nothing of it."""
        for service in self._services:
            service.unlink(missing_ok=True)
        _run("userdel", "-f", self.name)
        shutil.rmtree(self.folder, ignore_errors=True)


class AccountSshd(Sshd):
    """A server that this account logs in to; without ``stack`` it does without PAM."""

    def __init__(
        self, folder: Path, account: Account, *, stack: str | None = None, config: Sequence[str] = ()
    ) -> None:
        lines = [
            *config,
            f"UsePAM {'no' if stack is None else 'yes'}",
            f"AuthorizedKeysFile {account.authorized_keys}",
            f"AllowUsers {account.name}",
        ]
        super().__init__(folder, config=lines)
        self.user = account.name
        if stack is not None:
            self._sshd = str(account.program(stack))
        public_key = self.identity.with_suffix(".pub").read_text()
        with account.authorized_keys.open("a") as keys:
            keys.write(public_key)

    @property
    def connections(self) -> int:
        """How many have connected so far and spoken SSH: the bed itself looks only whether anybody answers."""
        return self.log.count("Connection from") - self.log.count("kex_exchange_identification")

    def logins(self, outcome: str, method: str) -> int:
        """Count what its log says of a method: ``Accepted`` or ``Failed``, ``password`` for example."""
        return self.log.count(f"{outcome} {method} for {self.user}")


@contextmanager
def account() -> Iterator[Account]:
    """Make an account for as long as the block lasts; those of processes that were killed are removed too."""
    for left in _PAM.glob(f"{_PREFIX}*-code"):
        pid = left.name.removeprefix(_PREFIX).removesuffix("-code")
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            for service in _PAM.glob(f"{_PREFIX}{pid}-*"):
                service.unlink(missing_ok=True)
            subprocess.run(["userdel", "-f", f"{_PREFIX}{pid}"], env=_env(), capture_output=True, check=False)
    name = f"{_PREFIX}{os.getpid()}"
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
    folder.chmod(0o755)
    _run("useradd", "--no-create-home", "--home-dir", "/", "--shell", "/bin/sh", name)
    made = None
    try:
        made = Account(name, folder)
        yield made
    finally:
        if made is not None:
            made.remove()
        else:
            _run("userdel", "-f", name)


def _run(*command: str) -> None:
    """Run a program that changes /etc/passwd or /etc/shadow; another of them may have the lock."""

    def run() -> bool:
        done = subprocess.run(command, env=_env(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command[0]}: {done.stderr}"
        return True

    eventually(run, within=20, what=f"{command[0]} done")


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _env() -> dict[str, str]:
    return {**os.environ, "PATH": _path()}
