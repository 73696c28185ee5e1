"""Checks the keys that servers show, against the known hosts files, and adds new ones to them.

How this goes together with asyncssh (verified with 2.24.1 and OpenSSH 9.2):

* ``known_hosts=([], [], [])`` trusts nothing, and makes asyncssh ask ``SSHClient.validate_host_public_key``
  about every plain key and ``validate_host_ca_key`` about the key that signed a certificate. Both are plain
  functions; they call `HostKeyChecker.check` and `HostKeyChecker.check_ca`, keep the error, and return
  ``False``. ``known_hosts=None`` would accept every key, and ``b""`` or ``[]`` would read
  ``~/.ssh/known_hosts``: neither may ever be passed on.
* The third list is the revoked keys. It is needed for certificates, where asyncssh shows us the authority
  only and not the key that is certified: pass `HostKeyChecker.asyncssh_known_hosts`.
* ``server_host_key_algs=checker.algorithms()`` must be given. With the default, RSA comes first, so a first
  connection would pin the wrong key. With too few, a server that has another key is not refused but lost:
  asyncssh raises ConnectionResetError.
* asyncssh itself verifies that a certificate is for a host, names it (``host_key_alias``, else ``host``;
  one without names is for every host) and is within its time. It says what is wrong only in the text of
  HostKeyNotVerifiable: `HostKeyChecker.certificate_refused` makes our error of that.
* The callback comes again at every rekeying, an hour apart by default. So a key that was accepted stays
  accepted by the checker that accepted it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shlex
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tunnels.core.profile import HostKeyPolicy
from tunnels.errors import BadSetting, HostKeyRejected, HostKeyUnknown
from tunnels.ssh import algorithms, known_hosts
from tunnels.ssh.destination import Destination
from tunnels.ssh.known_hosts import Entry, Marker, NewHostKey, Standing

if TYPE_CHECKING:
    import asyncssh

_log = logging.getLogger("tunnels")

_KRL_MAGIC: Final = b"SSHKRL\n\0"  # PROTOCOL.krl of OpenSSH
_KRL_TIMEOUT: Final = 5.0  # seconds; ssh-keygen needs a few milliseconds

#: Keys a person has said yes to that could not be written: the file, the name, the key.
_trusted_until_exit: set[tuple[str | None, str, bytes]] = set()

#: Keys that accept-new has taken and that could not be written: the first one of a server counts.
_pinned_until_exit: dict[tuple[str | None, str], bytes] = {}


class UnconfirmedHostKey(HostKeyUnknown):
    """The host key is not on file, and a person may say that it is right. The code stays the same."""

    def __init__(self, message: str, *, hint: str | None = None, new_key: NewHostKey | None = None) -> None:
        super().__init__(message, hint=hint)
        self.new_key = new_key  #: ``None`` only where the error was rebuilt from its code


def policy_for(destination: Destination, chosen: HostKeyPolicy | None) -> HostKeyPolicy:
    """Decide what happens to a key that is not on file: what the profile says, else ssh_config, else ask.

    StrictHostKeyChecking ``no`` becomes accept-new. What is weaker than that, connecting to a server whose
    key has changed, is not to be had here.
    """
    if chosen is not None:
        return chosen
    match destination.strict_host_key_checking:
        case "yes":
            return HostKeyPolicy.STRICT
        case "no" | "accept-new":
            return HostKeyPolicy.ACCEPT_NEW
        case "ask":
            return HostKeyPolicy.ASK


class HostKeyChecker:
    """Judges the keys that one server shows during one attempt. Reads the known hosts files once, here.

    A missing file is an empty one, and a file that is there but cannot be read is an error, because it
    may say which keys are revoked.

    Raises:
        BadSetting: a file cannot be read.

    """

    def __init__(self, destination: Destination, policy: HostKeyPolicy | None = None) -> None:
        self.policy = policy_for(destination, policy)
        self._destination = destination
        self._names = known_hosts.host_names(
            destination.hostname, destination.port, destination.host_key_alias
        )
        files = dict.fromkeys((*destination.user_known_hosts_files, *destination.global_known_hosts_files))
        self._entries: list[Entry] = []
        for file in files:
            self._entries += known_hosts.parse(_read(file), file, names=self._names)
        self._revoked = _RevokedKeys(destination.revoked_host_keys)
        self._accepted: set[bytes] = set()
        first = next(iter(destination.user_known_hosts_files), None)
        self._file = None if first == os.devnull else first

    @property
    def host(self) -> str:
        """The server as the user knows it, for messages."""
        alias, name = self._destination.alias, self._names[0]
        return name if alias.lower() in {name, self._destination.hostname.lower()} else f"{alias} ({name})"

    @property
    def knows_plain_key(self) -> bool:
        """Whether the host is on file with a key of its own, so that it can do without its certificate."""
        return any(entry.marker is Marker.HOST for entry in self._entries)

    def algorithms(self, *, certificates: bool = True) -> list[str]:
        """List what the server may sign with, best first: asyncssh's ``server_host_key_algs``.

        Args:
            certificates: ``False`` leaves them out. ssh does so after a certificate was refused and then
                looks for the plain key; that needs a second connection here.

        Raises:
            BadSetting: nothing is left of HostKeyAlgorithms.

        """
        found = known_hosts.host_key_algorithms(
            self._entries,
            self._names,
            self._destination.host_key_algorithms,
            # asyncssh does not show us the certified key, and only ssh-keygen reads a binary list.
            certificates=certificates and not self._revoked.is_binary,
        )
        if not found:
            raise BadSetting(
                f"none of the HostKeyAlgorithms of {self._destination.alias} is supported: "
                f"{', '.join(self._destination.host_key_algorithms)}",
                hint="ssh-ed25519, ecdsa-sha2-nistp256 and rsa-sha2-512 are",
            )
        return found

    def asyncssh_known_hosts(
        self,
    ) -> tuple[list[asyncssh.SSHKey], list[asyncssh.SSHKey], list[asyncssh.SSHKey]]:
        """Make asyncssh's ``known_hosts``: nothing is trusted without asking us, and what is revoked."""
        import asyncssh  # noqa: PLC0415 - 160 ms that the command line must not pay

        revoked = {entry.blob for entry in self._entries if entry.marker is Marker.REVOKED}
        keys = []
        for blob in sorted(revoked | self._revoked.blobs):
            # A key that asyncssh cannot read is one that it would not accept either.
            with contextlib.suppress(asyncssh.KeyImportError):
                keys.append(asyncssh.import_public_key(known_hosts.new_line("", blob).strip()))
        return [], [], keys

    def check(self, blob: bytes, key_type: str) -> None:
        """Judge the key that the server shows; returns if it is good.

        Under the policy accept-new, an unknown key is written to the first of the user's files.

        Args:
            blob: the public key as on the wire.
            key_type: ``ssh-ed25519``; for messages.

        Raises:
            HostKeyRejected: it is revoked, or not the one on file.
            HostKeyUnknown: nothing is on file; `UnconfirmedHostKey` if a person may be asked.
            BadSetting: the list of revoked keys cannot be used.

        """
        algorithms.check_host_key(blob, self._destination)
        shown = f"{known_hosts.short_type(key_type)} {known_hosts.fingerprint(blob)}"
        if self._revoked.has(blob):
            raise self._is_revoked(shown, str(self._destination.revoked_host_keys))
        verdict = known_hosts.lookup(self._entries, self._names, blob)
        match verdict.standing:
            case Standing.REVOKED:
                raise self._is_revoked(shown, verdict.entries[0].where)
            case Standing.KNOWN:
                return
            case Standing.CHANGED:
                raise self._has_changed(shown, verdict)
            case Standing.UNKNOWN:
                self._new(NewHostKey(self.host, self._names[0], blob, self._file, self._hashed), shown)

    def check_ca(self, blob: bytes) -> None:
        """Judge the key that has signed the certificate which the server shows; returns if it is good.

        Raises:
            HostKeyRejected: it is revoked, or not one that may sign for this host.
            BadSetting: the list of revoked keys cannot be used.

        """
        algorithms.check_ca_key(blob, self._destination)
        shown = f"{known_hosts.short_type(known_hosts.key_type_of(blob))} {known_hosts.fingerprint(blob)}"
        verdict = known_hosts.lookup_ca(self._entries, self._names, blob)
        if self._revoked.has(blob) or verdict.standing is Standing.REVOKED:
            where = verdict.entries[0].where if verdict.entries else str(self._destination.revoked_host_keys)
            raise HostKeyRejected(
                f"{self.host} shows a certificate of an authority that is revoked by {where}: {shown}",
                hint="do not connect; ask the server's administrator",
            )
        if verdict.standing is not Standing.KNOWN:
            raise HostKeyRejected(
                f"{self.host} shows a certificate of an authority that is not on file: {shown}",
                hint=f"a line that begins with @cert-authority {self._names[0]} would trust it",
            )

    def certificate_refused(self, reason: str) -> HostKeyRejected:
        """Make an error of what asyncssh found wrong with a certificate whose authority is good.

        Args:
            reason: ``HostKeyNotVerifiable.reason``, for example "Certificate expired for host h".

        """
        return HostKeyRejected(
            f"the host certificate of {self.host} is not good: {reason}",
            hint="the server's administrator has to renew it; `ssh-keygen -Lf` on it shows names and dates",
        )

    def trust(self, new_key: NewHostKey) -> None:
        """Accept a key that a person has said yes to, and write it down for the next time.

        Where it cannot be written (no file, or a read-only one) it is remembered while this process lives.
        """
        self._accepted.add(new_key.blob)
        if not _write(new_key):
            _trusted_until_exit.add((new_key.file, new_key.name, new_key.blob))

    @property
    def _hashed(self) -> bool:
        return self._destination.hash_known_hosts

    def _new(self, key: NewHostKey, shown: str) -> None:
        if key.blob in self._accepted:
            return
        message = f"the host key of {self.host} is not known: {shown}"
        match self.policy:
            case HostKeyPolicy.ACCEPT_NEW:
                pinned = _pinned_until_exit.setdefault((key.file, key.name), key.blob)
                if pinned != key.blob:  # the first one could not be written down, but it is not forgotten
                    raise HostKeyRejected(
                        f"the host key of {self.host} has changed: the server shows {shown}, and showed another before",
                        hint="it could not be written to a known_hosts file; name one that can: known_hosts",
                    )
                self._accepted.add(key.blob)
                if _write(key):
                    del _pinned_until_exit[key.file, key.name]
                _log.info("%s; accepted, as host_key_policy says", message)
            case HostKeyPolicy.STRICT:
                raise HostKeyUnknown(
                    message,
                    hint=f"host_key_policy is strict: put the key into {self._file or 'a known_hosts file'}",
                )
            case HostKeyPolicy.ASK:
                if (key.file, key.name, key.blob) in _trusted_until_exit:
                    return
                raise UnconfirmedHostKey(
                    message,
                    hint="compare it with what the server's administrator says, or `ssh-keygen -lf` there",
                    new_key=key,
                )

    def _is_revoked(self, shown: str, where: str) -> HostKeyRejected:
        return HostKeyRejected(
            f"the host key of {self.host} is revoked by {where}: {shown}",
            hint="do not connect; ask the server's administrator for its new key",
        )

    def _has_changed(self, shown: str, verdict: known_hosts.Verdict) -> HostKeyRejected:
        old = verdict.entries[0]
        what = "has changed to another type" if verdict.changed_type else "has changed"
        on_file = f"{known_hosts.short_type(old.key_type)} {old.fingerprint}"
        # ssh-keygen -R removes every line of a host, but none with a pattern or a marker.
        if any(wildcard in entry.hosts for entry in verdict.entries for wildcard in "*?!"):
            remedy = f"remove {', '.join(f'line {entry.line} of {entry.file}' for entry in verdict.entries)}"
        else:
            files = dict.fromkeys(entry.file for entry in verdict.entries)
            name = shlex.quote(self._names[0])
            remedy = "run: " + "; ".join(f"ssh-keygen -R {name} -f {shlex.quote(file)}" for file in files)
        return HostKeyRejected(
            f"the host key of {self.host} {what}: the server shows {shown}, and {old.where} has {on_file}",
            hint=f"somebody may be listening in. If the server really has a new key, {remedy}",
        )


# --- files ----------------------------------------------------------------------------------------


class _RevokedKeys:
    """The file of RevokedHostKeys: a list of public keys, or OpenSSH's binary list.

    ssh_config(5): if it cannot be read, no host key is good.
    """

    def __init__(self, file: str | None) -> None:
        self._file = file
        self.blobs: frozenset[bytes] = frozenset()
        self.is_binary = False
        if file is None:
            return
        text = _read(file, missing_is_empty=False)
        self.is_binary = text.encode(errors="surrogateescape").startswith(_KRL_MAGIC)
        if not self.is_binary:
            self.blobs = frozenset(known_hosts.parse_keys(text))

    def has(self, blob: bytes) -> bool:
        """Tell whether a key is revoked. A binary list is read by ssh-keygen, in some milliseconds."""
        if not self.is_binary:
            return blob in self.blobs
        assert self._file is not None
        with tempfile.NamedTemporaryFile("w", suffix=".pub") as key:
            key.write(known_hosts.new_line("", blob).lstrip())
            key.flush()
            try:
                done = subprocess.run(
                    ["ssh-keygen", "-Q", "-f", self._file, key.name],
                    capture_output=True,
                    check=False,
                    timeout=_KRL_TIMEOUT,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise BadSetting(
                    f"RevokedHostKeys {self._file} cannot be read without ssh-keygen: {error}"
                ) from error
        if done.returncode not in {0, 1}:
            said = done.stderr.decode(errors="replace").strip()
            raise BadSetting(f"RevokedHostKeys {self._file} cannot be read: {said}")
        return done.returncode == 1


def _read(file: str, *, missing_is_empty: bool = True) -> str:
    """Read a file of keys. Raises BadSetting."""
    try:
        with open(file, "rb", opener=_never_waiting) as opened:
            if file != os.devnull and not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise BadSetting(f"{file} is not a file", hint="known hosts and revoked keys are plain files")
            return opened.read().decode(errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError) as error:
        if missing_is_empty:
            return ""
        raise BadSetting(f"RevokedHostKeys {file} is missing, so no host key can be trusted") from error
    except OSError as error:
        raise BadSetting(
            f"{file} cannot be read: {error.strerror}", hint=f"run: ls -l {shlex.quote(file)}"
        ) from error


def _never_waiting(path: str, flags: int) -> int:
    # Opening a named pipe would wait for its other side, and the daemon with it.
    return os.open(path, flags | os.O_NONBLOCK)


def _appending(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o600)


def _write(new_key: NewHostKey) -> bool:
    """Add a key to its file; ``False``, and a line in the log, if that cannot be."""
    if new_key.file is None:
        return False
    try:
        _append(Path(new_key.file), new_key)
    except OSError as error:
        _log.warning("the host key of %s could not be written: %s", new_key.host, error)
        return False
    return True


def _append(path: Path, new_key: NewHostKey) -> None:
    """Add one line at the end, without a moment in which another program sees less than it did before."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path, "r+b", buffering=0, opener=_appending) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is not a file")
        # Against a second daemon that learns the same key now; ssh does not lock, so it is not waited for.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        before = file.read()
        there = known_hosts.parse(before.decode(errors="surrogateescape"), names=(new_key.name,))
        if any(entry.marker is Marker.HOST and entry.blob == new_key.blob for entry in there):
            return
        salt = os.urandom(20) if new_key.hashed else None
        line = known_hosts.new_line(new_key.name, new_key.blob, salt=salt)
        # Without this, a last line that nobody has ended would swallow ours (as it does with ssh 9.2).
        newline = "" if not before or before.endswith(b"\n") else "\n"
        file.write((newline + line).encode(errors="surrogateescape"))
